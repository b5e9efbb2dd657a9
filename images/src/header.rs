//! The LUKS2 header of an image: two checksummed copies of a binary part and JSON metadata.
//!
//! LUKS2 spec 1.1.4, sections 2 to 4. The header is *untrusted*: its checksums guard against accident, not attack, so
//! a reader first judges it by allow-list ([`metadata`]), then compares it with the key daemon's record
//! ([`Header::agrees_with`]), and only then asks for the DEK's digest.
//!
//! Crash order: each copy is one write, made durable before the next begins, the first copy first. At every moment one
//! copy is whole; the reader takes the whole or newer one. The other is repaired later ([`Header::repair`]), once all
//! of the header was judged and the daemon's record agrees with it: a repair cannot be undone, and the copy that is
//! overwritten may be the right one of another disk.

pub(crate) mod agree;
mod binary;
mod copies;
mod members;
mod metadata;
mod stock;
#[cfg(test)]
mod tests;

use std::io;

use keyd_client::{
    DesName, DiskId,
    message::{DiskRecord, Holes, VolumeKeyDigest},
};
use thiserror::Error;

pub use agree::Mismatch;
pub use binary::{CopyFault, Role};
pub use copies::{Cause, Recovery};
pub use metadata::{Foreign, MetadataError};
pub use stock::StockFault;

use binary::Binary;
use copies::Pair;
use metadata::{DataSize, Metadata};

use crate::{
    layout::{BadShape, Layout, SectorSize},
    storage::Storage,
};

/// Why a header could not be read or written.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// The system.
    #[error("the header cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// Not an image at all.
    #[error("there is no LUKS2 header: name an image that 'image create' made")]
    NotLuks,
    /// Another version of LUKS.
    #[error("this is a LUKS version {0} header: only version 2 is served")]
    Version(u16),
    /// Nothing left to repair from.
    #[error(
        "both copies of the header are damaged (first: {first}; second: {second}): restore the first 32 KiB of the \
         image from a backup, the data behind them is not affected"
    )]
    BothTorn {
        /// What is wrong with the first.
        first: CopyFault,
        /// What is wrong with the second.
        second: CopyFault,
    },
    /// Both whole, of two disks: an update of one cannot leave this.
    #[error(
        "the two copies of the header are of two disks (first: {first}; second: {second}): part of another image was \
         written over this one; restore the first 32 KiB of the image from a backup"
    )]
    TwoDisks {
        /// By the first.
        first: DiskId,
        /// By the second.
        second: DiskId,
    },
    /// Both whole, of one age, and different: no crash does this.
    #[error(
        "the two copies of the header are both valid and differ: it was changed by hand; restore the first 32 KiB of \
         the image from a backup"
    )]
    CopiesDisagree,
    /// A sound header of another program.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// Outside the allow-list.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Stock tools refuse it, so its other copy may be the better one.
    #[error("{0}: it is not written anew, as the copy that is overwritten may be a better one")]
    Stock(StockFault),
    /// A data area that cannot be.
    #[error(
        "the header describes an impossible disk: {0}; another program changed it: restore the first 32 KiB of the \
         image from a backup"
    )]
    Shape(#[from] BadShape),
    /// The image ends inside a sector.
    #[error(
        "the image has {actual} bytes and so ends inside a sector of {unit}: {over} bytes are too many, or {} are \
         missing. 'keyd disk show {disk}' tells the disk's size; the image must have {offset} bytes more: if it is \
         longer, cut it by 'truncate --size'; if it is shorter, data are lost: restore it from a backup",
        u64::from(*unit) - over
    )]
    Ragged {
        /// Which disk.
        disk: DiskId,
        /// Bytes there are.
        actual: u64,
        /// Of them behind the last whole sector.
        over: u64,
        /// Bytes before the data area.
        offset: u64,
        /// Bytes of a sector.
        unit: u32,
    },
    /// The file is shorter than its header says.
    #[error(
        "the image has {actual} bytes and its header needs {needed}: it was cut short; restore it from a backup"
    )]
    Truncated {
        /// Bytes the header needs.
        needed: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// Another program wrote the header since it was read.
    #[error("the header was changed by another program meanwhile: run the command again")]
    Changed,
    /// The image was opened for reading.
    #[error("the image was opened read-only: its header cannot be written")]
    ReadOnly,
}

