//! Tells of applications.

use keyd_client::{AppName, message::AppStatus};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::Apps,
};

/// One.
///
/// # Errors
/// [`crate::error::Refused::NoApp`].
pub fn one(
    core: &Core,
    _permit: Permit<op::AppShow>,
    name: &AppName,
) -> Result<AppStatus, Failure> {
    let view = core.store.snapshot()?;
    Ok(view.app(name)?.status(view.count_tokens(name)?))
}

/// All.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn all(core: &Core, _permit: Permit<op::AppList>) -> Result<Vec<AppStatus>, Failure> {
    let view = core.store.snapshot()?;
    let told = view.apps()?.into_iter().map(|app| Ok(app.status(view.count_tokens(&app.name)?)));
    told.collect()
}
