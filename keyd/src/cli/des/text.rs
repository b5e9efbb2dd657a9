//! Disk encryption sets as people read them.

use keyd_client::{
    Page,
    message::{DesStatus, PreviousKey, RotationError},
};

use crate::{
    amounts::span,
    cli::table::{list, name, table, yes},
    clock,
};

pub(super) fn one(set: &DesStatus) -> Page {
    let previous: Vec<String> = set.previous_keys.iter().map(previous).collect();
    let mut rows = vec![
        ("name", set.name.to_string()),
        ("identity", set.identity.to_string()),
        ("key", set.key.to_string()),
        ("active version", set.active_version.to_string()),
        ("previous keys", previous.join(" ")),
        ("auto-rotate", yes(set.auto_rotate)),
        ("encryption", name(&set.encryption)),
        ("on revoke", name(&set.terms.on_revoke)),
        ("lease", span(set.terms.lease_ms)),
        ("grace", span(set.terms.grace_ms)),
        ("on expiry", name(&set.terms.on_expiry)),
        ("disks", set.disks.to_string()),
        ("created", clock::text(set.created)),
        ("last rotation", set.last_rotation.map_or_else(|| "never".to_owned(), clock::text)),
    ];
    rows.extend(set.rotation_error.as_ref().map(|error| ("rotation error", rotation_error(error))));
    rows.extend(set.key_lost.as_ref().map(|why| ("key lost", why.clone())));
    list(&rows)
}

fn previous(previous: &PreviousKey) -> String {
    format!("{}/{} ({} disks)", previous.key, previous.version, previous.wrapped_deks)
}

fn rotation_error(error: &RotationError) -> String {
    let (since, tried) = (clock::text(error.since), clock::text(error.tried));
    format!("{}: {} (since {since}, last tried {tried})", error.code, error.message)
}

pub(super) fn all(sets: &[DesStatus]) -> Page {
    let row = |set: &DesStatus| {
        let state = match (&set.key_lost, &set.rotation_error) {
            (Some(_), _) => "key lost",
            (None, Some(_)) => "rotation stopped",
            (None, None) if !set.previous_keys.is_empty() => "rotating",
            (None, None) => "ok",
        };
        [
            set.name.to_string(),
            set.key.to_string(),
            name(&set.encryption),
            name(&set.terms.on_revoke),
            span(set.terms.lease_ms),
            set.disks.to_string(),
            state.to_owned(),
        ]
    };
    let rows: Vec<_> = sets.iter().map(row).collect();
    table(["NAME", "KEY", "ENCRYPTION", "ON REVOKE", "LEASE", "DISKS", "STATE"], &rows)
}
