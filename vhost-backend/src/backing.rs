//! The image below a disk: opened, locked, judged against the daemon's record, and asked what it can do.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use images::{Access, Header, HeaderError, ImageFile, Layout, Mismatch, OpenError, Recovery};
use keyd_client::{
    DiskId,
    message::{DiskRecord, Holes},
};
use rustix::fs::{AtFlags, FallocateFlags, OFlags, StatxFlags, fallocate, statx};
use thiserror::Error;

use crate::{config::Cache, disk::way::Way, request::Abilities};

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
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
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
    read_only: bool,
    direct: bool,
    punch: bool,
}

impl Backing {
    /// Opens and locks an image for `queues` of 1 or more, and reads its header. A damaged copy of the header is
    /// repaired, and that is said.
    ///
    /// # Errors
    /// [`BackingError`].
    pub fn open(
        path: &Path,
        read_only: bool,
        cache: Cache,
        queues: u16,
    ) -> Result<Self, BackingError> {
        let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        let image = ImageFile::open(path, access)?;
        let (header, recovery) = Header::read(&image)
            .map_err(|source| BackingError::Header { path: path.display().to_string(), source })?;
        if recovery != Recovery::Clean {
            eprintln!("vhost-backend: header of {}: {recovery}", path.display());
        }
        let (first, direct) = open_data(&image, header.sector_size().bytes(), cache)?;
        let punch = !read_only
            && header.holes() == Holes::Zeros
            && can_punch(&first, header.layout().data_offset());
        let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
        let others = (1..queues).map(|_| reopen(&image, flags));
        let data = std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>()?;
        Ok(Self { image, data, header, read_only, direct, punch })
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

    /// Where sectors lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.header.layout()
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

    /// Lets go of the image's locks, when nothing of it is at the disk any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn unlock(&self) -> io::Result<()> {
        self.image.unlock()
    }

    /// Compares the header with the daemon's record.
    ///
    /// # Errors
    /// [`BackingError::Mismatch`] names the field.
    pub fn agrees_with(&self, record: &DiskRecord) -> Result<(), BackingError> {
        Ok(self.header.agrees_with(record)?)
    }

    /// What the device can do on this image.
    #[must_use]
    pub fn abilities(&self, discard_allowed: bool) -> Abilities {
        Abilities {
            capacity: self.layout().size(),
            block_size: self.header.sector_size().bytes(),
            read_only: self.read_only,
            discard: self.punch && discard_allowed,
            punch: self.punch && discard_allowed,
        }
    }

    /// How its data is read and written.
    #[must_use]
    pub fn way(&self) -> Way {
        Way::of(self.data(0), self.direct)
    }

    /// One line about how it is served.
    #[must_use]
    pub fn description(&self) -> String {
        format!(
            "{} {}, {} bytes in {}-byte sectors, {} {}, {}{}",
            if self.image.is_block_device() { "block device" } else { "file" },
            self.image.path().display(),
            self.layout().size(),
            self.header.sector_size().bytes(),
            if self.direct { "O_DIRECT" } else { "through the page cache" },
            self.way(),
            if self.punch { "holes can be punched" } else { "holes are not punched" },
            if self.read_only { ", read-only" } else { "" },
        )
    }
}

/// Opens the data path's own descriptor: with O_DIRECT where it is wanted and the file system takes it at the disk's
/// sector size.
fn open_data(image: &ImageFile, sector_size: u32, cache: Cache) -> io::Result<(File, bool)> {
    if cache == Cache::Direct
        && let Ok(file) = reopen(image, OFlags::DIRECT)
        && direct_alignment(&file) <= sector_size
    {
        return Ok((file, true));
    }
    Ok((reopen(image, OFlags::empty())?, false))
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

/// Direct I/O wants its memory aligned.
#[repr(align(4096))]
struct AlignedBlock([u8; 4096]);
