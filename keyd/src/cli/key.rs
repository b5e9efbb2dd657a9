//! `keyd key`.

mod rotation_policy;
mod text;

use keyd_client::{
    Client, ClientError, KeyId, KeyVersion, VaultName,
    message::{Consent, KeyChange, KeyRequest, KeyStatus, KeyVersionStatus, Reply},
};

use super::{
    Error, Exit,
    args::{self, key::Which},
    ask::{Ask, unexpected},
    progress::{self, Step},
    revocation,
};

pub(super) fn run(ask: &Ask, verb: args::Key) -> Result<Exit, Error> {
    match verb {
        args::Key::Create { name, bits, hsm } => one(ask, KeyRequest::Create { name, bits, hsm }),
        args::Key::List { vault } => {
            ask.print(&every(ask, vault.as_ref())?, |keys| text::all(keys))
        }
        args::Key::Show { name } => one(ask, KeyRequest::Show { name }),
        args::Key::Enable(which) => update(ask, which, switched(true), Consent::IfUnused, 0),
        args::Key::Disable { which, sure, wait } => {
            update(ask, which, switched(false), sure.into(), wait.millis())
        }
        args::Key::Set { which, change, sure, wait } => {
            update(ask, which, change.into(), sure.into(), wait.millis())
        }
        args::Key::Rotate { name } => rotate(ask, &name),
        args::Key::RotationPolicy(verb) => rotation_policy::run(ask, verb),
        args::Key::Delete { name, sure, wait } => {
            let (done, wait_ms) = (format!("key {name} deleted"), wait.millis());
            let request = KeyRequest::Delete { name, consent: sure.into(), wait_ms };
            revocation::run(ask, request, wait_ms, done)
        }
        args::Key::Recover { name } => {
            let done = format!("key {name} recovered");
            revocation::run(ask, KeyRequest::Recover { name }, 0, done)
        }
        args::Key::Purge { name, sure } => {
            let done = format!("key {name} destroyed");
            revocation::run(ask, KeyRequest::Purge { name, consent: sure.into() }, 0, done)
        }
    }
}

fn one(ask: &Ask, request: KeyRequest) -> Result<Exit, Error> {
    match ask.call(request)? {
        Reply::Key(key) => ask.print(&key, text::one),
        _ => Err(unexpected()),
    }
}

/// Page after page.
fn every(ask: &Ask, vault: Option<&VaultName>) -> Result<Vec<KeyStatus>, Error> {
    let mut every: Vec<KeyStatus> = Vec::new();
    loop {
        let after = every.last().map(|key| key.name.clone());
        let request = match vault {
            Some(vault) => {
                KeyRequest::ListIn { vault: vault.clone(), after: after.map(|key| key.name) }
            }
            None => KeyRequest::List { after },
        };
        let Reply::Keys { keys, more } = ask.call(request)? else {
            return Err(unexpected());
        };
        let end = !more || keys.is_empty();
        every.extend(keys);
        if end {
            return Ok(every);
        }
    }
}

fn switched(enabled: bool) -> KeyChange {
    KeyChange { enabled: Some(enabled), ..KeyChange::default() }
}

fn update(
    ask: &Ask,
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
    let request = KeyRequest::Update { name, version, change, consent, wait_ms };
    revocation::run(ask, request, wait_ms, done)
}

fn rotate(ask: &Ask, name: &KeyId) -> Result<Exit, Error> {
    let mut before = None;
    let look = |client: &mut Client| {
        let Reply::Key(key) = client.call(KeyRequest::Show { name: name.clone() })? else {
            return Err(ClientError::UnexpectedReply);
        };
        let newest = newest(&key);
        Ok((newest != *before.get_or_insert(newest)).then(|| wrapped_anew(&key)))
    };
    let reply = progress::call(ask, KeyRequest::Rotate { name: name.clone() }, look)?;
    let Reply::Rotated { key, rewrapped } = &reply else {
        return Err(unexpected());
    };
    let newest = newest(key).map(|version| version.to_string()).unwrap_or_default();
    let text = format!("key {name} rotated to version {newest}; disks wrapped anew: {rewrapped}");
    ask.print_reply(&reply, text)
}

fn newest(key: &KeyStatus) -> Option<KeyVersion> {
    key.versions.first().map(|version| version.version)
}

fn wrapped_anew(key: &KeyStatus) -> Step {
    let deks = |version: &KeyVersionStatus| version.wrapped_deks;
    Step { done: key.versions.first().map_or(0, deks), all: key.versions.iter().map(deks).sum() }
}
