//! `keyd audit`.

use std::path::absolute;

use keyd_client::{
    Page,
    message::{AuditArchive, AuditArchived, AuditReanchored, AuditRecord, AuditWhole},
};

use super::{Error, Exit, args::Audit, console::Console, table::table};
use crate::clock;

pub(super) fn run(console: &Console, verb: Audit) -> Result<Exit, Error> {
    match verb {
        Audit::Tail(ask) => console.show(ask, |records| tail(records)),
        Audit::Verify(ask) => console.show(ask, |AuditWhole { first, records, head }| {
            format!("the audit log is whole: {records} records from row {first} on, head {head}")
        }),
        // The daemon has another working directory.
        Audit::Archive { before, to } => {
            let ask = AuditArchive { before: before.unwrap_or(u64::MAX), to: absolute(to)? };
            console.show(ask, |AuditArchived { files, first }| {
                format!("{files} files moved; the audit log begins with row {first} now")
            })
        }
        Audit::Reanchor(ask) => console.show(ask, reanchored),
    }
}

fn reanchored(done: &AuditReanchored) -> Page {
    let AuditReanchored { accepted, first, sealed, sha256 } = done;
    Page::default()
        .line(format_args!("accepted: {accepted}"))
        .line(format_args!("the audit log begins with row {first} now"))
        .line(format_args!("{sealed} files are no part of it any more, SHA-256 {sha256}"))
}

fn tail(records: &[AuditRecord]) -> Page {
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            [
                record.seq.to_string(),
                clock::text(record.time),
                record.who.to_string(),
                record.operation.to_string(),
                record.subject.to_string(),
                record.outcome.to_string(),
                record.detail.to_string(),
            ]
        })
        .collect();
    table(["SEQ", "TIME", "WHO", "OPERATION", "SUBJECT", "OUTCOME", "DETAIL"], &rows)
}
