//! Keys as people read them.

use keyd_client::{
    Page,
    message::{
        KeyBackups, KeyOperation, KeyStatus, KeyVersionStatus, RotationPolicy, Trigger, UnixMillis,
        UnixSeconds,
    },
};

use crate::{
    cli::table::{list, table, yes},
    clock,
    limits::{MILLIS_PER_DAY, NOTICE_DAYS},
};

pub(super) fn one(key: &KeyStatus) -> Page {
    let sets: Vec<&str> = key.sets.iter().map(|set| set.as_str()).collect();
    let tags: Vec<String> = key.tags.iter().map(tag).collect();
    let about = list(&[
        ("name", key.name.to_string()),
        ("state", format!("{}{}", state(key), end(key, clock::now()))),
        ("platform", yes(key.platform)),
        ("sets", sets.join(" ")),
        ("rotation", key.rotation_policy.as_ref().map_or_else(|| "by hand".to_owned(), policy)),
        ("tags", tags.join(" ")),
        ("backups", backups(key.backups)),
    ]);
    let rows: Vec<_> = key.versions.iter().map(version).collect();
    let heading = [
        "VERSION",
        "BITS",
        "ENABLED",
        "DISKS",
        "RETIRABLE",
        "NOT BEFORE",
        "EXPIRES",
        "HSM",
        "ORIGIN",
        "OPERATIONS",
        "CREATED",
    ];
    about.line("").and(table(heading, &rows))
}

/// `env=prod`, or with quotation marks where another tag could be read into it.
fn tag((name, value): (&String, &String)) -> String {
    let quoted = |text: &String| match text.contains([' ', '=', '"']) {
        true => format!("\"{}\"", text.replace('"', "\\\"")),
        false => text.clone(),
    };
    format!("{}={}", quoted(name), quoted(value))
}

/// `never`, or when it was taken out last: by itself, and with all of keyd.
fn backups(backups: KeyBackups) -> String {
    let own = backups.own.map(|at| format!("of the key at {}", clock::text(at)));
    let whole = backups.whole.map(|at| format!("of all of keyd at {}", clock::text(at)));
    match (own, whole) {
        (None, None) => "never".to_owned(),
        (own, whole) => own.into_iter().chain(whole).collect::<Vec<_>>().join(", "),
    }
}

fn version(version: &KeyVersionStatus) -> [String; 11] {
    [
        version.version.to_string(),
        version.bits.to_string(),
        yes(version.enabled),
        version.wrapped_deks.to_string(),
        yes(version.retirable),
        version.not_before.map_or_else(|| "-".to_owned(), seconds),
        version.expires.map_or_else(|| "-".to_owned(), seconds),
        yes(version.hsm),
        origin(version).to_owned(),
        operations(version),
        clock::text(version.created),
    ]
}

/// A set follows by itself what was made here.
fn origin(version: &KeyVersionStatus) -> &'static str {
    match version {
        KeyVersionStatus { restored: true, .. } => "restored",
        KeyVersionStatus { imported: true, .. } => "imported",
        KeyVersionStatus { .. } => "keyd",
    }
}

fn operations(version: &KeyVersionStatus) -> String {
    if version.operations.len() == KeyOperation::ALL.len() {
        return "all".to_owned();
    }
    let names: Vec<&str> = version.operations.iter().map(|operation| operation.name()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

fn seconds(seconds: UnixSeconds) -> String {
    clock::text(seconds.saturating_mul(1000))
}

fn state(key: &KeyStatus) -> String {
    match (key.deleted, key.enabled) {
        (Some(deleted), _) => format!("deleted, destroyed at {}", clock::text(deleted.purge_at)),
        (None, true) => "enabled".to_owned(),
        (None, false) => "disabled".to_owned(),
    }
}

/// `rotated 90 days after creation, told 30 days before expiry, expires after 120 days`.
pub(super) fn policy(policy: &RotationPolicy) -> String {
    let trigger = |what: &str, trigger: Trigger| match trigger {
        Trigger::AfterCreate(period) => format!("{what} {} after creation", period.words()),
        Trigger::BeforeExpiry(period) => format!("{what} {} before expiry", period.words()),
    };
    let parts = [
        policy.rotate.map(|rotate| trigger("rotated", rotate)),
        policy.notify.map(|notify| trigger("told", notify)),
        policy.expires_after.map(|life| format!("expires after {}", life.words())),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What the clock has done to a key that is there, or is about to do: `, ended`.
fn end(key: &KeyStatus, now: UnixMillis) -> String {
    let notice = u64::from(NOTICE_DAYS) * MILLIS_PER_DAY;
    let at = |moment: UnixSeconds| moment.saturating_mul(1000);
    let said = |version: &KeyVersionStatus| match (version.not_before, version.expires) {
        (_, Some(end)) if at(end) <= now => Some("ended"),
        (Some(begin), _) if at(begin) > now => Some("not valid yet"),
        (_, Some(end)) if at(end) < now + notice => Some("ends soon"),
        _ => None,
    };
    let newest = key.versions.first().and_then(said);
    // A list has those versions that are in use.
    let mut older = key.versions.iter().skip(1).filter_map(said);
    match (key.deleted, newest) {
        (Some(_), _) => String::new(),
        (None, Some(said)) => format!(", {said}"),
        (None, None) => {
            older.next().map(|said| format!(", an older version {said}")).unwrap_or_default()
        }
    }
}

pub(super) fn all(keys: &[KeyStatus]) -> Page {
    let row = |key: &KeyStatus| {
        let newest = key.versions.first();
        let disks: u64 = key.versions.iter().map(|v| v.wrapped_deks).sum();
        let expires = newest.and_then(|v| v.expires);
        [
            key.name.to_string(),
            newest.map_or_else(String::new, |v| v.bits.to_string()),
            newest.map_or_else(String::new, |v| v.version.to_string()),
            disks.to_string(),
            key.sets.len().to_string(),
            expires.map_or_else(|| "-".to_owned(), seconds),
            format!("{}{}", state(key), end(key, clock::now())),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    table(["NAME", "BITS", "NEWEST VERSION", "DISKS", "SETS", "EXPIRES", "STATE"], &rows)
}
