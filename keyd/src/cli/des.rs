//! `keyd des`.

use keyd_client::message::{DesRequest, DesStatus, EncryptionType, OnExpiry, Reply, Terms};

use super::{
    Error, args,
    ask::{Ask, unexpected},
    table::{list, name, table},
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: args::Des) -> Result<(), Error> {
    let request = match verb {
        args::Des::Create { name, key, on_revoke, lease } => DesRequest::Create {
            name,
            key,
            version: None,
            encryption: EncryptionType::CustomerKey,
            terms: Terms {
                on_revoke: on_revoke.into(),
                // A lease of more milliseconds than fit is refused by the daemon like any that is too long.
                lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
                grace_ms: 0,
                on_expiry: OnExpiry::RefuseNew,
            },
            auto_rotate: true,
            permit: true,
        },
        args::Des::List => DesRequest::List,
        args::Des::Show { name } => DesRequest::Show { name },
    };
    match ask.call(request)? {
        Reply::Des(set) => ask.print(&set, one),
        Reply::DesSets(sets) => ask.print(&sets, |sets| all(sets)),
        _ => Err(unexpected()),
    }
}

fn one(set: &DesStatus) -> String {
    let previous: Vec<String> = set
        .previous_keys
        .iter()
        .map(|previous| {
            format!("{}/{} ({} disks)", previous.key, previous.version, previous.wrapped_deks)
        })
        .collect();
    list(&[
        ("name", set.name.to_string()),
        ("key", set.key.to_string()),
        ("active version", set.active_version.to_string()),
        ("previous keys", previous.join(" ")),
        ("encryption", name(&set.encryption)),
        ("on revoke", name(&set.terms.on_revoke)),
        ("lease", format!("{} ms", set.terms.lease_ms)),
        ("disks", set.disks.to_string()),
        ("created", clock::text(set.created)),
        ("last rotation", set.last_rotation.map_or_else(String::new, clock::text)),
    ])
}

fn all(sets: &[DesStatus]) -> String {
    let rows: Vec<_> = sets
        .iter()
        .map(|set| {
            [
                set.name.to_string(),
                set.key.to_string(),
                name(&set.encryption),
                name(&set.terms.on_revoke),
                format!("{} ms", set.terms.lease_ms),
                set.disks.to_string(),
            ]
        })
        .collect();
    table(["NAME", "KEY", "ENCRYPTION", "ON REVOKE", "LEASE", "DISKS"], &rows)
}
