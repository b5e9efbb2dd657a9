//! What a verb that takes keys away hits: found by making the very change, in a transaction, and comparing what each
//! disk could before and after. A dry run is that transaction, dropped.

use std::{cmp::Reverse, collections::BTreeMap};

use keyd_client::{
    DesName, DiskId,
    limits::IMPACT_LISTED_MAX,
    message::{Affected, DiskKind, Impact, OnExpiry, UnixMillis, When},
};

use crate::{
    audit::chain,
    clock,
    core::Core,
    error::Failure,
    model::{
        calendar,
        des::Des,
        disk::Disk,
        key::Key,
        right::{Use, right},
        version::{Version, VersionId},
    },
    store::{Txn, View},
};

/// What a disk can do with its wrapped DEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Have it unwrapped.
    Usable,
    /// For now. From the first time on, by the clock, it is lost as below; sooner is worse.
    Ends(Reverse<UnixMillis>, Reverse<u64>),
    /// Not now. Who holds it goes on for so long by the set's terms, milliseconds.
    Lost(Reverse<u64>),
    /// Never again.
    Gone,
}

impl Level {
    /// When a disk of this set is hit.
    fn when(self, set: &Des, now: UnixMillis) -> When {
        match self {
            Self::Lost(Reverse(u64::MAX)) => When::NextAttach { from: None },
            Self::Ends(Reverse(end), Reverse(u64::MAX)) => When::NextAttach { from: Some(end) },
            Self::Usable | Self::Lost(Reverse(0)) | Self::Gone => When::AtOnce,
            Self::Lost(Reverse(spared)) => {
                When::Later { at: set.lost_since.unwrap_or(now).saturating_add(spared) }
            }
            Self::Ends(Reverse(end), Reverse(spared)) => {
                When::Later { at: end.saturating_add(spared) }
            }
        }
    }

    /// For a token: the same from one look to the next, though the clock goes on. When it ends is told beside.
    fn class(self) -> String {
        match self {
            Self::Ends(_, spared) => format!("Ends({spared:?})"),
            other => format!("{other:?}"),
        }
    }
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
    let now = core.proven();
    let before = levels(txn, now)?;
    change(txn)?;
    let after = levels(txn, now)?;
    let mut tally = Tally::new(now);
    for ((set, version), level) in &after {
        let was = before.get(&(set.clone(), version.clone()));
        if was.is_none_or(|was| level > was) && *level > Level::Usable {
            let set = txn.set(set)?;
            for id in txn.disks_under(version, None, usize::MAX)? {
                match txn.disk(id) {
                    // It is named as damaged, and must not keep anybody from taking others away.
                    Err(Failure::Refused(_)) => {}
                    disk => tally.add(&set, disk?, *level),
                }
            }
        }
    }
    Ok(tally.impact(core, verb, subject))
}

