//! `keyd key rotation-policy`.

use keyd_client::{
    KeyId, Page,
    message::{Consent, KeyRotationPolicy, KeyShow, KeyStatus, RotationPolicy, Weighed},
};

use super::text;
use crate::{
    cli::{Error, Exit, args::key::Policy, console::Console, impact, table::list},
    clock,
};

pub(super) fn run(console: &Console, verb: Policy) -> Result<Exit, Error> {
    match verb {
        Policy::Set { name, times, sure: consent } => {
            set(console, KeyRotationPolicy { name, policy: Some(times.into()), consent })
        }
        Policy::Show { name } => show(console, &console.ask(KeyShow { name })?),
        Policy::Remove { name } => {
            set(console, KeyRotationPolicy { name, policy: None, consent: Consent::IfUnused })
        }
    }
}

fn set(console: &Console, ask: KeyRotationPolicy) -> Result<Exit, Error> {
    match console.ask(ask)? {
        Weighed::Would(would) => console.print(&would, impact::text),
        Weighed::Done(key) => show(console, &key),
    }
}

fn show(console: &Console, key: &KeyStatus) -> Result<Exit, Error> {
    console.print(&key.rotation_policy, |policy| told(&key.name, policy.as_ref()))
}

fn told(key: &KeyId, policy: Option<&RotationPolicy>) -> Page {
    match policy {
        Some(policy) => list(&[
            ("key", key.to_string()),
            ("policy", text::policy(policy)),
            ("made", clock::text(policy.created)),
            ("changed", clock::text(policy.updated)),
        ]),
        None => {
            format!("key {key} has no rotation policy: it is rotated by 'keyd key rotate {key}'")
                .into()
        }
    }
}
