//! `keyd key rotation-policy`.

use keyd_client::{
    KeyId, Page,
    message::{Consent, KeyRequest, Reply, RotationPolicy},
};

use super::text;
use crate::{
    cli::{
        Error, Exit,
        args::key::Policy,
        ask::{Ask, unexpected},
        impact,
        table::list,
    },
    clock,
};

pub(super) fn run(ask: &Ask, verb: Policy) -> Result<Exit, Error> {
    match verb {
        Policy::Set { name, times, sure } => show(
            ask,
            &name,
            KeyRequest::RotationPolicy {
                name: name.clone(),
                policy: Some(times.into()),
                consent: sure.into(),
            },
        ),
        Policy::Show { name } => show(ask, &name, KeyRequest::Show { name: name.clone() }),
        Policy::Remove { name } => {
            let (key, consent) = (name.clone(), Consent::IfUnused);
            show(ask, &name, KeyRequest::RotationPolicy { name: key, policy: None, consent })
        }
    }
}

fn show(ask: &Ask, key: &KeyId, request: KeyRequest) -> Result<Exit, Error> {
    match ask.call(request)? {
        Reply::Impact(would) => ask.print(&would, impact::text),
        Reply::Key(status) => {
            ask.print(&status.rotation_policy, |policy| told(key, policy.as_ref()))
        }
        _ => Err(unexpected()),
    }
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
