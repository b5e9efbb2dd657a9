//! `keyd status`.

use keyd_client::{
    Page,
    message::{AuditStatus, BackupStatus, DaemonStatus, Status, StoreStatus},
};

use super::{Error, Exit, console::Console, table::list};
use crate::{amounts::bytes, clock};

pub(super) fn run(console: &Console) -> Result<Exit, Error> {
    let status = console.ask(Status {})?;
    console.print(&status, text)?;
    Ok(if status.warnings.is_empty() { Exit::Done } else { Exit::Warned })
}

fn text(status: &DaemonStatus) -> Page {
    let about = list(&[
        ("version", status.version.clone()),
        ("process", status.pid.to_string()),
        ("started", clock::text(status.started)),
        ("vaults", status.vaults.to_string()),
        ("keys", status.keys.to_string()),
        ("sets", status.sets.to_string()),
        ("disks", status.disks.to_string()),
        ("leases", status.leases.to_string()),
        ("store", store(&status.store)),
        ("audit", audit(&status.audit)),
        ("reserved", reserved(&status.audit)),
        ("warnings", status.warnings.len().to_string()),
    ]);
    let warnings = status.warnings.iter();
    let page = warnings.fold(about, |page, warning| page.line(format_args!("warning: {warning}")));
    status.notes.iter().fold(page, |page, note| page.line(format_args!("note: {note}")))
}

fn store(store: &StoreStatus) -> String {
    let newest = |backup: &BackupStatus| {
        let newest = backup.newest.map_or_else(|| "none yet".to_owned(), clock::text);
        format!(", newest backup in {}: {newest}", backup.to.display())
    };
    let backup = store.backup.as_ref().map(newest).unwrap_or_default();
    format!("{} records, checked {}{backup}", store.rows, clock::text(store.checked))
}

fn audit(audit: &AuditStatus) -> String {
    let copies = audit.copies.iter().map(|copy| format!(", {} has {}", copy.path, copy.newest));
    format!("rows {} to {}{}", audit.first, audit.newest, copies.collect::<String>())
}

/// What a full disk leaves to administrators.
fn reserved(audit: &AuditStatus) -> String {
    match (audit.ballast, audit.log_ahead) {
        (Some(ballast), Some(ahead)) => {
            format!("{} of ballast, {} of the audit log", bytes(ballast), bytes(ahead))
        }
        _ => "nothing: this file system cannot".to_owned(),
    }
}
