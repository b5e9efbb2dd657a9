//! `keyd key`.

mod rotation_policy;
mod text;

use keyd_client::{
    Client, ClientError, KeyVersion, Page, VaultName,
    message::{
        Consent, KeyChange, KeyList, KeyListDeleted, KeyListIn, KeyPurge, KeyRotate, KeyShow,
        KeyStatus, KeyUpdate, KeyVersionStatus, Purged, Rotated, Weighed,
    },
};

use super::{
    Error, Exit,
    args::{self, consent::Sure, key::Which},
    console::Console,
    impact,
    progress::{self, Step},
    revocation,
};

pub(super) fn run(console: &Console, verb: args::Key) -> Result<Exit, Error> {
    match verb {
        args::Key::Create(ask) => console.show(ask, text::one),
        args::Key::List { vault, deleted } => {
            console.print(&every(console, vault, deleted)?, |keys| text::all(keys))
        }
        args::Key::Show(ask) => console.show(ask, text::one),
        args::Key::Enable(which) => update(console, which, switched(true), Consent::IfUnused, 0),
        args::Key::Disable { which, sure: Sure { consent, wait_ms } } => {
            update(console, which, switched(false), consent, wait_ms)
        }
        args::Key::Set { which, change, sure: Sure { consent, wait_ms } } => {
            update(console, which, change.into(), consent, wait_ms)
        }
        args::Key::Rotate(ask) => rotate(console, ask),
        args::Key::RotationPolicy(verb) => rotation_policy::run(console, verb),
        args::Key::Delete(ask) => {
            let (done, wait_ms) = (format!("key {} deleted", ask.name), ask.wait_ms);
            revocation::run(console, ask, wait_ms, done)
        }
        args::Key::Recover(ask) => {
            let done = format!("key {} recovered", ask.name);
            revocation::told(console, &console.ask(ask)?, |_| (Page::default(), done))
        }
        args::Key::Purge(ask) => purge(console, ask),
    }
}

fn every(
    console: &Console,
    vault: Option<VaultName>,
    deleted: bool,
) -> Result<Vec<KeyStatus>, ClientError> {
    let id = |last: Option<&KeyStatus>| last.map(|key| key.name.clone());
    match vault {
        Some(vault) => console
            .every(|last| KeyListIn { vault: vault.clone(), after: id(last).map(|id| id.name) }),
        None if deleted => console.every(|last| KeyListDeleted { after: id(last) }),
        None => console.every(|last| KeyList { after: id(last) }),
    }
}

fn purge(console: &Console, ask: KeyPurge) -> Result<Exit, Error> {
    let done = format!("key {} destroyed", ask.name);
    match console.ask(ask)? {
        Weighed::Would(would) => console.print(&would, impact::text),
        Weighed::Done(Purged::Destroyed) => console.print_done(done),
        Weighed::Done(Purged::Asked { lost_for_ever }) => {
            let asked = serde_json::json!({ "lost_for_ever": lost_for_ever });
            console.print(&asked, |_| {
                format!(
                    "noted, not done: {lost_for_ever} DEKs could never be unwrapped again, so another principal must ask for it too"
                )
            })?;
            Ok(Exit::Asked)
        }
    }
}

fn switched(enabled: bool) -> KeyChange {
    KeyChange { enabled: Some(enabled), ..KeyChange::default() }
}

fn update(
    console: &Console,
    which: Which,
    change: KeyChange,
    consent: Consent,
    wait_ms: u64,
) -> Result<Exit, Error> {
    let Which { name, version } = which;
    let what = match change.enabled {
        Some(true) => "enabled",
        Some(false) => "disabled",
        None => "changed",
    };
    let done = match version {
        Some(version) => format!("version {version} of key {name} {what}"),
        None => format!("key {name} {what}"),
    };
    let ask = KeyUpdate { name, version, change, consent, wait_ms };
    revocation::run(console, ask, wait_ms, done)
}

fn rotate(console: &Console, ask: KeyRotate) -> Result<Exit, Error> {
    let name = ask.name.clone();
    let mut before = None;
    let look = |client: &mut Client| {
        let key = client.ask(KeyShow { name: name.clone() })?;
        let newest = newest(&key);
        Ok((newest != *before.get_or_insert(newest)).then(|| wrapped_anew(&key)))
    };
    let rotated = progress::ask(console, ask, look)?;
    console.print(&rotated, |Rotated { key, rewrapped }| {
        let newest = newest(key).map(|version| version.to_string()).unwrap_or_default();
        format!("key {name} rotated to version {newest}; disks wrapped anew: {rewrapped}")
    })
}

fn newest(key: &KeyStatus) -> Option<KeyVersion> {
    key.versions.first().map(|version| version.version)
}

fn wrapped_anew(key: &KeyStatus) -> Step {
    let deks = |version: &KeyVersionStatus| version.wrapped_deks;
    Step { done: key.versions.first().map_or(0, deks), all: key.versions.iter().map(deks).sum() }
}
