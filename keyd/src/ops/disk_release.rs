//! Break-glass: gives a DEK out for good. The record is durable before the DEK exists here.

use keyd_client::{Dek, DiskId};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// Unwraps a disk's DEK for the asker to keep.
///
/// # Errors
/// [`crate::error::Refused::NoDisk`], [`crate::error::Refused::KeyDisabled`].
pub fn run(core: &Core, permit: Permit<op::DiskReleaseKey>, id: DiskId) -> Result<Dek, Failure> {
    let (disk, set, key) = core.store.commit(|txn| {
        let (disk, set, key) = txn.disk_whole(id)?;
        let version = key.usable(disk.key_version)?.version;
        let entry = permit.entry(id);
        let detail = format!("key={} version={version}", key.name);
        Ok(((disk, set, key), entry.detail(detail)))
    })?;
    core.unwrap(&disk, &set, &key)
}
