//! `keyd audit`.

use keyd_client::message::{AuditRecord, AuditRequest, Reply};

use super::{
    Error, args,
    ask::{Ask, body, unexpected},
    table::table,
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: &args::Audit) -> Result<(), Error> {
    let request = match verb {
        args::Audit::Tail { count } => AuditRequest::Tail { count: *count },
        args::Audit::Verify => AuditRequest::Verify,
    };
    match ask.call(request)? {
        Reply::Audit(records) => ask.print(&records, |records| tail(records)),
        reply @ Reply::AuditWhole { .. } => ask.print(&body(&reply)?, |_| whole(&reply)),
        _ => Err(unexpected()),
    }
}

fn whole(reply: &Reply) -> String {
    match reply {
        Reply::AuditWhole { records, head } => {
            format!("the audit log is whole: {records} records, head {head}")
        }
        _ => String::new(),
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
