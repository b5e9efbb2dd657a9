//! What `status` says of sets and their disks: which have no key, what their disks do then, and what else somebody
//! should look at.

use std::collections::BTreeMap;

use keyd_client::{
    DesName, DiskId,
    message::{DiskState, Holder, Phase, UnixMillis},
};

use crate::{clock, core::Core, error::Failure, limits::DISK_WARNINGS_MAX, standing, store::View};

/// A line for each set, and for each disk that is not told with its set.
///
/// # Errors
/// [`crate::error::Fault`].
pub(super) fn warnings(
    core: &Core,
    view: &impl View,
    now: UnixMillis,
) -> Result<Vec<String>, Failure> {
    let mut holders = by_set(core, view)?;
    let (mut warnings, mut alone) = (Vec::new(), Vec::new());
    for set in view.sets()? {
        if let Some(error) = &set.rotation_error {
            let (code, message) = (&error.code, &error.message);
            warnings.push(format!("set '{}' does not follow its key: {code}: {message}", set.name));
        }
        let of_set = holders.remove(&Some(set.name.clone())).unwrap_or_default();
        match standing::set_lost(view, &set, now)? {
            Some(why) => {
                let doing = doing(&of_set);
                warnings.push(format!("set '{}' has lost its key: {why}; {doing}", set.name));
                alone.extend(of_set.into_iter().filter(|(_, holder)| is_told_with_any_set(holder)));
            }
            None => alone.extend(of_set),
        }
    }
    // Disks that were erased have no set.
    alone.extend(holders.into_values().flatten());
    alone.sort_by_key(|(disk, _)| *disk);
    let lines: Vec<String> =
        alone.iter().filter_map(|(disk, holder)| line(*disk, holder)).collect();
    let more = lines.len().saturating_sub(DISK_WARNINGS_MAX);
    warnings.extend(lines.into_iter().take(DISK_WARNINGS_MAX));
    if more > 0 {
        warnings.push(format!("so it is with {more} more disks: 'keyd disk list' shows them"));
    }
    Ok(warnings)
}

type Holders = Vec<(DiskId, Holder)>;

fn by_set(core: &Core, view: &impl View) -> Result<BTreeMap<Option<DesName>, Holders>, Failure> {
    let mut holders: BTreeMap<_, Holders> = BTreeMap::new();
    for (disk, holder) in core.leases.every_holder() {
        let set = match view.disk(disk) {
            Ok(disk) => Some(disk.des),
            Err(Failure::Refused(_)) => None,
            Err(fault) => return Err(fault),
        };
        holders.entry(set).or_default().push((disk, holder));
    }
    Ok(holders)
}

/// What is worth a line of its own although its set has lost its key.
fn is_told_with_any_set(holder: &Holder) -> bool {
    matches!(holder.state.phase, Phase::WaitingForSpace | Phase::Halting { .. })
}

/// `2 disks parked, 1 disk deferred until 2026-11-22 04:18:14.714Z`: those of one set.
fn doing(holders: &Holders) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (_, holder) in holders {
        *counts.entry(told(holder.state.phase)).or_default() += 1;
    }
    if counts.is_empty() {
        return "none of its disks is in use".to_owned();
    }
    let count = |(what, count): (&String, &u64)| match count {
        1 => format!("1 disk {what}"),
        count => format!("{count} disks {what}"),
    };
    counts.iter().map(count).collect::<Vec<_>>().join(", ")
}

fn told(phase: Phase) -> String {
    match phase {
        Phase::Deferred { until: Some(until) } => format!("{phase} until {}", clock::text(until)),
        Phase::Deferred { until: None } => format!("{phase} until it detaches"),
        _ => phase.to_string(),
    }
}

fn line(disk: DiskId, holder: &Holder) -> Option<String> {
    let DiskState { phase, since, why } = &holder.state;
    let since = clock::text(*since);
    let because = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let pid = holder.pid;
    match phase {
        Phase::WaitingForSpace => Some(format!(
            "disk {disk} waits for space since {since}: make room on the file system that its image is on, and it goes on by itself"
        )),
        Phase::Halting { lease_ends } => Some(format!(
            "disk {disk}: process {pid} was told at {since} to let go of the key and has not confirmed it{because}; its lease ends at {}",
            clock::text(*lease_ends)
        )),
        Phase::Parked | Phase::Failing => {
            Some(format!("disk {disk} is {phase} since {since}{because}"))
        }
        Phase::Running | Phase::Deferred { .. } | Phase::Released | Phase::Gone => None,
    }
}
