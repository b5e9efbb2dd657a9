//! Makes a disk longer, while it runs. Its image is so long already: who asks has seen to that first, as a record that
//! goes further than its image is one that nobody can attach.

use keyd_client::{DiskId, message::DiskStatus};

use super::status;
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    model::disk::Disk,
    store::{Txn, View},
};

/// Grows a disk to `size` bytes; its maker or an administrator does. Its holders hear of it after the commit.
///
/// # Errors
/// [`crate::error::Refused::NoDisk`], and those of [`crate::model::disk::Disk::grown`].
pub fn run(
    core: &Core,
    permit: Permit<op::DiskGrow>,
    id: DiskId,
    size: u64,
) -> Result<DiskStatus, Failure> {
    let grown = core.commit(&permit, |txn| {
        let (before, disk) = grown(txn, id, size)?;
        txn.replace_disk(&disk)?;
        let detail = format!("from={} to={size}", before.geometry.size);
        Ok((status::disk(core, txn, &disk)?, permit.entry(id).detail(detail)))
    })?;
    core.leases.grown(id, size);
    Ok(grown)
}

/// Says whether a disk may grow to `size` bytes, and what it is now: who asks changes the image by the answer. It waits
/// for a commit that is under way, so no growth that was asked for before comes after it.
///
/// # Errors
/// As [`run`].
pub fn rehearse(
    core: &Core,
    _permit: &Permit<op::DiskGrow>,
    id: DiskId,
    size: u64,
) -> Result<DiskStatus, Failure> {
    core.store.rehearse(|txn| {
        let (before, _) = grown(txn, id, size)?;
        Ok(status::disk(core, txn, &before)?)
    })
}

/// The disk as it is, and as it is to be.
fn grown(txn: &Txn<'_>, id: DiskId, size: u64) -> Result<(Disk, Disk), Failure> {
    let (disk, _) = txn.disk_and_set(id)?;
    let grown = disk.clone().grown(size)?;
    Ok((disk, grown))
}
