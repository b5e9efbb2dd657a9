//! Makes a disk longer, while it runs. Its image is so long already: who asks has seen to that first, as a record that
//! goes further than its image is one that nobody can attach.

use keyd_client::{DiskId, message::DiskStatus};

use super::status;
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Grows a disk to `size` bytes; its maker or an administrator does. Its holders hear of it after the commit.
///
/// # Errors
/// [`Refused::NoDisk`], [`Refused::NotYours`], and those of [`crate::model::disk::Disk::grown`].
pub fn run(
    core: &Core,
    permit: Permit<op::DiskGrow>,
    id: DiskId,
    size: u64,
) -> Result<DiskStatus, Failure> {
    let grown = core.store.commit(|txn| {
        let (disk, _) = txn.disk_and_set(id)?;
        if disk.maker != permit.caller().principal && !permit.administrator() {
            return Err(Refused::NotYours(id).into());
        }
        let detail = format!("from={} to={size}", disk.geometry.size);
        let disk = disk.grown(size)?;
        txn.replace_disk(&disk)?;
        Ok((status::disk(core, txn, &disk)?, permit.entry(id).detail(detail)))
    })?;
    core.leases.grown(id, size);
    Ok(grown)
}
