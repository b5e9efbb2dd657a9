//! Takes down how a lease ended.

use keyd_client::LeaseId;

use crate::{
    audit::{Class, Entry},
    clock,
    core::Core,
    error::Failure,
    leases::{LeaseOver, Stage},
    log,
};

/// Forgets a lease and records its end. A holder that was told to let go and never confirmed is an alarm: the lease
/// guarantees that it stopped by now, nobody has seen it.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn run(core: &Core, lease: LeaseId, why: LeaseOver) -> Result<(), Failure> {
    let Some(ended) = core.leases.end(lease, why) else {
        return Ok(());
    };
    let now = clock::text(core.now());
    let (outcome, told) = match (ended.stage, why) {
        _ if ended.released => ("ok", "holder let go of the disk".to_owned()),
        (Stage::Held, LeaseOver::HungUp) => ("ok", "holder hung up".to_owned()),
        (Stage::Held, LeaseOver::RanOut) => ("ran out", "not renewed in time".to_owned()),
        (Stage::Revoking, LeaseOver::HungUp) => {
            ("not confirmed", format!("holder hung up at {now}"))
        }
        (Stage::Revoking, LeaseOver::RanOut) => ("not confirmed", format!("lease ended at {now}")),
        (Stage::Parked | Stage::Attaching, _) => ("ok", "held nothing".to_owned()),
    };
    let detail = format!("{told} lease={lease} pid={} uid={}", ended.pid, ended.uid);
    log::line(format_args!("lease of disk {} over: {outcome}, {detail}", ended.disk));
    let entry = Entry::by_daemon("lease-end", ended.disk).class(Class::Withdrawal);
    core.store.record(entry.outcome(outcome).detail(detail))
}
