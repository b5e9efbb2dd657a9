//! `image create`: a new disk, whole or not at all.
//!
//! Order, and why: the daemon makes the DEK and its record first, because the header needs the digest. The image is
//! written under a name of its own, made durable, and only then moved to its path, so no half image is ever found
//! there. Only a durable image is confirmed. Whatever fails before that, the daemon is told to forget the DEK. A crash
//! in between leaves an unconfirmed record, which the daemon lists, and no image at the path.

mod fill;
mod target;

use std::{
    io,
    path::{Path, PathBuf},
};

use keyd_client::{
    Client, ClientError, DesName, DiskId,
    message::{Ask, DiskAbandon, DiskConfirm, DiskCreate, DiskRecord, Geometry, Holes},
};
use thiserror::Error;

use crate::{
    header::{Header, HeaderError, Mismatch},
    layout::{BadShape, Layout, SectorSize},
    limits::DATA_OFFSET,
    size,
    storage::OpenError,
};

pub use fill::FillError;
use target::Target;

/// What to make.
#[derive(Debug, Clone)]
pub struct Options {
    /// A path that does not exist yet, or a block device.
    pub path: PathBuf,
    /// Bytes of the disk; of a block device all that fits, if none.
    pub size: Option<u64>,
    /// The disk encryption set; the daemon's `platform` if none.
    pub des: Option<DesName>,
    /// Data unit of the cipher, block size of the disk.
    pub sector_size: SectorSize,
    /// Whether every sector is written now and no hole ever exists.
    pub dense: bool,
    /// Whether a block device with data on it may be overwritten.
    pub force: bool,
}

/// Why no disk was made.
#[derive(Debug, Error)]
pub enum CreateError {
    /// Something is there.
    #[error("{0} exists: name a new file, or remove it first")]
    Exists(PathBuf),
    /// A new file needs a size.
    #[error("a new image needs a size: add --size, such as --size 10G")]
    SizeMissing,
    /// The size is none.
    #[error(transparent)]
    Shape(#[from] BadShape),
    /// Not enough room on the block device.
    #[error("{path} has room for a disk of {}: choose a smaller --size", size::show(*room))]
    DeviceTooSmall {
        /// The device.
        path: PathBuf,
        /// Bytes behind the header.
        room: u64,
    },
    /// A block device that is not blank.
    #[error("{0} holds data: add --force to overwrite it")]
    DeviceHasData(PathBuf),
    /// A block device that cannot be blanked.
    #[error("{path} cannot be zeroed ({source}): add --dense to write every sector instead")]
    NotZeroed {
        /// The device.
        path: PathBuf,
        /// What zeroing said.
        source: io::Error,
    },
    /// A system call on the image or its directory.
    #[error("cannot {what} {path}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Opening or locking.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Writing the header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The daemon.
    #[error(transparent)]
    Keyd(#[from] ClientError),
    /// The daemon's record is not what was asked for.
    #[error("keyd's record differs from what was asked: use programs of one release ({0})")]
    Record(#[from] Box<Mismatch>),
    /// Filling a dense disk.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// It failed, and so did telling the daemon.
    #[error(
        "{cause}; and keyd could not be told to forget disk {disk} ({why}): it stays listed as unconfirmed"
    )]
    NotAbandoned {
        /// The first failure.
        cause: Box<CreateError>,
        /// The disk.
        disk: DiskId,
        /// The second failure.
        why: ClientError,
    },
}

/// Makes a disk. `progress` hears of (bytes done, bytes in all) while a dense disk is filled.
///
/// # Errors
/// [`CreateError`]; nothing is left at the path then, unless it is a block device.
pub fn create(
    socket: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<DiskRecord, CreateError> {
    let target = Target::examine(options)?;
    let size = target.data_size(options)?;
    let layout = Layout::new(options.sector_size, DATA_OFFSET, size)?;
    let record = register(socket, options, layout)?;
    let made = build(socket, target, &record, progress).and_then(|place| {
        let confirmed = ask(socket, DiskConfirm { id: record.id });
        if confirmed.is_err() {
            place.remove();
        }
        confirmed.map(|_| ()).map_err(CreateError::from)
    });
    match made {
        Ok(()) => Ok(record),
        Err(cause) => Err(abandon(socket, record.id, cause)),
    }
}

/// Asks the daemon for a DEK and a record of this shape.
fn register(socket: &Path, options: &Options, layout: Layout) -> Result<DiskRecord, CreateError> {
    let geometry = Geometry {
        sector_size: layout.sector_size().bytes(),
        data_offset: layout.data_offset(),
        size: layout.size(),
        holes: if options.dense { Holes::None } else { Holes::Zeros },
    };
    match ask(socket, DiskCreate { des: options.des.clone(), geometry })?.record {
        record if record.geometry == geometry => Ok(record),
        _ => Err(ClientError::UnexpectedReply.into()),
    }
}

/// Writes the image and moves it to its place.
fn build(
    socket: &Path,
    target: Target,
    record: &DiskRecord,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<target::Place, CreateError> {
    let draft = target.draft(record)?;
    let image = draft.image();
    let header = Header::create(record, draft.len()?)?;
    header.agrees_with(record).map_err(Box::new)?;
    header.write_new(image)?;
    if record.geometry.holes == Holes::None {
        fill::fill(socket, image, record, &header.layout(), progress)?;
    }
    draft.publish()
}

/// A connection carries one request.
fn ask<A: Ask>(socket: &Path, ask: A) -> Result<A::Reply, ClientError> {
    Client::connect(socket)?.ask(ask)
}

fn abandon(socket: &Path, disk: DiskId, cause: CreateError) -> CreateError {
    match ask(socket, DiskAbandon { id: disk }) {
        Ok(()) => cause,
        Err(why) => CreateError::NotAbandoned { cause: Box::new(cause), disk, why },
    }
}
