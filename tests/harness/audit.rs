//! What the audit log says of fences: the holder's own account, as the daemon wrote it down.

use keyd_client::{
    DiskId,
    message::{AuditRecord, AuditTail, FenceReport, Reaction, UnixMillis},
};

use crate::{process::eventually, world::World};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The newest records, oldest first.
///
/// # Panics
/// If the daemon does not tell.
#[must_use]
pub fn tail(world: &World) -> Vec<AuditRecord> {
    world.ask(AuditTail { count: 200 })
}

/// The newest fence of a disk after `since`; waits for it.
///
/// # Panics
/// If there is none in time.
#[must_use]
pub fn fence_of(world: &World, disk: DiskId, since: UnixMillis) -> FenceReport {
    let subject = disk.to_string();
    let newest = || {
        let records = tail(world).into_iter().filter(|record| record.subject == subject);
        let mut fences = records.filter(|record| record.operation == "lease-fenced");
        fences.rfind(|record| record.time >= since)
    };
    report(&eventually("a fence on record", newest))
}

/// A fence from its record.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn report(record: &AuditRecord) -> FenceReport {
    let field = |name: &str| {
        let mut fields = record.detail.split(' ').filter_map(|field| field.split_once('='));
        let found = fields.find(|(key, _)| *key == name);
        found.unwrap_or_else(|| panic!("no {name} in: {}", record.detail)).1
    };
    let time = |name: &str| moment(field(name), record.time);
    let count = |name: &str| field(name).parse().expect("a count");
    FenceReport {
        ordered: time("ordered"),
        last_io: (field("last_io") != "none").then(|| time("last_io")),
        wiped: time("wiped"),
        took_us: count("took_us"),
        held: count("held"),
        reaction: if field("state") == "failing" { Reaction::Fail } else { Reaction::Park },
    }
}

/// A time in words, `…T12:34:56.789Z`, less than half a day from another.
fn moment(text: &str, near: UnixMillis) -> UnixMillis {
    let of_day = text.split('T').nth(1).expect("a time of day");
    let part = |range: std::ops::Range<usize>| of_day[range].parse::<i64>().expect("digits");
    let of_day = ((part(0..2) * 60 + part(3..5)) * 60 + part(6..8)) * 1000 + part(9..12);
    let near = near as i64;
    let after = (of_day - near % DAY + DAY / 2).rem_euclid(DAY) - DAY / 2;
    (near + after) as UnixMillis
}
