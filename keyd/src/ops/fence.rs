//! Takes down that a holder has let go.

use keyd_client::{
    LeaseId,
    message::{FenceReport, Phase, UnixMillis},
};

use super::enforce;
use crate::{
    audit::Class,
    auth::{Permit, op},
    clock,
    core::Core,
    error::Failure,
};

/// Parks the holder and records its times. If the key is back already, the holder is told.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn run(
    core: &Core,
    permit: Permit<op::Fence>,
    lease: LeaseId,
    report: &FenceReport,
) -> Result<(), Failure> {
    let Some(claim) = core.leases.claim(lease) else {
        return Ok(());
    };
    // A holder that says so unasked is not one that a key was taken from.
    let asked = core.leases.is_awaited(lease);
    let class = if asked { Class::Withdrawal } else { Class::Use };
    core.leases.fenced(lease, report);
    let last_io = report.last_io.map_or_else(|| "none".to_owned(), time);
    let detail = format!(
        "lease={lease} pid={} ordered={} last_io={last_io} wiped={} took_us={} held={} state={}",
        claim.caller.pid,
        time(report.ordered),
        time(report.wiped),
        report.took_us,
        report.held,
        Phase::halted(report.reaction)
    );
    let entry = permit.entry(claim.disk).class(class).outcome("released").detail(detail);
    core.store.record(entry)?;
    enforce::grant_if_usable(core, lease)
}

fn time(millis: UnixMillis) -> String {
    clock::text(millis).replace(' ', "T")
}