/// A header that was read and judged, or made.
#[derive(Debug, Clone)]
pub struct Header {
    binary: Binary,
    metadata: Metadata,
    layout: Layout,
    /// Bytes of the image from the beginning of the data area on.
    room: u64,
    recovery: Recovery,
}

impl Header {
    /// The header of a new image, not written yet. It holds what the daemon's record says and no wrapped DEK.
    /// `storage_size` is the image's length, bytes: a data area that reaches its end is `dynamic`, as stock tools make
    /// it, another has a fixed size.
    ///
    /// # Errors
    /// [`HeaderError::Shape`], [`HeaderError::Metadata`] for a record no image can have.
    pub fn create(record: &DiskRecord, storage_size: u64) -> Result<Self, HeaderError> {
        let metadata = Metadata::create(record, storage_size)?;
        let layout = layout(&metadata, record.id, storage_size)?;
        let binary = Binary::create(record.id)?;
        let room = storage_size - layout.data_offset();
        Ok(Self { binary, metadata, layout, room, recovery: Recovery::Clean })
    }

    /// Reads and judges the header, and writes nothing: [`Header::recovery`] tells how its copies are.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn read(storage: &impl Storage) -> Result<Self, HeaderError> {
        Self::of(Pair::read(storage)?, storage.size()?)
    }

    fn of(pair: Pair, storage_size: u64) -> Result<Self, HeaderError> {
        let recovery = pair.judge()?;
        let (binary, metadata) = pair.into_best()?;
        let disk = DiskId(binary.uuid);
        metadata.check_disk(disk)?;
        let layout = layout(&metadata, disk, storage_size)?;
        let room = storage_size - layout.data_offset();
        Ok(Self { binary, metadata, layout, room, recovery })
    }

    /// How the two copies are.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Writes the copy that is damaged or older anew from the believed one, if there is such a copy and the storage is
    /// writable. To be called when nothing speaks against the header any more: what is overwritten is lost. From a
    /// header that stock tools refuse ([`Header::stock_fault`]) nothing is repaired.
    ///
    /// # Errors
    /// [`HeaderError::Changed`] if another program wrote the header since it was read; [`HeaderError::Io`].
    pub fn repair(&mut self, storage: &impl Storage) -> Result<Recovery, HeaderError> {
        let needed = matches!(self.recovery, Recovery::Needed(..));
        if needed && storage.is_writable() && self.stock_fault().is_none() {
            self.recovery = storage.exclusively(|| self.repair_alone(storage))??;
        }
        Ok(self.recovery)
    }

    /// Reads once more, while nobody else looks or writes: another program may have repaired it, or be the reason that
    /// it looked torn.
    fn repair_alone(&self, storage: &impl Storage) -> Result<Recovery, HeaderError> {
        let now = Self::read(storage)?;
        let same = (now.disk(), now.seqid()) == (self.disk(), self.seqid());
        if !same || now.metadata.text() != self.metadata.text() {
            return Err(HeaderError::Changed);
        }
        let Recovery::Needed(role, cause) = now.recovery else {
            return Ok(now.recovery);
        };
        copies::write_one(storage, Pair::read(storage)?, role)?;
        Ok(Recovery::Done(role, cause))
    }

    /// Writes a new header to an image that has none yet: both copies, each made durable before the next.
    ///
    /// # Errors
    /// [`HeaderError::Io`], [`HeaderError::Metadata`] if the JSON is too long.
    pub fn write_new(&self, storage: &impl Storage) -> Result<(), HeaderError> {
        storage.exclusively(|| copies::write_both(storage, &self.binary, &self.metadata))?
    }

    /// Writes a changed header: the next sequence number in both copies, salts and keyslots area kept.
    ///
    /// # Errors
    /// [`HeaderError::Changed`] if another program wrote it since it was read; [`HeaderError::ReadOnly`];
    /// [`HeaderError::Stock`]; [`HeaderError::Io`], after which one copy is whole.
    pub fn update(&mut self, storage: &impl Storage) -> Result<(), HeaderError> {
        if !storage.is_writable() {
            return Err(HeaderError::ReadOnly);
        }
        if let Some(fault) = self.stock_fault() {
            return Err(HeaderError::Stock(fault));
        }
        let next = self.binary.successor();
        storage.exclusively(|| {
            if Pair::read(storage)?.seqid() != Some(self.binary.seqid) {
                return Err(HeaderError::Changed);
            }
            copies::write_both(storage, &next, &self.metadata)
        })??;
        self.binary = next;
        self.recovery = Recovery::Clean;
        Ok(())
    }

    /// Which disk: the header's UUID.
    #[must_use]
    pub fn disk(&self) -> DiskId {
        DiskId(self.binary.uuid)
    }

    /// Where the data lies.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The length that the header states; none if the data reach the end of the image.
    #[must_use]
    pub fn stated_size(&self) -> Option<u64> {
        match self.metadata.data_size() {
            DataSize::Fixed(size) => Some(size),
            DataSize::Dynamic => None,
        }
    }

    /// Notes another length of the data area where one is stated; [`Header::update`] writes it.
    pub fn set_stated_size(&mut self, grown: Layout) {
        if self.stated_size().is_some() {
            self.metadata.set_data_size(grown.size());
            self.layout = grown;
        }
    }

    /// Data unit and block size.
    #[must_use]
    pub fn sector_size(&self) -> SectorSize {
        self.layout.sector_size()
    }

    /// What an all-zero ciphertext sector means.
    #[must_use]
    pub fn holes(&self) -> Holes {
        self.metadata.holes()
    }

    /// The disk encryption set by the header's account: for people. The daemon's record decides.
    #[must_use]
    pub fn des(&self) -> &DesName {
        self.metadata.des()
    }

    /// Notes another disk encryption set; [`Header::update`] writes it.
    pub fn set_des(&mut self, des: DesName) {
        self.metadata.set_des(des);
    }

    /// Proof of the volume key by the header's account.
    #[must_use]
    pub fn digest(&self) -> &VolumeKeyDigest {
        self.metadata.digest()
    }

    /// How many times the header was written.
    #[must_use]
    pub fn seqid(&self) -> u64 {
        self.binary.seqid
    }

    /// Passphrase keyslots that stock tools added for break-glass. They are kept and never used here.
    #[must_use]
    pub fn keyslots(&self) -> usize {
        self.metadata.keyslots()
    }

    /// Why stock `cryptsetup` refuses this header, if it does: then a released volume key opens nothing.
    #[must_use]
    pub fn stock_fault(&self) -> Option<StockFault> {
        self.metadata.stock_fault()
    }
}

/// The data area, inside what there is.
fn layout(metadata: &Metadata, disk: DiskId, storage_size: u64) -> Result<Layout, HeaderError> {
    let (offset, unit) = (metadata.data_offset(), metadata.sector_size().bytes());
    let truncated = |needed| HeaderError::Truncated { needed, actual: storage_size };
    let size = match metadata.data_size() {
        DataSize::Fixed(size) => size,
        DataSize::Dynamic => {
            let size = storage_size.checked_sub(offset).ok_or_else(|| truncated(offset))?;
            Layout::check_offset(offset)?;
            let over = size % u64::from(unit);
            if over != 0 {
                return Err(HeaderError::Ragged { disk, actual: storage_size, over, offset, unit });
            }
            size
        }
    };
    let layout = Layout::new(metadata.sector_size(), offset, size)?;
    // `Layout` bounds both: the sum cannot overflow.
    let needed = offset + size;
    if needed > storage_size {
        return Err(truncated(needed));
    }
    Ok(layout)
}
