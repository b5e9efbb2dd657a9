//! Who it is that shows a token, a certificate, or an identity's secret.

use std::fmt;

use keyd_client::{
    AppName, Fingerprint, Principal,
    message::{OneTimeSecret, TokenStatus},
};

use super::{Service, strangers::Stranger};
use crate::{
    auth::{Caller, Credentials},
    clock,
    error::{Failure, Fault, Refused},
    keyvault::{Kind, Problem},
    log,
    model::token::SecretHash,
    ops,
    store::Apps,
};

impl Service {
    /// The caller whose the credentials are.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`].
    pub fn identify(
        &self,
        credentials: &Credentials,
        from: &dyn fmt::Display,
    ) -> Result<Caller, Problem> {
        let found = match credentials {
            Credentials::Local(caller) => return Ok(caller.clone()),
            Credentials::Token(secret) => self.holder_of(secret),
            Credentials::Certificate(certificate) => self.owner_of(certificate),
        };
        match found.map_err(|error| fault(&error))? {
            Ok(app) => Ok(Caller::remote(Principal::App(app))),
            Err(stranger) => {
                self.strangers.note(&self.core, &stranger, from);
                Err(Problem::new(Kind::Unauthorized, stranger.to_string()))
            }
        }
    }

    fn holder_of(&self, secret: &SecretHash) -> Result<Result<AppName, Stranger>, Fault> {
        let token = self.core.store.snapshot()?.find_token(secret)?;
        Ok(match token {
            Some(token) if token.good(clock::now()) => Ok(token.app),
            Some(token) => Err(Stranger::Expired(token.app)),
            None => Err(Stranger::Token),
        })
    }

    fn owner_of(&self, certificate: &Fingerprint) -> Result<Result<AppName, Stranger>, Fault> {
        let owner = self.core.store.snapshot()?.app_of_certificate(certificate)?;
        Ok(owner.ok_or(Stranger::Certificate(*certificate)))
    }

    /// A token for the application whose identity's secret is shown, if it is the one that is meant.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`], [`Kind::BadParameter`], [`Kind::Throttled`].
    pub fn identity_token(
        &self,
        secret: &SecretHash,
        client_id: Option<&str>,
        from: &dyn fmt::Display,
    ) -> Result<(TokenStatus, OneTimeSecret), Problem> {
        let view = self.core.store.snapshot().map_err(|error| fault(&error))?;
        let Some(app) = view.app_of_secret(secret).map_err(|error| fault(&error))? else {
            self.strangers.note(&self.core, &Stranger::Identity, from);
            return Err(Problem::new(Kind::Unauthorized, Stranger::Identity.to_string()));
        };
        if client_id.is_some_and(|id| id != app.as_str()) {
            return Err(Problem::bad(
                "client_id is not the identity whose IDENTITY_HEADER this is",
            ));
        }
        let caller = Caller::remote(Principal::App(app.clone()));
        let made = self.act(&caller, None, &app, |permit| {
            ops::token_create::for_identity(&self.core, permit, &app)
        });
        made.map_err(|failure| match failure {
            Failure::Refused(refused @ Refused::TooManyTokens(_)) => {
                Problem::new(Kind::Throttled, refused.to_string())
            }
            Failure::Refused(refused) => Problem::new(Kind::Unavailable, refused.to_string()),
            Failure::Fault(_) => Problem::internal(),
        })
    }
}

fn fault(fault: &Fault) -> Problem {
    log::line(format_args!("credentials could not be looked up: {}", log::chain(fault)));
    Problem::internal()
}
