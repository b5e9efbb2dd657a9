//! `keyd audit`.

use std::path::absolute;

use keyd_client::message::{AuditRecord, AuditRequest, Reply};

use super::{
    Error, Exit,
    args::Audit,
    ask::{Ask, unexpected},
    table::table,
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: Audit) -> Result<Exit, Error> {
    let request = match verb {
        Audit::Tail { count } => AuditRequest::Tail { count },
        Audit::Verify => AuditRequest::Verify,
        // The daemon has another working directory.
        Audit::Archive { before, to } => {
            AuditRequest::Archive { before: before.unwrap_or(u64::MAX), to: absolute(to)? }
        }
        Audit::Reanchor { accept_break } => AuditRequest::Reanchor { accept_break },
    };
    match ask.call(request)? {
        Reply::Audit(records) => ask.print(&records, |records| tail(records)),
        reply => {
            let text = told(&reply).ok_or_else(unexpected)?;
            ask.print_reply(&reply, text)
        }
    }
}

fn told(reply: &Reply) -> Option<String> {
    match reply {
        Reply::AuditWhole { first, records, head } => Some(format!(
            "the audit log is whole: {records} records from row {first} on, head {head}"
        )),
        Reply::AuditArchived { files, first } => {
            Some(format!("{files} files moved; the audit log begins with row {first} now"))
        }
        Reply::AuditReanchored { accepted, first, sealed, sha256 } => Some(format!(
            "accepted: {accepted}\nthe audit log begins with row {first} now\n\
             {sealed} files are no part of it any more, SHA-256 {sha256}"
        )),
        _ => None,
    }
}

fn tail(records: &[AuditRecord]) -> String {
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            [
                record.seq.to_string(),
                clock::text(record.time),
                record.who.clone(),
                record.operation.clone(),
                record.subject.clone(),
                record.outcome.clone(),
                record.detail.clone(),
            ]
        })
        .collect();
    table(["SEQ", "TIME", "WHO", "OPERATION", "SUBJECT", "OUTCOME", "DETAIL"], &rows)
}
