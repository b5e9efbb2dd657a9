//! The table of what is asked of disk encryption sets on the native socket.

use keyd_client::message::{DesRequest, Reply};

use super::Service;
use crate::{
    auth::Caller,
    error::Failure,
    model::des::Choice,
    ops::{self, des_create::On, taking::Ask},
};

impl Service {
    pub(super) fn des(&self, by: &Caller, request: DesRequest) -> Result<Reply, Failure> {
        let core = &self.core;
        match request {
            DesRequest::Create { name, key, version, encryption, terms, auto_rotate, permit } => {
                let on = On { key: &key, version, permit };
                let choice = Choice { encryption, terms, auto_rotate };
                let set = self.act(by, None, &name, |permit| {
                    ops::des_create::run(core, permit, &name, &on, choice)
                })?;
                Ok(Reply::Des(set))
            }
            DesRequest::List { after } => self
                .act(by, None, "sets", |permit| ops::des_show::page(core, permit, after.as_ref())),
            DesRequest::Show { name } => {
                let set =
                    self.act(by, None, &name, |permit| ops::des_show::one(core, permit, &name))?;
                Ok(Reply::Des(set))
            }
            DesRequest::Update { name, change, consent } => {
                let (subject, arguments) = (name.to_string(), String::new());
                let consent = &consent;
                let ask = Ask { verb: "des update", subject, arguments, consent, wait_ms: 0 };
                self.act_or_rehearse(ask.is_dry_run(), by, None, &name, |permit| {
                    ops::des_update::run(core, permit, &name, &change, &ask)
                })
            }
            DesRequest::SetKey { name, key, version, permit, consent } => {
                let on = On { key: &key, version, permit };
                let (subject, arguments) = (name.to_string(), format!(" --key {key}"));
                let consent = &consent;
                let ask = Ask { verb: "des set-key", subject, arguments, consent, wait_ms: 0 };
                self.act_or_rehearse(ask.is_dry_run(), by, None, &name, |permit| {
                    ops::des_set_key::run(core, permit, &name, &on, &ask)
                })
            }
            DesRequest::Delete { name } => {
                self.act(by, None, &name, |permit| ops::des_delete::run(core, permit, &name))?;
                Ok(Reply::Done)
            }
            DesRequest::Resources { name, after } => self.act(by, None, &name, |permit| {
                ops::des_show::resources(core, permit, &name, after)
            }),
        }
    }
}
