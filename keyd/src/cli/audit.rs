//! `keyd audit`.

use std::path::absolute;

use keyd_client::{
    Page,
    message::{AuditRecord, AuditRequest, Reply},
};

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

fn told(reply: &Reply) -> Option<Page> {
    let page = Page::default();
    match reply {
        Reply::AuditWhole { first, records, head } => Some(page.line(format_args!(
            "the audit log is whole: {records} records from row {first} on, head {head}"
        ))),
        Reply::AuditArchived { files, first } => {
            Some(page.line(format_args!(
                "{files} files moved; the audit log begins with row {first} now"
            )))
        }
        Reply::AuditReanchored { accepted, first, sealed, sha256 } => Some(
            page.line(format_args!("accepted: {accepted}"))
                .line(format_args!("the audit log begins with row {first} now"))
                .line(format_args!("{sealed} files are no part of it any more, SHA-256 {sha256}")),
        ),
        _ => None,
    }
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
