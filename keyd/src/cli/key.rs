//! `keyd key`.

use keyd_client::message::{KeyStatus, Reply, Request};

use super::{
    Error, args,
    ask::{Ask, body, unexpected},
    table::{list, table, yes},
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: args::Key) -> Result<(), Error> {
    let request = match verb {
        args::Key::Create { name, bits } => Request::KeyCreate { name, bits },
        args::Key::List => Request::KeyList,
        args::Key::Show { name } => Request::KeyShow { name },
        args::Key::Enable { name } => Request::KeySetEnabled { name, enabled: true },
        args::Key::Disable { name } => Request::KeySetEnabled { name, enabled: false },
        args::Key::Rotate { name } => Request::KeyRotate { name },
    };
    match ask.call(&request)? {
        Reply::Key(key) => ask.print(&key, one),
        Reply::Keys(keys) => ask.print(&keys, |keys| all(keys)),
        reply @ Reply::KeySwitched { .. } | reply @ Reply::Rotated { .. } => {
            ask.print(&body(&reply)?, |_| changed(&reply))
        }
        _ => Err(unexpected()),
    }
}

fn changed(reply: &Reply) -> String {
    match reply {
        Reply::KeySwitched { key, notified } => {
            let state = if key.enabled { "enabled" } else { "disabled" };
            format!("key {} {state}; holders told: {notified}", key.name)
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
