//! A disk: its shape, its wrapped DEK, and what may be done with it.

use keyd_client::{
    DesName, DiskId, KeyVersion, WrappedDek,
    message::{DiskRecord, Geometry, UnixMillis, VolumeKeyDigest},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Refused,
    kek::{Binding, Purpose},
    limits::{DATA_OFFSET_ALIGN, DATA_OFFSET_MAX, DATA_OFFSET_MIN, DISK_SIZE_MAX},
    model::des::Des,
};

/// A disk as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The disk.
    pub id: DiskId,
    /// Its set.
    pub des: DesName,
    /// The version of the set's key that wraps its DEK.
    pub key_version: KeyVersion,
    /// Shape.
    pub geometry: Geometry,
    /// Proof of the DEK.
    pub digest: VolumeKeyDigest,
    /// Counts its DEKs, from 1.
    pub generation: u64,
    /// Whether its image is known to be durable.
    pub confirmed: bool,
    /// When its DEK was made.
    pub created: UnixMillis,
    /// User id of its maker.
    pub maker: u32,
    /// The DEK, wrapped.
    pub wrapped: WrappedDek,
}

impl Disk {
    /// What its wrapped DEK is bound to.
    #[must_use]
    pub fn binding(&self, set: &Des) -> Binding {
        Binding {
            disk: self.id,
            set: set.id,
            generation: self.generation,
            purpose: Purpose::WholeDek,
        }
    }

    /// The record as holders and lists see it.
    #[must_use]
    pub fn record(&self, set: &Des) -> DiskRecord {
        DiskRecord {
            id: self.id,
            des: self.des.clone(),
            key: set.key.clone(),
            key_version: self.key_version,
            encryption: set.encryption,
            geometry: self.geometry,
            digest: self.digest.clone(),
            generation: self.generation,
            confirmed: self.confirmed,
            created: self.created,
            wrapped: self.wrapped.clone(),
        }
    }

    /// Its image is durable. Saying so twice is no error: the first answer may have been lost.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Whether it may be forgotten.
    ///
    /// # Errors
    /// [`Refused::Confirmed`]: its image may hold data.
    pub fn abandonable(&self) -> Result<(), Refused> {
        if self.confirmed {
            return Err(Refused::Confirmed(self.id));
        }
        Ok(())
    }

    /// The same DEK under another key version.
    pub fn rewrap(&mut self, version: KeyVersion, wrapped: WrappedDek) {
        self.key_version = version;
        self.wrapped = wrapped;
    }
}

/// Judges a disk's shape, once, where it comes in.
///
/// # Errors
/// [`Refused::SectorSize`], [`Refused::DiskSize`], [`Refused::DiskTooLarge`], [`Refused::DataOffset`].
pub fn check_geometry(geometry: &Geometry) -> Result<(), Refused> {
    let Geometry { sector_size, data_offset, size, holes: _ } = *geometry;
    let offset_fits = (DATA_OFFSET_MIN..=DATA_OFFSET_MAX).contains(&data_offset)
        && data_offset.is_multiple_of(DATA_OFFSET_ALIGN);
    match geometry {
        _ if ![512, 4096].contains(&sector_size) => Err(Refused::SectorSize(sector_size)),
        _ if size == 0 || !size.is_multiple_of(u64::from(sector_size)) => {
            Err(Refused::DiskSize { size, sector_size })
        }
        _ if size > DISK_SIZE_MAX => Err(Refused::DiskTooLarge(size)),
        _ if !offset_fits => Err(Refused::DataOffset(data_offset)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use keyd_client::message::Holes;

    use super::*;

    fn geometry(sector_size: u32, data_offset: u64, size: u64) -> Geometry {
        Geometry { sector_size, data_offset, size, holes: Holes::Zeros }
    }

    #[test]
    fn shapes_are_judged() {
        let mib16 = 16 << 20;
        for (shape, allowed) in [
            (geometry(512, mib16, 512), true),
            (geometry(4096, DATA_OFFSET_MIN, 4096), true),
            (geometry(512, mib16, DISK_SIZE_MAX), true),
            (geometry(1024, mib16, 4096), false),
            (geometry(0, mib16, 4096), false),
            (geometry(512, mib16, 0), false),
            (geometry(4096, mib16, 4608), false),
            (geometry(512, mib16, DISK_SIZE_MAX + 512), false),
            (geometry(512, mib16, u64::MAX), false),
            (geometry(512, 0, 512), false),
            (geometry(512, DATA_OFFSET_MIN - 4096, 512), false),
            (geometry(512, mib16 + 512, 512), false),
            (geometry(512, DATA_OFFSET_MAX + 4096, 512), false),
        ] {
            assert_eq!(check_geometry(&shape).is_ok(), allowed, "{shape:?}");
        }
    }
}
