//! Reads and checks the audit log.

use keyd_client::message::{AuditRecord, Reply};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    limits::AUDIT_TAIL_MAX,
    store::Verified,
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
    let Verified { begin, head } = core.store.verify_audit()?;
    Ok(Reply::AuditWhole { first: begin, records: head.seq + 1 - begin, head: head.hash })
}
