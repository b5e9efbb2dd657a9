//! Tells of disk encryption sets.

use keyd_client::{DesName, message::DesStatus};

use super::status;
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
