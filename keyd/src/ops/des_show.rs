//! Tells of disk encryption sets.

use keyd_client::{
    DesName, DiskId,
    limits::DISKS_PER_PAGE,
    message::{DesStatus, Reply},
};

use super::{disk_show, status};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// One set.
///
/// # Errors
/// [`crate::error::Refused::NoSet`].
pub fn one(
    core: &Core,
    _permit: Permit<op::DesShow>,
    name: &DesName,
) -> Result<DesStatus, Failure> {
    let view = core.store.snapshot()?;
    status::set(&view, &view.set(name)?)
}

/// All sets.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn all(core: &Core, _permit: Permit<op::DesList>) -> Result<Vec<DesStatus>, Failure> {
    let view = core.store.snapshot()?;
    let sets = view.sets()?;
    sets.iter().map(|set| status::set(&view, set)).collect()
}

/// A page of a set's disks, snapshots and images (Azure: `associatedResources`).
///
/// # Errors
/// [`crate::error::Refused::NoSet`].
pub fn resources(
    core: &Core,
    _permit: Permit<op::DesResources>,
    name: &DesName,
    after: Option<DiskId>,
) -> Result<Reply, Failure> {
    let view = core.store.snapshot()?;
    let found = view.disks_in(&view.set(name)?, after, DISKS_PER_PAGE + 1)?;
    let disks = found.into_iter().map(|id| view.disk(id)).collect::<Result<Vec<_>, _>>()?;
    disk_show::fit(core, &view, &disks)
}
