//! `keyd audit`.

use keyd_client::message::{AuditRecord, AuditRequest, Reply};

use super::{
    Error, Exit, args,
    ask::{Ask, unexpected},
    table::table,
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: &args::Audit) -> Result<Exit, Error> {
    let request = match verb {
        args::Audit::Tail { count } => AuditRequest::Tail { count: *count },
        args::Audit::Verify => AuditRequest::Verify,
    };
    let reply = ask.call(request)?;
    match &reply {
        Reply::Audit(records) => ask.print(records, |records| tail(records)),
        Reply::AuditWhole { records, head } => {
            let text = format!("the audit log is whole: {records} records, head {head}");
            ask.print_reply(&reply, text)
        }
        _ => Err(unexpected()),
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
