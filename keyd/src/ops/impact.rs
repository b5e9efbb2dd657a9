//! What a verb that takes keys away hits: found by making the very change, in a transaction, and comparing what each
//! disk could before and after. A dry run is that transaction, dropped.

use std::{cmp::Reverse, collections::BTreeMap};

use keyd_client::{
    DesName, DiskId,
    limits::IMPACT_LISTED_MAX,
    message::{Affected, Consent, DiskKind, Impact, UnixMillis},
};

use super::taking::Ask;
use crate::{
    audit::chain,
    clock,
    core::Core,
    error::{Failure, Refused},
    model::{
        des::Des,
        right::{Use, right},
        version::VersionId,
    },
    store::{Txn, View},
};

/// What a disk can do with its wrapped DEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Have it unwrapped.
    Usable,
    /// Not now. Who holds it goes on for so long by the set's terms, milliseconds.
    Lost(Reverse<u64>),
    /// Never again.
    Gone,
}

/// Levels of every set under every key version that wraps in it.
type Levels = BTreeMap<(DesName, VersionId), Level>;

/// Makes a change and says what it hits. What is hit is worse off after it: a key that is purged after it was deleted
/// hits its disks a second time, and so do shorter terms of a set whose key is lost.
///
/// # Errors
/// Those of `change`; [`crate::error::Fault`].
pub fn weigh(
    core: &Core,
    txn: &Txn<'_>,
    verb: &'static str,
    subject: &str,
    change: impl FnOnce(&Txn<'_>) -> Result<(), Failure>,
) -> Result<Impact, Failure> {
    let now = clock::now();
    let before = levels(txn, now)?;
    change(txn)?;
    let after = levels(txn, now)?;
    let mut tally = Tally::default();
    for ((set, version), level) in &after {
        let was = before.get(&(set.clone(), version.clone()));
        if was.is_none_or(|was| level > was) && *level > Level::Usable {
            for id in txn.disks_under(version, None, usize::MAX)? {
                tally.add(txn, set, id, *level)?;
            }
        }
    }
    Ok(tally.impact(core, verb, subject))
}

/// What destroying one disk's DEK hits.
///
/// # Errors
/// [`Refused::NoDisk`].
pub fn of_erasing(
    core: &Core,
    view: &impl View,
    verb: &'static str,
    id: DiskId,
) -> Result<Impact, Failure> {
    let disk = view.disk(id)?;
    let mut tally = Tally::default();
    tally.hit.insert(id, (disk.des, disk.kind, Level::Gone));
    Ok(tally.impact(core, verb, &id.to_string()))
}

fn levels(view: &impl View, now: UnixMillis) -> Result<Levels, Failure> {
    let mut levels = Levels::new();
    for set in view.sets()? {
        for version in view.versions_in(&set)? {
            let level = level(view, &set, &version, now)?;
            levels.insert((set.name.clone(), version), level);
        }
    }
    Ok(levels)
}

fn level(view: &impl View, set: &Des, id: &VersionId, now: UnixMillis) -> Result<Level, Failure> {
    let Some(key) = view.key_with(id)? else {
        return Ok(Level::Gone);
    };
    let vault = view.vault(&key.id.vault)?;
    let usable = right(&vault, set, &key, id.version, Use::Keep, now).is_ok();
    // Who is spared until the next attach is spared longest.
    let spared = Reverse(set.halts_after().unwrap_or(u64::MAX));
    Ok(if usable { Level::Usable } else { Level::Lost(spared) })
}

#[derive(Debug, Default)]
struct Tally {
    hit: BTreeMap<DiskId, (DesName, DiskKind, Level)>,
}

impl Tally {
    /// One key version can wrap in several sets: only this set's disks are hit by what hit this set.
    fn add(
        &mut self,
        txn: &Txn<'_>,
        set: &DesName,
        id: DiskId,
        level: Level,
    ) -> Result<(), Failure> {
        let disk = txn.disk(id)?;
        if disk.des == *set {
            let row = self.hit.entry(id).or_insert((disk.des, disk.kind, level));
            row.2 = row.2.max(level);
        }
        Ok(())
    }

    fn impact(&self, core: &Core, verb: &'static str, subject: &str) -> Impact {
        let of = |kind| count(self.hit.values().filter(|(_, k, _)| *k == kind));
        let rows: Vec<Affected> = self
            .hit
            .iter()
            .map(|(id, (des, kind, _))| Affected {
                id: *id,
                kind: *kind,
                des: des.clone(),
                processes: holding(core, *id),
            })
            .collect();
        Impact {
            verb: verb.to_owned(),
            subject: subject.to_owned(),
            disks: of(DiskKind::Disk),
            snapshots: of(DiskKind::Snapshot),
            images: of(DiskKind::Image),
            held: count(rows.iter().flat_map(|row| &row.processes)),
            lost_for_ever: count(self.hit.values().filter(|(_, _, level)| *level == Level::Gone)),
            more: rows.len() > IMPACT_LISTED_MAX,
            listed: rows.into_iter().take(IMPACT_LISTED_MAX).collect(),
            token: self.token(verb, subject),
            backups: None,
        }
    }

    /// Says yes to this verb on these disks. It is no secret: it keeps people from mistakes, not from harm.
    fn token(&self, verb: &str, subject: &str) -> String {
        let mut text = format!("{verb}|{subject}");
        for (id, (_, _, level)) in &self.hit {
            text.push_str(&format!("|{id} {level:?}"));
        }
        chain::hash(text.as_bytes()).chars().take(16).collect()
    }
}

fn holding(core: &Core, disk: DiskId) -> Vec<u32> {
    let holders = core.leases.holders(disk);
    let holding = holders.iter().filter(|holder| holder.state.phase.has_key());
    holding.map(|holder| holder.pid).collect()
}

fn count<T>(rows: impl Iterator<Item = T>) -> u64 {
    rows.count() as u64
}

/// Whether the asker may go on.
///
/// # Errors
/// [`Refused::InUseBy`], [`Refused::StaleToken`].
pub fn check(consent: &Consent, ask: &Ask<'_>, impact: &Impact) -> Result<(), Refused> {
    let nothing = impact.disks + impact.snapshots + impact.images == 0;
    let (verb, subject) = (ask.verb, format!("{}{}", ask.subject, ask.arguments));
    match consent {
        Consent::Force => Ok(()),
        Consent::Token(token) if *token == impact.token => Ok(()),
        // Less than was told: a rotation that was under way has ended since.
        Consent::Token(_) if nothing => Ok(()),
        Consent::Token(token) => {
            Err(Refused::StaleToken { verb, subject, token: token.chars().take(16).collect() })
        }
        Consent::IfUnused | Consent::DryRun if nothing => Ok(()),
        Consent::IfUnused | Consent::DryRun => {
            Err(Refused::InUseBy { verb, subject, hit: summary(impact) })
        }
    }
}

/// `2 disks (1 held), 1 snapshot`.
#[must_use]
pub fn summary(impact: &Impact) -> String {
    let some = |count: u64, what: &str| {
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} {what}{plural}"))
    };
    let parts = [
        some(impact.disks, "disk"),
        some(impact.snapshots, "snapshot"),
        some(impact.images, "image"),
        (impact.held > 0).then(|| format!("{} held now", impact.held)),
        (impact.lost_for_ever > 0)
            .then(|| format!("{} never to be read again", impact.lost_for_ever)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
