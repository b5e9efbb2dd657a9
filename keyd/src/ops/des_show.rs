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
    limits::SETS_PER_PAGE,
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
    status::set(core, &view, &view.set(name)?)
}

/// A page of sets in order of name, after one.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn page(
    core: &Core,
    _permit: Permit<op::DesList>,
    after: Option<&DesName>,
) -> Result<Reply, Failure> {
    let view = core.store.snapshot()?;
    let mut sets = view.sets()?;
    sets.retain(|set| after.is_none_or(|after| set.name > *after));
    let more = sets.len() > SETS_PER_PAGE;
    sets.truncate(SETS_PER_PAGE);
    let sets = sets.iter().map(|set| status::set(core, &view, set)).collect::<Result<_, _>>()?;
    Ok(Reply::DesSets { sets, more })
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
    let disks = found.into_iter().map(|id| view.disk(id));
    // What is damaged is named elsewhere.
    let disks = disks.filter(|disk| !matches!(disk, Err(Failure::Refused(_))));
    let disks = disks.collect::<Result<Vec<_>, _>>()?;
    disk_show::fit(core, &view, &disks)
}
