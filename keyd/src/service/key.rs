//! The table of what is asked of keys on the native socket.

use keyd_client::{
    KeyId,
    message::{Consent, KeyChange, KeyRequest, Reply},
};

use super::Service;
use crate::{
    auth::Caller,
    error::Failure,
    kek::Provider,
    ops::{self, key_update::Update, taking::Ask},
};

impl Service {
    pub(super) fn key(&self, by: &Caller, request: KeyRequest) -> Result<Reply, Failure> {
        let core = &self.core;
        match request {
            KeyRequest::Create { name, bits, hsm } => {
                let provider = if hsm { Provider::Hsm } else { Provider::Software };
                let key = self.act(by, Some(&name.vault), &name, |permit| {
                    ops::key_create::run(core, permit, &name, bits, provider)
                })?;
                Ok(Reply::Key(key))
            }
            KeyRequest::List { after } => self
                .act(by, None, "keys", |permit| ops::key_show::page(core, permit, after.as_ref())),
            KeyRequest::ListIn { vault, after } => self.act(by, Some(&vault), &vault, |permit| {
                ops::key_show::page_in(core, permit, &vault, after)
            }),
            KeyRequest::Show { name } => {
                let key = self.act(by, Some(&name.vault), &name, |permit| {
                    ops::key_show::one(core, permit, &name)
                })?;
                Ok(Reply::Key(key))
            }
            KeyRequest::Update { name, version, change, consent, wait_ms } => {
                let update = Update { key: &name, version, change: &change };
                let ask = ask(verb_of(&change), &name, &consent, wait_ms);
                self.act_or_rehearse(ask.is_dry_run(), by, Some(&name.vault), &name, |permit| {
                    ops::key_update::run(core, permit, &update, &ask)
                })
            }
            KeyRequest::Delete { name, consent, wait_ms } => {
                let ask = ask("key delete", &name, &consent, wait_ms);
                self.act_or_rehearse(ask.is_dry_run(), by, Some(&name.vault), &name, |permit| {
                    ops::key_delete::run(core, permit, &name, &ask)
                })
            }
            KeyRequest::Recover { name } => self.act(by, Some(&name.vault), &name, |permit| {
                ops::key_recover::run(core, permit, &name)
            }),
            KeyRequest::Purge { name, consent } => {
                let ask = ask("key purge", &name, &consent, 0);
                let vault = Some(&name.vault);
                let purge = self.act_or_rehearse(ask.is_dry_run(), by, vault, &name, |permit| {
                    ops::key_purge::run(core, permit, &name, &ask)
                })?;
                Ok(ops::key_purge::reply(purge))
            }
            KeyRequest::Rotate { name } => self.act(by, Some(&name.vault), &name, |permit| {
                ops::key_rotate::run(core, permit, &name)
            }),
            KeyRequest::RotationPolicy { name, policy, consent } => {
                let ask = ask("key rotation-policy set", &name, &consent, 0);
                let vault = Some(&name.vault);
                self.act_or_rehearse(ask.is_dry_run(), by, vault, &name, |permit| {
                    ops::key_rotation_policy::set(core, permit, &name, policy, &ask)
                })
            }
        }
    }
}

fn ask<'a>(verb: &'static str, key: &KeyId, consent: &'a Consent, wait_ms: u64) -> Ask<'a> {
    Ask { verb, subject: key.to_string(), arguments: String::new(), consent, wait_ms }
}

/// The command of which it is a part, so that a refusal can name it.
fn verb_of(change: &KeyChange) -> &'static str {
    match change.enabled {
        Some(false) => "key disable",
        Some(true) => "key enable",
        None => "key set",
    }
}
