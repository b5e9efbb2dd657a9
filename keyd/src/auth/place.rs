//! Where something is done: a permission may be for there alone.

use keyd_client::{DesName, DiskId, VaultName};

/// A vault, a set or a disk, which need not exist; or none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the daemon as a whole.
    Daemon,
    /// In a vault.
    Vault(VaultName),
    /// In a set.
    Set(DesName),
    /// With a disk, snapshot or image.
    Disk(DiskId),
}

impl From<Option<&VaultName>> for Place {
    fn from(vault: Option<&VaultName>) -> Self {
        vault.map_or(Self::Daemon, |vault| Self::Vault(vault.clone()))
    }
}

impl From<&DesName> for Place {
    fn from(set: &DesName) -> Self {
        Self::Set(set.clone())
    }
}

impl From<DiskId> for Place {
    fn from(id: DiskId) -> Self {
        Self::Disk(id)
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}
