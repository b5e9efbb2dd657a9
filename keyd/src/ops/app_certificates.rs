//! Says which client certificates are an application's.

use std::collections::BTreeSet;

use keyd_client::{AppName, Fingerprint, message::AppStatus};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::Apps,
};

/// Replaces them; from the commit on others are nobody's.
///
/// # Errors
/// [`crate::error::Refused::NoApp`], [`crate::error::Refused::TooManyCertificates`],
/// [`crate::error::Refused::CertificateTaken`].
pub fn run(
    core: &Core,
    permit: Permit<op::AppCertificates>,
    name: &AppName,
    certificates: &BTreeSet<Fingerprint>,
) -> Result<AppStatus, Failure> {
    core.commit(&permit, |txn| {
        let mut app = txn.app(name)?;
        app.trust(certificates.clone())?;
        txn.put_app(&app)?;
        // Fingerprints are public, and say afterwards who was trusted.
        let told: Vec<String> =
            certificates.iter().map(|one| one.to_string()[..16].into()).collect();
        let status = app.status(txn.count_tokens(name)?);
        Ok((status, permit.entry(name).detail(format!("certificates={}", told.join(",")))))
    })
}
