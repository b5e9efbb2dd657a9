//! What a disk does now, as people read it: the same words in every listing.

use keyd_client::message::{DiskState, DiskStatus, Phase};

use crate::clock;

/// `parked`, `deferred until 2026-11-22 04:18:14.714Z`.
pub(super) fn phase(phase: Phase) -> String {
    match phase {
        Phase::Deferred { until: Some(until) } => format!("{phase} until {}", clock::text(until)),
        Phase::Deferred { until: None } => format!("{phase} until it detaches"),
        _ => phase.to_string(),
    }
}

/// What is known of a disk: of its process, of each if they differ, or how its last process ended.
pub(super) fn of_disk(disk: &DiskStatus) -> Vec<&DiskState> {
    let mut states: Vec<&DiskState> = Vec::new();
    for holder in &disk.holders {
        if states.iter().all(|state| state.phase != holder.state.phase) {
            states.push(&holder.state);
        }
    }
    if states.is_empty() { disk.last.iter().collect() } else { states }
}
