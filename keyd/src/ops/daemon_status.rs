//! How the daemon is, and what somebody should look at.

use keyd_client::message::{AuditCopyStatus, AuditStatus, DaemonStatus, UnixMillis};

use crate::{
    auth::{Permit, op},
    clock,
    core::Core,
    error::{Failure, Refused},
    limits::{MILLIS_PER_DAY, NOTICE_DAYS},
    model::version::Validity,
    standing,
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
    warnings.extend(set_warnings(&view, now)?);
    warnings.extend(key_warnings(&view, now)?);
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

fn set_warnings(view: &impl View, now: UnixMillis) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    for set in view.sets()? {
        if let Some(error) = &set.rotation_error {
            let (code, message) = (&error.code, &error.message);
            warnings.push(format!("set '{}' does not follow its key: {code}: {message}", set.name));
        }
        if let Some(why) = standing::set_lost(view, &set, now)? {
            warnings.push(format!("set '{}' has lost its key: {why}", set.name));
        }
    }
    Ok(warnings)
}

fn key_warnings(view: &impl View, now: UnixMillis) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    for id in view.keys_watched()? {
        let key = view.key(&id)?;
        let newest = key.newest();
        let near = newest.expires.is_some_and(|expires| {
            expires.saturating_mul(1000) < now + u64::from(NOTICE_DAYS) * MILLIS_PER_DAY
        });
        match newest.validity(now) {
            _ if key.deleted().is_some() => {}
            Validity::Over => warnings.push(format!("key '{id}' has expired: rotate it")),
            Validity::Valid if near => {
                let end = clock::text(newest.expires.unwrap_or(0) * 1000);
                warnings.push(format!("key '{id}' expires on {end}: rotate it before"));
            }
            Validity::Valid | Validity::NotYet => {}
        }
    }
    Ok(warnings)
}
