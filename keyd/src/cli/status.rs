//! `keyd status`.

use keyd_client::message::{DaemonStatus, Reply, Request};

use super::{
    Error, Exit,
    ask::{Ask, unexpected},
    table::list,
};
use crate::clock;

pub(super) fn run(ask: &Ask) -> Result<Exit, Error> {
    let Reply::Status(status) = ask.call(Request::Status)? else {
        return Err(unexpected());
    };
    ask.print(&status, text)?;
    Ok(if status.warnings.is_empty() { Exit::Done } else { Exit::Warned })
}

fn text(status: &DaemonStatus) -> String {
    let about = list(&[
        ("version", status.version.clone()),
        ("process", status.pid.to_string()),
        ("started", clock::text(status.started)),
        ("vaults", status.vaults.to_string()),
        ("keys", status.keys.to_string()),
        ("sets", status.sets.to_string()),
        ("disks", status.disks.to_string()),
        ("leases", status.leases.to_string()),
        ("warnings", status.warnings.len().to_string()),
    ]);
    let warnings: Vec<String> =
        status.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    about + &warnings.concat()
}
