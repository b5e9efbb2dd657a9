//! Reads and checks the audit log.

use keyd_client::message::{AuditRecord, Reply};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    limits::AUDIT_TAIL_MAX,
};

/// The newest records.
///
/// # Errors
/// [`crate::error::Fault::AuditFile`].
pub fn tail(
    core: &Core,
    _permit: Permit<op::AuditTail>,
    count: u32,
) -> Result<Vec<AuditRecord>, Failure> {
    let count = count.min(AUDIT_TAIL_MAX) as usize;
    Ok(core.store.tail_audit(count)?)
}

/// Follows the whole chain.
///
/// # Errors
/// [`crate::error::Refused::AuditBroken`] with the first bad row.
pub fn verify(core: &Core, _permit: Permit<op::AuditVerify>) -> Result<Reply, Failure> {
    let head = core.store.verify_audit()?.head;
    Ok(Reply::AuditWhole { records: head.seq, head: head.hash })
}
