//! A disk: its shape, its wrapped DEK, and what may be done with it.

use keyd_client::{
    DesName, DiskId, KeyId, KeyVersion, Principal, WrappedDek,
    message::{DiskKind, DiskRecord, Geometry, Holes, KeyRelease, UnixMillis, VolumeKeyDigest},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Refused,
    limits::{DATA_OFFSET_ALIGN, DATA_OFFSET_MAX, DATA_OFFSET_MIN, DISK_SIZE_MAX},
    model::{des::Des, version::VersionId},
};

/// A disk, snapshot or image as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The disk.
    pub id: DiskId,
    /// What it is.
    pub kind: DiskKind,
    /// What it was made from.
    pub source: Option<DiskId>,
    /// Its set.
    pub des: DesName,
    /// The DEK under the set's key; under platform and customer keys first the customer's share, then the platform's.
    pub wraps: Vec<Wrap>,
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
    /// Who made it.
    pub maker: Principal,
    /// Its DEK was given out in plaintext. A new DEK takes the mark away.
    #[serde(default)]
    pub released: Option<KeyRelease>,
}

/// A DEK, or a share of it, wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrap {
    /// The key that wraps it.
    pub key: KeyId,
    /// And which version of it.
    pub version: KeyVersion,
    /// The wrapped bytes.
    pub blob: WrappedDek,
}

impl Wrap {
    /// What wraps it.
    #[must_use]
    pub fn under(&self) -> VersionId {
        VersionId { key: self.key.clone(), version: self.version }
    }
}

impl Disk {
    /// The wrap under its set's key.
    ///
    /// # Panics
    /// Never: a disk is made with its wraps, and they are replaced together.
    #[must_use]
    pub fn first_wrap(&self) -> &Wrap {
        self.wraps.first().expect("a disk has a wrapped DEK")
    }

    /// The record as holders and lists see it.
    #[must_use]
    pub fn record(&self, set: &Des) -> DiskRecord {
        let first = self.first_wrap();
        DiskRecord {
            id: self.id,
            kind: self.kind,
            source: self.source,
            des: self.des.clone(),
            key: first.key.clone(),
            key_version: first.version,
            platform_version: self.wraps.get(1).map(|wrap| wrap.version),
            encryption: set.encryption,
            geometry: self.geometry,
            digest: self.digest.clone(),
            generation: self.generation,
            confirmed: self.confirmed,
            created: self.created,
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

    /// The same disk with a longer data area. Saying so twice is no error: the first answer may have been lost.
    ///
    /// # Errors
    /// [`Refused::Unconfirmed`], [`Refused::GrowsNot`], [`Refused::Shrink`], [`Refused::DenseGrowth`], and those of
    /// [`check_geometry`].
    pub fn grown(self, size: u64) -> Result<Self, Refused> {
        let (id, has) = (self.id, self.geometry.size);
        let geometry = Geometry { size, ..self.geometry };
        check_geometry(&geometry)?;
        match self {
            _ if !self.confirmed => Err(Refused::Unconfirmed(id)),
            _ if self.kind != DiskKind::Disk => Err(Refused::GrowsNot(id)),
            _ if size < has => Err(Refused::Shrink { id, has }),
            _ if size > has && self.geometry.holes == Holes::None => Err(Refused::DenseGrowth(id)),
            disk => Ok(Self { geometry, ..disk }),
        }
    }

    /// Whether `kind` can be made from it (Azure: snapshots of disks, images of disks and snapshots, disks of both).
    ///
    /// # Errors
    /// [`Refused::Unconfirmed`], [`Refused::Derivation`].
    pub fn derivable(&self, kind: DiskKind) -> Result<(), Refused> {
        if !self.confirmed {
            return Err(Refused::Unconfirmed(self.id));
        }
        match (self.kind, kind) {
            (DiskKind::Disk, DiskKind::Snapshot)
            | (DiskKind::Disk | DiskKind::Snapshot, DiskKind::Image)
            | (DiskKind::Snapshot | DiskKind::Image, DiskKind::Disk) => Ok(()),
            _ => Err(Refused::Derivation),
        }
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
