//! `keyd key`.

use std::time::Duration;

use keyd_client::{
    KeyId,
    message::{Consent, KeyChange, KeyRequest, KeyStatus, Reply},
};

use super::{
    Error, args,
    ask::{Ask, body, unexpected},
    table::{list, table, yes},
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: args::Key) -> Result<(), Error> {
    let request = match verb {
        args::Key::Create { name, bits, hsm } => KeyRequest::Create { name, bits, hsm },
        args::Key::List => KeyRequest::List { after: None },
        args::Key::Show { name } => KeyRequest::Show { name },
        args::Key::Enable { name } => switch(name, true, Consent::Force, None),
        args::Key::Disable { name, sure, wait } => switch(name, false, sure.into(), wait),
        args::Key::Rotate { name } => KeyRequest::Rotate { name },
    };
    match ask.call(request)? {
        Reply::Key(key) => ask.print(&key, one),
        Reply::Keys { keys, .. } => ask.print(&keys, |keys| all(keys)),
        reply @ Reply::KeyChanged { .. } | reply @ Reply::Rotated { .. } => {
            ask.print(&body(&reply)?, |_| changed(&reply))
        }
        _ => Err(unexpected()),
    }
}

fn switch(name: KeyId, enabled: bool, consent: Consent, wait: Option<Duration>) -> KeyRequest {
    let change = KeyChange { enabled: Some(enabled), ..KeyChange::default() };
    let wait_ms = wait.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    KeyRequest::Update { name, version: None, change, consent, wait_ms }
}

fn changed(reply: &Reply) -> String {
    match reply {
        Reply::KeyChanged { key, revocation, granted } => {
            let state = if key.enabled { "enabled" } else { "disabled" };
            format!("key {} {state}; holders told: {}", key.name, revocation.told + granted)
        }
        Reply::Rotated { key, rewrapped } => {
            let newest = key.versions.first().map(|v| v.version.to_string());
            let newest = newest.unwrap_or_default();
            format!("key {} rotated to version {newest}; disks wrapped anew: {rewrapped}", key.name)
        }
        _ => String::new(),
    }
}

fn one(key: &KeyStatus) -> String {
    let sets: Vec<&str> = key.sets.iter().map(|set| set.as_str()).collect();
    let about = list(&[
        ("name", key.name.to_string()),
        ("enabled", yes(key.enabled)),
        ("platform", yes(key.platform)),
        ("sets", sets.join(" ")),
    ]);
    let rows: Vec<_> = key
        .versions
        .iter()
        .map(|version| {
            [
                version.version.to_string(),
                version.bits.to_string(),
                yes(version.enabled),
                version.wrapped_deks.to_string(),
                clock::text(version.created),
            ]
        })
        .collect();
    let versions = table(["VERSION", "BITS", "ENABLED", "DISKS", "CREATED"], &rows);
    format!("{about}\n{versions}")
}

fn all(keys: &[KeyStatus]) -> String {
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let newest = key.versions.first();
            let disks: u64 = key.versions.iter().map(|v| v.wrapped_deks).sum();
            [
                key.name.to_string(),
                yes(key.enabled),
                newest.map_or_else(String::new, |v| v.bits.to_string()),
                newest.map_or_else(String::new, |v| v.version.to_string()),
                disks.to_string(),
                key.sets.len().to_string(),
            ]
        })
        .collect();
    table(["NAME", "ENABLED", "BITS", "NEWEST VERSION", "DISKS", "SETS"], &rows)
}
