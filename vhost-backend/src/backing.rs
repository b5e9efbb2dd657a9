//! The image below a disk: opened, locked, judged against the daemon's record, and asked what it can do.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt, FileTypeExt, MetadataExt},
    },
    path::Path,
};

use images::{
    Access, Header, HeaderError, ImageFile, Layout, Mismatch, OpenError, Recovery, Storage,
    header::StockFault, layout::SECTOR_LEN,
};
use keyd_client::{
    DiskId,
    message::{BREAK_GLASS, DiskRecord, Holes},
};
use rustix::{
    fs::{AtFlags, FallocateFlags, OFlags, StatxFlags, fallocate, major, minor, statx},
    io::Errno,
};
use thiserror::Error;

use crate::{
    config::Cache,
    disk::{engine::Kind, way::Way},
    log,
    request::Abilities,
};

/// Why an image cannot be served.
#[derive(Debug, Error)]
pub enum BackingError {
    /// It cannot be opened or locked.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its header is unreadable.
    #[error("{path}: {source}")]
    Header {
        /// The image.
        path: String,
        /// What is wrong.
        source: HeaderError,
    },
    /// It is another disk's.
    #[error("{path} is disk {found}, and --disk-id says {wanted}: is it the right file?")]
    OtherDisk {
        /// The image.
        path: String,
        /// What its header says.
        found: DiskId,
        /// What it had to be.
        wanted: DiskId,
    },
    /// Its header does not agree with the daemon.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// It was to go past the page cache.
    #[error(
        "--cache direct: {path}: {why}; serve it through the page cache (--cache buffered){}",
        if matches!(why, NotDirect::Alignment { .. }) {
            ", or make its disk with 'image create --sector-size 4096'"
        } else {
            ""
        }
    )]
    NotDirect {
        /// The image.
        path: String,
        /// What stands in the way.
        why: NotDirect,
    },
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Why an image cannot be read and written past the page cache.
#[derive(Debug, Clone, Error)]
pub enum NotDirect {
    /// The file system has no O_DIRECT, or none for this file.
    #[error("its file system does not take O_DIRECT ({0})")]
    Refused(Errno),
    /// What is under the image takes larger pieces only: another write could lie in the same one.
    #[error(
        "direct I/O on it goes by {wanted} bytes (a device of such sectors, or an XFS file that shares blocks with a snapshot), and the disk's sectors have {sector}"
    )]
    Alignment {
        /// Bytes.
        wanted: u32,
        /// Bytes.
        sector: u32,
    },
}

impl BackingError {
    /// Whether another process has the image.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Open(OpenError::InUse { .. }))
    }
}

/// An image, ready to be served.
#[derive(Debug)]
pub struct Backing {
    /// Holds the locks.
    image: ImageFile,
    /// For the data path, one for each queue: past the page cache if the file system can. The kernel tells each open
    /// file once of what it could not write: if queues had one in common, a flush of one could hear it for all.
    data: Vec<File>,
    header: Header,
    /// The data area by the daemon's record; by the header until that was seen.
    layout: Layout,
    read_only: bool,
    /// Why it goes through the page cache although nobody asked for that.
    not_direct: Option<NotDirect>,
    direct: bool,
    /// Asked of the file system once: a process that serves cannot ask it.
    way: Way,
    punch: bool,
}

impl Backing {
    /// Opens and locks an image for `queues` of 1 or more, and reads its header. What is wrong with it is said.
    ///
    /// # Errors
    /// [`BackingError`].
    pub fn open(
        path: &Path,
        read_only: bool,
        cache: Option<Cache>,
        queues: u16,
    ) -> Result<Self, BackingError> {
        let image = ImageFile::open(path, access(read_only))?;
        let header = Header::read(&image);
        Self::of(image, header, (read_only, cache, queues), can_punch)
    }

    /// Opens an image that another process serves, to take its locks later: nothing in it is changed.
    ///
    /// # Errors
    /// [`BackingError`].
    pub fn open_unlocked(
        path: &Path,
        read_only: bool,
        cache: Option<Cache>,
        queues: u16,
    ) -> Result<Self, BackingError> {
        let image = ImageFile::open_unlocked(path, access(read_only))?;
        let header = Header::read(&image);
        Self::of(image, header, (read_only, cache, queues), may_punch)
    }

