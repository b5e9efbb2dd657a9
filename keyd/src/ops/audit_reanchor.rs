//! Goes on after a break of the audit log.

use keyd_client::message::Reply;

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
};

/// Begins the chain anew behind the break. What the break hides is given up, and that is recorded.
///
/// # Errors
/// [`Refused::AcceptBreak`], and those of [`crate::store::Store::reanchor_audit`].
pub fn run(
    core: &Core,
    permit: Permit<op::AuditReanchor>,
    accept_break: bool,
) -> Result<Reply, Failure> {
    if !accept_break {
        return Err(Refused::AcceptBreak.into());
    }
    let done = core.store.reanchor_audit(permit.entry("audit.log"))?;
    Ok(Reply::AuditReanchored {
        accepted: done.accepted,
        first: done.begin,
        sealed: done.sealed as u64,
        sha256: done.sha256,
    })
}
