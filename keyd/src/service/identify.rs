//! Who it is that shows a token, a certificate, or an identity's secret.

use keyd_client::{
    AppName, Fingerprint, Principal,
    message::{OneTimeSecret, TokenStatus},
};

use super::{Origin, Service};
use crate::{
    audit::Entry,
    auth::{Caller, Credentials},
    error::{Failure, Fault, Refused},
    keyvault::{Kind, Problem},
    log,
    model::token::SecretHash,
    ops,
    store::Apps,
};

/// Why credentials are nobody's. The text is what their bearer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stranger {
    /// No such token.
    Token,
    /// A token whose time is over.
    Expired(AppName),
    /// No application's certificate.
    Certificate(Fingerprint),
    /// No identity's secret.
    Identity,
}

impl Stranger {
    fn problem(&self) -> Problem {
        let text = match self {
            Self::Token => {
                "[BearerReadAccessTokenFailed] Error validating token: it is not a token of this keyd, or it was revoked."
            }
            Self::Expired(_) => "[TokenExpired] Error validating token: its time is over.",
            Self::Certificate(_) => {
                "The client certificate is no application's: 'keyd principal certificates' makes it one's."
            }
            Self::Identity => {
                "X-IDENTITY-HEADER is not the secret of an identity: 'keyd identity create' makes one."
            }
        };
        Problem::new(Kind::Unauthorized, text)
    }

    fn entry(&self, from: &Origin) -> Entry {
        let (who, what) = match self {
            Self::Token => ("unknown".to_owned(), "unknown token"),
            Self::Expired(app) => (format!("app:{app}"), "expired token"),
            Self::Certificate(_) => ("unknown".to_owned(), "unknown certificate"),
            Self::Identity => ("unknown".to_owned(), "unknown identity"),
        };
        let certificate = match self {
            Self::Certificate(certificate) => format!(" certificate={certificate}"),
            _ => String::new(),
        };
        Entry::new(who, "authenticate", "keyd")
            .outcome(format!("refused: {what}"))
            .detail(format_args!("from={}{certificate}", from.at))
    }
}

impl Service {
    /// The caller whose the credentials are.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`].
    pub fn identify(&self, credentials: &Credentials, from: &Origin) -> Result<Caller, Problem> {
        let found = match credentials {
            Credentials::Local(caller) => return Ok(caller.clone()),
            Credentials::Token(secret) => self.holder_of(secret),
            Credentials::Certificate(certificate) => self.owner_of(certificate),
        };
        let app = found
            .map_err(|error| fault(&error))?
            .map_err(|stranger| self.unknown(&stranger, from))?;
        Ok(Caller::remote(Principal::App(app)))
    }

    fn holder_of(&self, secret: &SecretHash) -> Result<Result<AppName, Stranger>, Fault> {
        let token = self.core.store.snapshot()?.find_token(secret)?;
        Ok(match token {
            Some(token) if token.good(self.core.now()) => Ok(token.app),
            Some(token) => Err(Stranger::Expired(token.app)),
            None => Err(Stranger::Token),
        })
    }

    fn owner_of(&self, certificate: &Fingerprint) -> Result<Result<AppName, Stranger>, Fault> {
        let owner = self.core.store.snapshot()?.app_of_certificate(certificate)?;
        Ok(owner.ok_or(Stranger::Certificate(*certificate)))
    }

    fn unknown(&self, stranger: &Stranger, from: &Origin) -> Problem {
        self.note(stranger.entry(from), from, "");
        stranger.problem()
    }

    /// A token for the application whose identity's secret is shown, if it is the one that is meant.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`], [`Kind::BadParameter`], [`Kind::Throttled`], [`Kind::Unavailable`].
    pub fn identity_token(
        &self,
        secret: &SecretHash,
        client_id: Option<&str>,
        from: &Origin,
    ) -> Result<(TokenStatus, OneTimeSecret), Problem> {
        let owner = self.core.store.snapshot().and_then(|view| view.app_of_secret(secret));
        let app = owner
            .map_err(|error| fault(&error))?
            .ok_or_else(|| self.unknown(&Stranger::Identity, from))?;
        if client_id.is_some_and(|id| !id.eq_ignore_ascii_case(app.as_str())) {
            return Err(Problem::bad(
                "client_id is not the identity whose IDENTITY_HEADER this is",
            ));
        }
        let caller = Caller::remote(Principal::App(app.clone()));
        let made = self
            .act(&caller, None, &app, |permit| ops::app::for_identity(&self.core, permit, &app));
        made.map_err(|failure| match failure {
            Failure::Refused(refused @ Refused::TooManyTokens(_)) => {
                Problem::new(Kind::Throttled, refused.to_string())
            }
            Failure::Refused(refused) => Problem::new(Kind::Unavailable, refused.to_string()),
            Failure::Fault(_) => Problem::internal(),
        })
    }

    /// A caller asked for something that is no request: written down, as what was asked for is not.
    pub fn misasked(&self, caller: &Caller, from: &Origin, problem: &Problem) {
        let entry = Entry::new(caller, "request", "keyd")
            .outcome("refused: bad request")
            .detail(format_args!("from={} {}", from.at, problem.message));
        self.note(entry, from, &problem.message);
    }

    /// Writes the first of its kind down, whoever asked; others of its minute are counted. What it tells of was refused
    /// all the same.
    fn note(&self, entry: Entry, from: &Origin, what: &str) {
        if self.core.refusals.admits(&entry, Some(from), what)
            && let Err(failure) = self.core.store.record(entry)
        {
            log::provoked(
                "audit",
                "a refusal was not written down",
                format_args!("a refusal was not written down: {}", log::chain(&failure)),
            );
        }
    }
}

fn fault(fault: &Fault) -> Problem {
    log::line(format_args!("credentials could not be looked up: {}", log::chain(fault)));
    Problem::internal()
}