    fn of(
        image: ImageFile,
        header: Result<Header, HeaderError>,
        (read_only, cache, queues): (bool, Option<Cache>, u16),
        can_punch: impl FnOnce(&File, u64) -> bool,
    ) -> Result<Self, BackingError> {
        let path = image.path();
        let header = header
            .map_err(|source| BackingError::Header { path: path.display().to_string(), source })?;
        if let Some(fault) = header.stock_fault() {
            log::line(format_args!("WARNING: {}: {fault}; {BREAK_GLASS}", path.display()));
        }
        let (first, not_direct) = open_data(&image, header.sector_size().bytes(), cache)?;
        let direct = cache != Some(Cache::Buffered) && not_direct.is_none();
        let punch = !read_only
            && header.holes() == Holes::Zeros
            && can_punch(&first, header.layout().data_offset());
        let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
        let others = (1..queues).map(|_| reopen(&image, flags));
        let data: Vec<File> =
            std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>()?;
        let (layout, way) = (header.layout(), Way::of(&data[0], direct));
        Ok(Self { image, data, header, layout, read_only, not_direct, direct, way, punch })
    }

    /// Which disk the header says it is.
    #[must_use]
    pub fn disk(&self) -> DiskId {
        self.header.disk()
    }

    /// Refuses another disk's image, if it is known which it has to be.
    ///
    /// # Errors
    /// [`BackingError::OtherDisk`].
    pub fn is_disk(&self, wanted: Option<DiskId>) -> Result<(), BackingError> {
        let found = self.disk();
        match wanted.filter(|wanted| *wanted != found) {
            Some(wanted) => {
                let path = self.image.path().display().to_string();
                Err(BackingError::OtherDisk { path, found, wanted })
            }
            None => Ok(()),
        }
    }

    /// Why stock tools refuse the header, if they do.
    #[must_use]
    pub fn stock_fault(&self) -> Option<StockFault> {
        self.header.stock_fault()
    }

    /// Where sectors lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What an all-zero ciphertext sector means.
    #[must_use]
    pub fn holes(&self) -> Holes {
        self.header.holes()
    }

    /// The file that a queue reads and writes.
    #[must_use]
    pub fn data(&self, queue: u16) -> &File {
        &self.data[usize::from(queue)]
    }

    /// The descriptor that holds the image's locks.
    #[must_use]
    pub fn lock(&self) -> BorrowedFd<'_> {
        self.image.as_fd()
    }

    /// Takes the image's locks, without a wait.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn lock_image(&self) -> Result<(), OpenError> {
        self.image.lock()
    }

    /// Lets go of the image's locks, when nothing of it is at the disk any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn unlock(&self) -> io::Result<()> {
        self.image.unlock()
    }

    /// Compares the header with the daemon's record, and goes by the record from here on. Only now a copy of the
    /// header that is damaged or older is repaired, and a header that states a length from before its disk grew is
    /// written anew: before, it could be another disk's.
    ///
    /// # Errors
    /// [`BackingError::Mismatch`] names the field; [`BackingError::Header`] of the writing.
    pub fn agree(&mut self, record: &DiskRecord) -> Result<(), BackingError> {
        self.layout = self.header.agrees_with(record)?;
        let path = self.image.path().display().to_string();
        self.mend().map_err(|source| BackingError::Header { path, source })
    }

    fn mend(&mut self) -> Result<(), HeaderError> {
        if self.header.repair(&self.image)? != Recovery::Clean {
            let path = self.image.path().display();
            log::line(format_args!("header of {path}: {}", self.header.recovery()));
        }
        let stated = self.header.stated_size();
        // What stock tools refuse is not written anew; the record tells the length all the same.
        let may = !self.read_only && self.header.stock_fault().is_none();
        if may && stated.is_some_and(|stated| stated < self.layout.size()) {
            self.header.set_stated_size(self.layout);
            self.header.update(&self.image)?;
        }
        Ok(())
    }

    /// Compares the header with the daemon's record.
    ///
    /// # Errors
    /// [`Mismatch`] names the field.
    pub fn agrees(&self, record: &DiskRecord) -> Result<(), Mismatch> {
        self.header.agrees_with(record).map(|_| ())
    }

    /// The same in all but the disk's length.
    ///
    /// # Errors
    /// [`Mismatch`] names the field.
    pub fn agrees_but_for_length(&self, record: &DiskRecord) -> Result<(), Mismatch> {
        self.header.agrees_but_for_length(record)
    }

    /// Whether the image has room for a disk of `size` bytes by now. Its last sector is read: a block device has no
    /// length that can be asked for by a call that a serving process may make.
    #[must_use]
    pub fn has_room_for(&self, size: u64) -> bool {
        let (unit, offset) = (self.layout.sector_size(), self.layout.data_offset());
        let mut last = [0; SECTOR_LEN as usize];
        Layout::new(unit, offset, size).is_ok()
            && self.image.read_at(&mut last, offset + size - SECTOR_LEN).is_ok()
    }

    /// What the device can do on this image.
    #[must_use]
    pub fn abilities(&self, discard_allowed: bool) -> Abilities {
        Abilities {
            capacity: self.layout().size(),
            block_size: self.header.sector_size().bytes(),
            read_only: self.read_only,
            punch: self.punch && discard_allowed,
        }
    }

    /// How its data is read and written.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// One line about how it is served. `kind`: what waits for the device.
    #[must_use]
    pub fn description(&self, kind: Kind) -> String {
        format!(
            "{} {}, {} bytes in {}-byte sectors, {}{} {}, {}{}",
            if self.image.is_block_device() { "block device" } else { "file" },
            self.image.path().display(),
            self.layout().size(),
            self.header.sector_size().bytes(),
            if self.direct { "O_DIRECT" } else { "through the page cache" },
            self.not_direct.as_ref().map_or_else(String::new, |why| format!(" ({why})")),
            self.way().description(kind),
            if self.punch { "holes can be punched" } else { "holes are not punched" },
            if self.read_only { ", read-only" } else { "" },
        )
    }
}

