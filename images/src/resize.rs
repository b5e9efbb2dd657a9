//! `image resize`: makes a disk longer, also while it runs.
//!
//! Order, and why: the image first, the daemon's record second. A crash in between leaves an image with room at its
//! end, which is served as long as the record says; the other way round it would leave a disk that cannot be attached.
//! The daemon tells who serves the disk, and that one its guest. A header that states a length is written anew by the
//! next one that serves it: no second program writes it beside a backend.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

use keyd_client::{
    Client, ClientError,
    message::{DiskRequest, DiskStatus, Holes, Reply},
};
use rustix::{
    fs::{FallocateFlags, fallocate, fsync},
    io::Errno,
};
use thiserror::Error;

use crate::{
    header::{Header, HeaderError},
    layout::{BadShape, Layout},
    storage::{Access, ImageFile, OpenError, Storage},
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
    /// Shorter.
    #[error(
        "{path} has a disk of {has} bytes: a disk is never made smaller, as what its guest keeps at the end would be lost"
    )]
    Shrink {
        /// The image.
        path: PathBuf,
        /// Bytes of its disk.
        has: u64,
    },
    /// New sectors of a dense disk would have to be written.
    #[error("{0} is dense: make a larger disk (image create --dense) and copy the data")]
    Dense(PathBuf),
    /// The device ends before.
    #[error("{path} has room for a disk of {room} bytes: make the device larger first")]
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
    /// The daemon.
    #[error("{0}; the disk is as long as it was")]
    Keyd(#[from] ClientError),
}

/// Makes a disk `size` bytes long; one on a block device as long as there is room, if none. Tells what the daemon knows
/// of the disk then, and who holds it.
///
/// # Errors
/// [`ResizeError`].
pub fn resize(path: &Path, size: Option<u64>, socket: &Path) -> Result<DiskStatus, ResizeError> {
    let image = ImageFile::open(path, Access::Inspect)?;
    let of_header = |source| ResizeError::Header { path: path.to_owned(), source };
    let (header, _) = Header::read(&image).map_err(of_header)?;
    let len = image.size().map_err(|error| of_header(error.into()))?;
    let grown = grown(path, &image, &header, len, size)?;
    if !image.is_block_device() {
        let end = grown.data_offset() + grown.size();
        lengthen(path, len, end)
            .map_err(|source| ResizeError::Lengthen { path: path.to_owned(), source })?;
    }
    let request = DiskRequest::Grow { id: header.disk(), size: grown.size() };
    match Client::connect(socket)?.call(request)? {
        Reply::Disk(status) => Ok(*status),
        _ => Err(ClientError::UnexpectedReply.into()),
    }
}

/// What the disk is to be, if it can.
fn grown(
    path: &Path,
    image: &ImageFile,
    header: &Header,
    len: u64,
    size: Option<u64>,
) -> Result<Layout, ResizeError> {
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
    // How long the disk is by the record only the daemon knows: an image with room at its end, left by an attempt
    // before this one, may be longer than its disk.
    if header.stated_size().is_some_and(|has| size < has) {
        return Err(ResizeError::Shrink { path: path(), has: before.size() });
    }
    if header.holes() == Holes::None {
        return Err(ResizeError::Dense(path()));
    }
    Ok(Layout::new(before.sector_size(), before.data_offset(), size)?)
}

/// Makes a file `end` bytes long if it is shorter, and that durable. By an allocation of its last byte: that never
/// makes a file shorter and never changes what is in it, whatever another program does meanwhile.
fn lengthen(path: &Path, len: u64, end: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if len < end {
        match fallocate(&file, FallocateFlags::empty(), end - 1, 1) {
            Err(Errno::OPNOTSUPP) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "its file system cannot allocate space; stop the VM and lengthen the file by truncate -s",
                ));
            }
            done => done?,
        }
    }
    Ok(fsync(&file)?)
}
