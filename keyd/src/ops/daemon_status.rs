//! How the daemon is, and what somebody should look at.

mod disks;
mod keys;
mod released;
mod serving;

use keyd_client::message::{
    AuditCopyStatus, AuditStatus, DaemonStatus, Status, StoreStatus, UnixMillis,
};

use super::operation::{Operation, on};

use crate::{
    auth::Permit,
    clock,
    core::Core,
    error::{Failure, Refused},
    limits::DAMAGE_TOLD_MAX,
    store::{Spelling, View},
    tls::TlsOptions,
};

impl Operation for Status {
    on!(all "keyd");

    /// Counts, and a warning for everything that is not as it should be.
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<DaemonStatus, Failure> {
        core.store.look();
        let (view, now) = (core.store.snapshot()?, core.now());
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
        let store = store_status(core, now);
        warnings.extend(store_warnings(core, &store));
        warnings.extend(core.store.lost().map(|lost| lost.to_string()));
        warnings.extend(super::clock::warning(core));
        warnings.extend(audit_warnings(&audit));
        warnings.extend(disks::warnings(core, &view, now)?);
        warnings.extend(serving::warnings(&core.leases.every_holder()));
        warnings.extend(keys::warnings(&view, now)?);
        warnings.extend(twin_warnings(&view)?);
        warnings.extend(core.reach.tls.iter().flat_map(TlsOptions::warnings));
        Ok(DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: core.started,
            vaults: vaults.len() as u64,
            keys,
            sets: sets.len() as u64,
            disks,
            leases: core.leases.count() as u64,
            store,
            audit,
            warnings,
            notes: released::notes(&view, core.root)?,
        })
    }
}

fn store_status(core: &Core, now: UnixMillis) -> StoreStatus {
    let damage = core.store.damage();
    let mut damaged = [damage.names, damage.deks].concat();
    damaged.truncate(DAMAGE_TOLD_MAX);
    StoreStatus {
        checked: damage.checked,
        rows: damage.rows,
        damaged,
        mended: damage.mended,
        backup: core.backups.as_ref().map(|backups| backups.status(now)),
    }
}

fn store_warnings(core: &Core, store: &StoreStatus) -> Vec<String> {
    let distrusted = core.store.damage().distrusted;
    let mut warnings: Vec<String> =
        distrusted.map(|why| Refused::StoreBroken(why).to_string()).into_iter().collect();
    let damaged = |name: &String| {
        format!("damaged in the store: {name}; 'keyd restore' brings it back from a backup")
    };
    warnings.extend(store.damaged.iter().map(damaged));
    warnings.extend(store.mended.iter().map(|what| {
        format!("the store was damaged and could be mended ({what}): look at the disk under it")
    }));
    let Some(backup) = &store.backup else {
        return warnings;
    };
    let (to, newest) = (backup.to.display(), backup.newest.map(clock::text));
    let newest = newest
        .map_or_else(|| "there is none".to_owned(), |time| format!("the newest is of {time}"));
    match &backup.failing {
        Some(why) => warnings.push(format!("no backup could be made in {to}, {newest}: {why}")),
        None if backup.old => warnings.push(format!("backups in {to} are old: {newest}")),
        None => {}
    }
    warnings
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

/// Of stores that were made when names of other case were other names.
fn twin_warnings(view: &impl View) -> Result<Vec<String>, Failure> {
    let told = |(what, names): (&str, Vec<String>)| {
        format!(
            "the {what} {} differ in case only, and clients of Key Vault take them for one: each is found under just this name; move what uses all but one of them elsewhere, and delete those",
            names.join(", ")
        )
    };
    Ok(view.twins()?.into_iter().map(told).collect())
}