fn access(read_only: bool) -> Access {
    if read_only { Access::ReadOnly } else { Access::ReadWrite }
}

/// Opens the data path's own descriptor: with O_DIRECT unless the page cache is wanted. Where it is not asked for and
/// cannot be had at the disk's sector size the page cache does, and that is told. (To read what lies around a sector,
/// and write it back, would undo what another queue writes there meanwhile.)
fn open_data(
    image: &ImageFile,
    sector: u32,
    cache: Option<Cache>,
) -> Result<(File, Option<NotDirect>), BackingError> {
    let buffered = || reopen(image, OFlags::empty());
    if cache == Some(Cache::Buffered) {
        return Ok((buffered()?, None));
    }
    let why = match reopen(image, OFlags::DIRECT) {
        Ok(file) => match direct_alignment(&file) {
            wanted if wanted > sector => NotDirect::Alignment { wanted, sector },
            _ => return Ok((file, None)),
        },
        Err(error) => NotDirect::Refused(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)),
    };
    match cache {
        Some(_) => Err(BackingError::NotDirect { path: image.path().display().to_string(), why }),
        None => Ok((buffered()?, Some(why))),
    }
}

/// When the image was last read is of no use, and costs at every read; only the owner may leave it out.
fn reopen(image: &ImageFile, flags: OFlags) -> io::Result<File> {
    let without_times = (flags | OFlags::NOATIME).bits() as i32;
    image.reopen(without_times).or_else(|_| image.reopen(flags.bits() as i32))
}

/// Bytes to which direct I/O on the file must be aligned; 512 if the kernel does not say.
fn direct_alignment(file: &File) -> u32 {
    match statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
        Ok(found) if found.stx_dio_offset_align > 0 => found.stx_dio_offset_align,
        Ok(_) | Err(_) => 512,
    }
}

/// Tries a hole where it changes nothing: in the last block before the data area, if that is zeros already, as it
/// is in every image of ours. If it is not (stock tools filled the keyslots area), nothing is tried, and nothing
/// will be punched.
fn can_punch(file: &File, data_offset: u64) -> bool {
    const LEN: u64 = 4096;
    let mut block = AlignedBlock([1; LEN as usize]);
    let at = data_offset - LEN;
    if file.read_exact_at(&mut block.0, at).is_err() || block.0.iter().any(|&byte| byte != 0) {
        return false;
    }
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, LEN).is_ok()
}

/// Whether holes can be punched in an image that is another process's. What is tried changes nothing in it: a hole far
/// behind a file's end, where the image is not even if it grows at this moment. A block device has nothing there; of
/// one the kernel tells whether it makes zeros by itself. (Once the locks are had it is too late to try: by then the
/// lease thread may make no such call.)
fn may_punch(file: &File, _: u64) -> bool {
    const FAR: u64 = 1 << 30;
    const LEN: u64 = 4096;
    let Ok(metadata) = file.metadata() else { return false };
    if metadata.file_type().is_block_device() {
        let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
        // A partition has its queue with its disk.
        return ["queue", "../queue"].iter().any(|queue| {
            let limit = format!("/sys/dev/block/{major}:{minor}/{queue}/write_zeroes_max_bytes");
            fs::read_to_string(limit).is_ok_and(|bytes| bytes.trim() != "0")
        });
    }
    let behind = metadata.len().next_multiple_of(LEN) + FAR;
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, behind, LEN).is_ok()
}

/// Direct I/O wants its memory aligned.
#[repr(align(4096))]
struct AlignedBlock([u8; 4096]);
