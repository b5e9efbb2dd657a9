//! The table of what is asked of applications and their tokens on the native socket.

use keyd_client::message::{AppRequest, Reply, TokenRequest};

use super::Service;
use crate::{
    auth::Caller,
    error::{Failure, Refused},
    ops,
};

impl Service {
    pub(super) fn app(&self, by: &Caller, request: AppRequest) -> Result<Reply, Failure> {
        let core = &self.core;
        match request {
            AppRequest::Create { name, certificates } => {
                let app = self.act(by, None, &name, |permit| {
                    ops::app_create::run(core, permit, &name, certificates)
                })?;
                Ok(Reply::App(app))
            }
            AppRequest::List => {
                let apps =
                    self.act(by, None, "principals", |permit| ops::app_show::all(core, permit))?;
                Ok(Reply::Apps(apps))
            }
            AppRequest::Show { name } => {
                let app =
                    self.act(by, None, &name, |permit| ops::app_show::one(core, permit, &name))?;
                Ok(Reply::App(app))
            }
            AppRequest::Remove { name } => {
                self.act(by, None, &name, |permit| ops::app_remove::run(core, permit, &name))?;
                Ok(Reply::Done)
            }
            AppRequest::Certificates { name, certificates } => {
                let app = self.act(by, None, &name, |permit| {
                    ops::app_certificates::run(core, permit, &name, &certificates)
                })?;
                Ok(Reply::App(app))
            }
            AppRequest::CreateIdentity { name } => {
                let endpoint =
                    self.reach.identity_endpoint.clone().ok_or(Refused::NoIdentityEndpoint)?;
                let secret = self.act(by, None, &name, |permit| {
                    ops::app_identity::create(core, permit, &name)
                })?;
                Ok(Reply::NewIdentity { endpoint, secret })
            }
            AppRequest::RemoveIdentity { name } => {
                self.act(by, None, &name, |permit| ops::app_identity::remove(core, permit, &name))?;
                Ok(Reply::Done)
            }
        }
    }

    pub(super) fn token(&self, by: &Caller, request: TokenRequest) -> Result<Reply, Failure> {
        let core = &self.core;
        match request {
            TokenRequest::Create { app, label, lifetime_ms } => {
                let (token, secret) = self.act(by, None, &app, |permit| {
                    ops::token_create::run(core, permit, &app, &label, lifetime_ms)
                })?;
                Ok(Reply::NewToken { token, secret })
            }
            TokenRequest::List { app } => {
                let tokens =
                    self.act(by, None, &app, |permit| ops::token_list::run(core, permit, &app))?;
                Ok(Reply::Tokens(tokens))
            }
            TokenRequest::RevokeAll { app } => {
                let count =
                    self.act(by, None, &app, |permit| ops::token_revoke::all(core, permit, &app))?;
                Ok(Reply::TokensRevoked(count))
            }
            TokenRequest::Revoke { app, id } => {
                self.act(by, None, &app, |permit| ops::token_revoke::run(core, permit, &app, id))?;
                Ok(Reply::Done)
            }
        }
    }
}
