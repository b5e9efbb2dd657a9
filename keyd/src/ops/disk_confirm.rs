//! Notes that a new disk's image is durable.

use keyd_client::{DiskId, message::Reply};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Confirms a disk; its maker or an administrator does.
///
/// # Errors
/// [`Refused::NoDisk`], [`Refused::NotYours`].
pub fn run(core: &Core, permit: Permit<op::DiskConfirm>, id: DiskId) -> Result<Reply, Failure> {
    core.commit(&permit, |txn| {
        let mut disk = txn.disk(id)?;
        if disk.maker != permit.caller().principal && !permit.administrator() {
            return Err(Refused::NotYours(id).into());
        }
        disk.confirm();
        txn.replace_disk(&disk)?;
        Ok((Reply::Done, permit.entry(id)))
    })
}
