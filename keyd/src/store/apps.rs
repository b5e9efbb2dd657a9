//! Applications and their tokens in the store. Each secret is found by its hash; what an application has is found by
//! its name, so that nothing of it is left when it is removed.

use keyd_client::{AppName, Fingerprint};

use super::{
    indexes,
    tables::{self, APPS, APPS_BY_CERTIFICATE, APPS_BY_SECRET, TOKENS, TOKENS_BY_APP},
    txn::Txn,
    view::{Range, View, decode, decode_all},
};
use crate::{
    error::{Failure, Fault, Refused},
    model::{
        app::App,
        token::{SecretHash, Token},
    },
};

/// Reading of applications and tokens.
pub trait Apps: View {
    /// An application, if there is one.
    ///
    /// # Errors
    /// [`Fault`].
    fn find_app(&self, name: &AppName) -> Result<Option<App>, Fault> {
        decode(self.value(APPS, name.as_str().as_bytes())?)
    }

    /// An application.
    ///
    /// # Errors
    /// [`Refused::NoApp`].
    fn app(&self, name: &AppName) -> Result<App, Failure> {
        self.find_app(name)?.ok_or_else(|| Refused::NoApp(name.clone()).into())
    }

    /// All applications, in order of name.
    ///
    /// # Errors
    /// [`Fault`].
    fn apps(&self) -> Result<Vec<App>, Fault> {
        decode_all(&self.rows(APPS, Range::ALL)?)
    }

    /// Whose a client certificate is.
    ///
    /// # Errors
    /// [`Fault`].
    fn app_of_certificate(&self, certificate: &Fingerprint) -> Result<Option<AppName>, Fault> {
        decode(self.value(APPS_BY_CERTIFICATE, &certificate.0)?)
    }

    /// Whose identity's secret it is.
    ///
    /// # Errors
    /// [`Fault`].
    fn app_of_secret(&self, secret: &SecretHash) -> Result<Option<AppName>, Fault> {
        decode(self.value(APPS_BY_SECRET, secret.as_bytes())?)
    }

    /// A token, good or not, by its hash.
    ///
    /// # Errors
    /// [`Fault`].
    fn find_token(&self, secret: &SecretHash) -> Result<Option<Token>, Fault> {
        decode(self.value(TOKENS, secret.as_bytes())?)
    }

    /// The tokens of an application with their hashes, in order of id.
    ///
    /// # Errors
    /// [`Fault`].
    fn tokens_of(&self, app: &AppName) -> Result<Vec<(SecretHash, Token)>, Fault> {
        let prefix = format!("{app}/").into_bytes();
        let rows = self.rows(TOKENS_BY_APP, Range { prefix: &prefix, ..Range::ALL })?;
        let hashes = decode_all::<SecretHash>(&rows)?;
        let one = |hash: SecretHash| -> Result<_, Fault> {
            let token = self.find_token(&hash)?;
            Ok((hash, token.ok_or_else(|| Fault::Dangling(format!("a token of {app}")))?))
        };
        hashes.into_iter().map(one).collect()
    }

    /// How many tokens an application has, expired ones included.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_tokens(&self, app: &AppName) -> Result<u64, Fault> {
        self.count(TOKENS_BY_APP, format!("{app}/").as_bytes())
    }
}

impl<V: View> Apps for V {}

impl Txn<'_> {
    /// Stores an application in place of what it was, which is read here so that no index can be left behind.
    ///
    /// # Errors
    /// [`Refused::CertificateTaken`], [`Fault`].
    pub fn put_app(&self, app: &App) -> Result<(), Failure> {
        if let Some(old) = self.find_app(&app.name)? {
            self.unindex_app(&old)?;
        }
        for certificate in app.certificates() {
            if let Some(owner) = self.app_of_certificate(certificate)? {
                return Err(Refused::CertificateTaken(owner).into());
            }
        }
        self.put_all(&indexes::of_app(app)?)?;
        Ok(self.put(APPS, app.name.as_str().as_bytes(), &serde_json::to_vec(app)?)?)
    }

    /// Forgets an application and its tokens.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn remove_app(&self, app: &App) -> Result<(), Fault> {
        for (hash, token) in self.tokens_of(&app.name)? {
            self.remove_token(&hash, &token)?;
        }
        self.unindex_app(app)?;
        self.remove(APPS, app.name.as_str().as_bytes())
    }

    fn unindex_app(&self, app: &App) -> Result<(), Fault> {
        let rows = indexes::of_app(app)?;
        rows.iter().try_for_each(|row| self.remove(row.table, &row.key))
    }

    /// Stores a new token.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn add_token(&self, secret: &SecretHash, token: &Token) -> Result<(), Fault> {
        self.put(TOKENS, secret.as_bytes(), &serde_json::to_vec(token)?)?;
        self.put_all(&indexes::of_token(secret, token)?)
    }

    /// Forgets a token.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn remove_token(&self, secret: &SecretHash, token: &Token) -> Result<(), Fault> {
        self.remove(TOKENS, secret.as_bytes())?;
        self.remove(TOKENS_BY_APP, &tables::token_by_app(&token.app, token.id))
    }
}
