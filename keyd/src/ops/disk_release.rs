//! Break-glass: gives a DEK out for good. The record is durable before the DEK exists here.

use keyd_client::{Dek, DiskId};

use crate::{
    auth::{Permit, op},
    clock,
    core::Core,
    envelope,
    error::Failure,
    model::right::Use,
    standing,
    store::View,
};

/// Unwraps a disk's DEK for the asker to keep.
///
/// # Errors
/// [`crate::error::Refused::NoDisk`], and those of [`standing::opening`].
pub fn run(core: &Core, permit: Permit<op::DiskReleaseKey>, id: DiskId) -> Result<Dek, Failure> {
    let (disk, set, versions) = core.commit(&permit, |txn| {
        let (disk, set) = txn.disk_and_set(id)?;
        let versions = standing::opening(txn, &disk, &set, Use::Attach, clock::now())?;
        let wrap = disk.first_wrap();
        let detail = format!("key={} version={}", wrap.key, wrap.version);
        Ok(((disk, set, versions), permit.entry(id).detail(detail)))
    })?;
    Ok(envelope::open(&core.keyring, &set, &disk, &versions)?)
}
