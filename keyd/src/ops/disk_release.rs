//! Break-glass: gives a DEK out for good. The record is durable before the DEK exists here, and so is the mark on every
//! disk that has this DEK.

use keyd_client::{
    Dek, DiskId, Principal,
    message::{KeyRelease, UnixMillis},
};

use crate::{
    auth::{Permit, op},
    core::Core,
    envelope,
    error::Failure,
    model::{des::Des, disk::Disk, right::Use},
    standing,
    store::{Txn, View},
};

/// Unwraps a disk's DEK for the asker to keep.
///
/// # Errors
/// [`crate::error::Refused::NoDisk`], and those of [`standing::opening`].
pub fn run(core: &Core, permit: Permit<op::DiskReleaseKey>, id: DiskId) -> Result<Dek, Failure> {
    let (disk, set, versions) = core.commit(&permit, |txn| {
        let (disk, set) = txn.disk_and_set(id)?;
        let versions = standing::opening(txn, &disk, &set, Use::Attach, core.now())?;
        let wrap = disk.first_wrap();
        let detail = format!("key={} version={}", wrap.key, wrap.version);
        mark(txn, &disk, &set, (&permit.caller().principal, core.now()))?;
        Ok(((disk, set, versions), permit.entry(id).detail(detail)))
    })?;
    Ok(envelope::open(&core.keyring, &set, &disk, &versions)?)
}

/// A disk, what it was made from and what was made from it have one DEK, in one set. The digest tells which.
fn mark(
    txn: &Txn<'_>,
    released: &Disk,
    set: &Des,
    (to, at): (&Principal, UnixMillis),
) -> Result<(), Failure> {
    for id in txn.disks_in(set, None, usize::MAX)? {
        let disk = txn.disk(id)?;
        if disk.digest == released.digest {
            let by = (id != released.id).then_some(released.id);
            let mark = KeyRelease { at, to: to.clone(), by };
            txn.replace_disk(&Disk { released: Some(mark), ..disk })?;
        }
    }
    Ok(())
}
