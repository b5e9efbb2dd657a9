//! Tells of disks.

use keyd_client::{
    DiskId,
    limits::{BODY_LEN_MAX, DISKS_PER_PAGE},
    message::{DiskStatus, Reply},
};

use super::status;
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    model::disk::Disk,
    store::View,
};

/// One disk.
///
/// # Errors
/// [`crate::error::Refused::NoDisk`].
pub fn one(core: &Core, _permit: Permit<op::DiskShow>, id: DiskId) -> Result<DiskStatus, Failure> {
    let view = core.store.snapshot()?;
    Ok(status::disk(core, &view, &view.disk(id)?)?)
}

/// One page of disks. It ends early where a frame would be full.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn page(
    core: &Core,
    _permit: Permit<op::DiskList>,
    after: Option<DiskId>,
) -> Result<Reply, Failure> {
    let view = core.store.snapshot()?;
    fit(core, &view, &view.disks(after, DISKS_PER_PAGE + 1)?)
}

/// As many of these as fit one frame: a disk may have many holders.
///
/// # Errors
/// [`crate::error::Fault`].
pub(super) fn fit(core: &Core, view: &impl View, found: &[Disk]) -> Result<Reply, Failure> {
    let mut disks = Vec::new();
    let mut room = BODY_LEN_MAX - 1024;
    for disk in found.iter().take(DISKS_PER_PAGE) {
        let told = status::disk(core, view, disk)?;
        let len = serde_json::to_vec(&told)?.len() + 1;
        let Some(left) = room.checked_sub(len) else {
            break;
        };
        room = left;
        disks.push(told);
    }
    let more = disks.len() < found.len();
    Ok(Reply::Disks { disks, more })
}
