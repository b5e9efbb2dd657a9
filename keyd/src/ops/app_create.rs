//! Makes an application: a principal that may do nothing until it is granted something.

use std::collections::BTreeSet;

use keyd_client::{AppName, Fingerprint, message::AppStatus};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    limits::APPS_MAX,
    model::app::App,
    store::{Apps, Spelling},
};

/// Makes one with these client certificates.
///
/// # Errors
/// [`Refused::AppExists`], [`Refused::TooManyApps`], [`Refused::TooManyCertificates`], [`Refused::CertificateTaken`].
pub fn run(
    core: &Core,
    permit: Permit<op::AppCreate>,
    name: &AppName,
    certificates: BTreeSet<Fingerprint>,
) -> Result<AppStatus, Failure> {
    let app = App::new(name.clone(), certificates, core.now())?;
    core.commit(&permit, |txn| {
        if txn.find_app(name)?.is_some() {
            return Err(Refused::AppExists(name.clone()).into());
        }
        if let Some(twin) = txn.twin_of_app(name)? {
            return Err(Refused::AppExists(twin).into());
        }
        if txn.apps()?.len() >= APPS_MAX {
            return Err(Refused::TooManyApps.into());
        }
        txn.put_app(&app)?;
        let detail = format!("certificates={}", app.certificates().len());
        Ok((app.status(0), permit.entry(name).detail(detail)))
    })
}
