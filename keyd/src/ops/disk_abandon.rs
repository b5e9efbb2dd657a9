//! Forgets a disk whose image was never written.

use keyd_client::{DiskId, message::Reply};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Forgets an unconfirmed disk and its DEK; its maker or an administrator does.
///
/// # Errors
/// [`Refused::NoDisk`], [`Refused::Confirmed`], [`Refused::InUse`].
pub fn run(core: &Core, permit: Permit<op::DiskAbandon>, id: DiskId) -> Result<Reply, Failure> {
    core.commit(&permit, |txn| {
        let disk = txn.disk(id)?;
        disk.abandonable()?;
        // A lease is entered before its disk is looked for: one that is not seen here will not find the disk.
        if let Some(pid) = core.leases.holder_of(id) {
            return Err(Refused::InUse { disk: id, pid }.into());
        }
        txn.remove_disk(id)?;
        Ok((Reply::Done, permit.entry(id)))
    })
}
