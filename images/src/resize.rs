//! `image resize`: makes a disk longer, also while it runs.
//!
//! Order, and why: keyd's verdict first, by a dry run, so that what is refused leaves the image as it was. Then the
//! image, then the daemon's record. A crash in between leaves an image with room at its end, which is served as long as
//! the record says; the other way round it would leave a disk that cannot be attached. What a block device holds behind
//! the record's end is another volume's old data: it is made zeros before the record says that it is the disk's. The
//! daemon tells who serves the disk, and that one its guest. A header that states a length is written anew by the next
//! one that serves it: no second program writes it beside a backend.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use keyd_client::{
    Client, ClientError,
    message::{DiskGrow, DiskStatus},
};
use rustix::{
    fs::{FallocateFlags, OFlags, fallocate, fsync},
    io::Errno,
};
use thiserror::Error;

use crate::{
    header::{Header, HeaderError, Mismatch},
    layout::{BadShape, Layout},
    limits::ZERO_PIECE_LEN,
    size,
    storage::{Access, ImageFile, OpenError, Storage, zeros},
};

/// Why a disk stays as long as it was.
#[derive(Debug, Error)]
pub enum ResizeError {
    /// Opening.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The header.
    #[error("{path}: {source}")]
    Header {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// A file can have any length.
    #[error("say how long {0} is to be: add --size, such as --size 20G")]
    SizeMissing(PathBuf),
    /// No disk has this size.
    #[error(transparent)]
    Shape(#[from] BadShape),
    /// It is another disk's image.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The device ends before.
    #[error("{path} has room for a disk of {}: make the device larger first", size::show(*room))]
    DeviceTooSmall {
        /// The device.
        path: PathBuf,
        /// Bytes behind the header.
        room: u64,
    },
    /// The system refused to make the file longer.
    #[error("cannot make {path} longer: {source}")]
    Lengthen {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// What lies behind the disk's end on the device is of somebody else, and stays there.
    #[error("cannot zero the new end of {path}: {source}; the disk is as long as it was")]
    Zero {
        /// The device.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Two that zero one end would zero what a guest has written there between them.
    #[error(
        "{0} is mounted, or used by another program alone, such as another 'image resize': let that end first"
    )]
    DeviceBusy(PathBuf),
    /// The daemon, which has changed nothing.
    #[error("{0}; the disk is as long as it was")]
    Keyd(ClientError),
    /// The daemon may have heard it or not.
    #[error("{0}; whether the disk has grown is not known: run it again")]
    Unknown(ClientError),
}

/// Makes a disk `size` bytes long; one on a block device as long as there is room, if none. Tells what the daemon knows
/// of the disk then, and who holds it. `progress` hears of (bytes done, bytes in all) while a device is zeroed.
///
/// # Errors
/// [`ResizeError`].
pub fn resize(
    path: &Path,
    size: Option<u64>,
    socket: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<DiskStatus, ResizeError> {
    let (header, grown, is_block_device) = look(path, size)?;
    let file = open(path, is_block_device)?;
    let grow = |dry_run| {
        let ask = DiskGrow { id: header.disk(), size: grown.size(), dry_run };
        Client::connect(socket)?.ask(ask)
    };
    let before = grow(true).map_err(ResizeError::Keyd)?.record;
    header.agrees_but_for_length(&before)?;
    let end = grown.data_offset() + grown.size();
    if is_block_device {
        // A header that states more than the record was the disk's once, whatever became of the record.
        let has = before.geometry.size.max(header.stated_size().unwrap_or(0));
        zero(&file, grown.data_offset() + has..end, progress)
            .map_err(|source| ResizeError::Zero { path: path.to_owned(), source })?;
    } else {
        lengthen(&file, end)
            .map_err(|source| ResizeError::Lengthen { path: path.to_owned(), source })?;
    }
    grow(false).map_err(|error| match error {
        ClientError::Unreachable { .. }
        | ClientError::NotForUs { .. }
        | ClientError::Path(_)
        | ClientError::Refused(_) => ResizeError::Keyd(error),
        ClientError::Wire(_) | ClientError::UnexpectedReply => ResizeError::Unknown(error),
    })
}

/// The header, what the disk is to be, if it can, and whether it lies on a block device. The image is let go again: one
/// that is zeroed for hours must not keep the next backend from its header.
fn look(path: &Path, size: Option<u64>) -> Result<(Header, Layout, bool), ResizeError> {
    let of_header = |source| ResizeError::Header { path: path.to_owned(), source };
    let image = ImageFile::open(path, Access::Inspect)?;
    let header = Header::read(&image).map_err(of_header)?;
    let len = image.size().map_err(|error| of_header(error.into()))?;
    let (before, path) = (header.layout(), || path.to_owned());
    let unit = u64::from(before.sector_size().bytes());
    let room = len.saturating_sub(before.data_offset()) / unit * unit;
    let size = match size {
        Some(size) if image.is_block_device() && size > room => {
            return Err(ResizeError::DeviceTooSmall { path: path(), room });
        }
        Some(size) => size,
        None if image.is_block_device() => room,
        None => return Err(ResizeError::SizeMissing(path())),
    };
    let grown = Layout::new(before.sector_size(), before.data_offset(), size)?;
    Ok((header, grown, image.is_block_device()))
}

/// Opens the image to change its end. A block device alone, until the daemon has answered: who asked it before, and
/// zeroes after another has made the disk longer, would zero what its guest has written since. (A backend does not
/// mind: it has the device open with others.)
fn open(path: &Path, is_block_device: bool) -> Result<File, ResizeError> {
    let alone = if is_block_device { OFlags::EXCL } else { OFlags::empty() };
    let opened = OpenOptions::new().write(true).custom_flags(alone.bits() as i32).open(path);
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => ResizeError::DeviceBusy(path.to_owned()),
        _ => OpenError::of(path, source).into(),
    })
}

/// Zeros a part of a block device, and makes that durable. It may be a hundred gigabytes, written one by one.
fn zero(device: &File, part: Range<u64>, progress: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let end = part.end.min((at / ZERO_PIECE_LEN + 1) * ZERO_PIECE_LEN);
        zeros::write(device, at..end)?;
        at = end;
        progress(at - part.start, part.end - part.start);
    }
    Ok(fsync(device)?)
}

/// Makes a file `end` bytes long if it is shorter, and that durable. By an allocation of its last byte: that never
/// makes a file shorter and never changes what is in it, whatever another program does meanwhile.
fn lengthen(file: &File, end: u64) -> io::Result<()> {
    if file.metadata()?.len() < end {
        match fallocate(file, FallocateFlags::empty(), end - 1, 1) {
            Err(Errno::OPNOTSUPP) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "its file system cannot allocate space; stop the VM and lengthen the file by truncate -s",
                ));
            }
            done => done?,
        }
    }
    Ok(fsync(file)?)
}
