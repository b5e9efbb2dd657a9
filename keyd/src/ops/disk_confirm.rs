//! Notes that a new disk's image is durable.

use keyd_client::{DiskId, message::Reply};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// Confirms a disk; its maker or an administrator does.
///
/// # Errors
/// [`crate::error::Refused::NoDisk`].
pub fn run(core: &Core, permit: Permit<op::DiskConfirm>, id: DiskId) -> Result<Reply, Failure> {
    core.commit(&permit, |txn| {
        let mut disk = txn.disk(id)?;
        disk.confirm();
        txn.replace_disk(&disk)?;
        Ok((Reply::Done, permit.entry(id)))
    })
}
