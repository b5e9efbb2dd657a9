//! How the daemon is, and what somebody should look at.

mod disks;
mod keys;
mod released;

use keyd_client::message::{AuditCopyStatus, AuditStatus, DaemonStatus};

use crate::{
    auth::{Permit, op},
    clock,
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Counts, and a warning for everything that is not as it should be.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn run(core: &Core, _permit: Permit<op::Status>) -> Result<DaemonStatus, Failure> {
    let (view, now) = (core.store.snapshot()?, clock::now());
    let vaults = view.vaults()?;
    let mut keys = 0;
    for vault in &vaults {
        keys += view.count_keys(&vault.name)?;
    }
    let sets = view.sets()?;
    let mut disks = 0;
    for set in &sets {
        disks += view.count_in(set)?;
    }
    let mut warnings = Vec::new();
    let audit = core.store.audit_status();
    warnings.extend(audit_warnings(&audit));
    warnings.extend(disks::warnings(core, &view, now)?);
    warnings.extend(keys::warnings(&view, now)?);
    Ok(DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: core.started,
        vaults: vaults.len() as u64,
        keys,
        sets: sets.len() as u64,
        disks,
        leases: core.leases.count() as u64,
        audit,
        warnings,
        notes: released::notes(&view, core.root)?,
    })
}

fn audit_warnings(audit: &AuditStatus) -> Vec<String> {
    let mut warnings: Vec<String> = audit.broken.iter().cloned().collect();
    if audit.full_since.is_some() {
        warnings.push(Refused::DiskFull.to_string());
    }
    if audit.ballast.is_none() {
        warnings.push(
            "the state directory's file system cannot reserve space: a full disk will stop keyd"
                .to_owned(),
        );
    }
    let failing = audit.copies.iter().filter_map(|copy| Some((copy, copy.failing.as_ref()?)));
    let told = |(copy, why): (&AuditCopyStatus, &String)| {
        format!("the audit copy {} does not follow: {why}", copy.path)
    };
    warnings.extend(failing.map(told));
    warnings
}