/// The same of a change that concerns one disk.
///
/// # Errors
/// As [`weigh`].
pub fn weigh_disk(
    core: &Core,
    txn: &Txn<'_>,
    (verb, id): (&'static str, DiskId),
    change: impl FnOnce(&Txn<'_>) -> Result<(), Failure>,
) -> Result<Impact, Failure> {
    let now = core.proven();
    let (_, _, before) = level_of(txn, id, now)?;
    change(txn)?;
    let (disk, set, after) = level_of(txn, id, now)?;
    let mut tally = Tally::new(now);
    if after > before {
        tally.add(&set, disk, after);
    }
    Ok(tally.impact(core, verb, &id.to_string()))
}

fn level_of(view: &impl View, id: DiskId, now: UnixMillis) -> Result<(Disk, Des, Level), Failure> {
    let (disk, set) = view.disk_and_set(id)?;
    let mut worst = Level::Usable;
    for wrap in &disk.wraps {
        worst = worst.max(level(view, &set, &wrap.under(), now)?);
    }
    Ok((disk, set, worst))
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
    let (disk, set) = view.disk_and_set(id)?;
    let mut tally = Tally::new(core.proven());
    tally.add(&set, disk, Level::Gone);
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
    let own = level_under(view, set, id, now)?;
    let is_usable = matches!(own, Level::Usable | Level::Ends(..));
    if !is_usable || set.rotation.is_none() || set.is_active(id) {
        return Ok(own);
    }
    // It is about to be wrapped anew, and then stands with the version that it is to have.
    let next = level_under(view, set, &set.active(), now)?;
    Ok(if matches!(next, Level::Ends(..)) { own.max(next) } else { own })
}

fn level_under(
    view: &impl View,
    set: &Des,
    id: &VersionId,
    now: UnixMillis,
) -> Result<Level, Failure> {
    // What is damaged opens nothing, before as after: it must not keep anybody from taking another key away.
    let found = view.key_with(id).map_err(Failure::from).and_then(|key| {
        let vault = key.as_ref().map(|key| view.vault(&key.id.vault)).transpose()?;
        Ok(key.zip(vault))
    });
    let (key, vault) = match found {
        Ok(Some(found)) => found,
        Ok(None) | Err(Failure::Refused(_)) => return Ok(Level::Gone),
        Err(fault) => return Err(fault),
    };
    // Who is spared until the next attach is spared longest.
    let spared = Reverse(set.halts_after().unwrap_or(u64::MAX));
    Ok(match right(&vault, set, &key, id.version, Use::Keep, now) {
        Err(_) => Level::Lost(spared),
        Ok(version) => match end(set, &key, version, now) {
            Some(end) => Level::Ends(Reverse(end), spared),
            None => Level::Usable,
        },
    })
}

/// When the clock takes a version's disks away from a set, at the earliest: its end, or that of the next version, if
/// the key's policy gives versions an end and does not rotate the key before it.
fn end(set: &Des, key: &Key, version: &Version, now: UnixMillis) -> Option<UnixMillis> {
    if set.terms.on_expiry != OnExpiry::Revoke {
        return None;
    }
    let own = version.expires.map(|seconds| seconds.saturating_mul(1000));
    let policy = key.rotation_policy.as_ref().filter(|policy| policy.rotate.is_none());
    let follows = set.auto_rotate && set.key == key.id;
    let life = policy.filter(|_| follows).and_then(|policy| policy.expires_after);
    let next = life.map(|life| calendar::after(now, life));
    own.into_iter().chain(next).min()
}

struct Hit {
    des: DesName,
    kind: DiskKind,
    level: Level,
    when: When,
}

struct Tally {
    now: UnixMillis,
    hit: BTreeMap<DiskId, Hit>,
}

impl Tally {
    fn new(now: UnixMillis) -> Self {
        Self { now, hit: BTreeMap::new() }
    }

    /// One key version can wrap in several sets: only this set's disks are hit by what hit this set.
    fn add(&mut self, set: &Des, disk: Disk, level: Level) {
        if disk.des != set.name || self.hit.get(&disk.id).is_some_and(|hit| hit.level >= level) {
            return;
        }
        let (des, kind, when) = (disk.des, disk.kind, level.when(set, self.now));
        self.hit.insert(disk.id, Hit { des, kind, level, when });
    }

    fn impact(&self, core: &Core, verb: &'static str, subject: &str) -> Impact {
        let of = |kind| count(self.hit.values().filter(|hit| hit.kind == kind));
        let row = |(id, hit): (&DiskId, &Hit)| Affected {
            id: *id,
            kind: hit.kind,
            des: hit.des.clone(),
            processes: holding(core, *id),
            when: hit.when,
        };
        let rows: Vec<Affected> = self.hit.iter().map(row).collect();
        let at = |hit: &Hit| match hit.when {
            When::Later { at } | When::NextAttach { from: Some(at) } => Some(at),
            When::AtOnce | When::NextAttach { from: None } => None,
        };
        Impact {
            verb: verb.to_owned(),
            subject: subject.to_owned(),
            disks: of(DiskKind::Disk),
            snapshots: of(DiskKind::Snapshot),
            images: of(DiskKind::Image),
            held: count(rows.iter().flat_map(|row| &row.processes)),
            lost_for_ever: count(self.hit.values().filter(|hit| hit.level == Level::Gone)),
            later: count(self.hit.values().filter(|hit| hit.when != When::AtOnce)),
            first_later: self.hit.values().filter_map(at).min(),
            more: rows.len() > IMPACT_LISTED_MAX,
            listed: rows.into_iter().take(IMPACT_LISTED_MAX).collect(),
            token: self.token(verb, subject),
            backups: None,
        }
    }

    /// Says yes to this verb on these disks. It is no secret: it keeps people from mistakes, not from harm. Where the
    /// clock hits some, it says from when on.
    fn token(&self, verb: &str, subject: &str) -> String {
        let mut text = format!("{verb}|{subject}");
        for (id, hit) in &self.hit {
            text.push_str(&format!("|{id} {}", hit.level.class()));
        }
        let hash: String = chain::hash(text.as_bytes()).chars().take(16).collect();
        let ends = self.hit.values().filter_map(|hit| match hit.level {
            Level::Ends(Reverse(end), _) => Some(end / 1000),
            Level::Usable | Level::Lost(_) | Level::Gone => None,
        });
        match ends.min() {
            Some(end) => format!("{hash}-{end:x}"),
            None => hash,
        }
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

/// `2 not before 2026-11-22 03:18:14.714Z`.
fn later(impact: &Impact) -> String {
    match impact.first_later {
        Some(at) => format!("{} not before {}", impact.later, clock::text(at)),
        None => format!("{} at their next attach", impact.later),
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
        (impact.later > 0).then(|| later(impact)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
