//! An application: a principal without a user on this host.

use std::collections::BTreeSet;

use keyd_client::{
    AppName, Fingerprint,
    message::{AppStatus, UnixMillis},
};
use serde::{Deserialize, Serialize};

use super::token::SecretHash;
use crate::{error::Refused, limits::APP_CERTIFICATES_MAX};

/// An application as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// When it was made.
    pub created: UnixMillis,
    /// Client certificates that are its own.
    certificates: BTreeSet<Fingerprint>,
    /// The secret with which it fetches tokens from the identity endpoint.
    pub identity: Option<SecretHash>,
}

impl App {
    /// A new one, without identity.
    ///
    /// # Errors
    /// [`Refused::TooManyCertificates`].
    pub fn new(
        name: AppName,
        certificates: BTreeSet<Fingerprint>,
        now: UnixMillis,
    ) -> Result<Self, Refused> {
        let mut app = Self { name, created: now, certificates: BTreeSet::new(), identity: None };
        app.trust(certificates)?;
        Ok(app)
    }

    /// Client certificates that are its own.
    #[must_use]
    pub fn certificates(&self) -> &BTreeSet<Fingerprint> {
        &self.certificates
    }

    /// Replaces them.
    ///
    /// # Errors
    /// [`Refused::TooManyCertificates`].
    pub fn trust(&mut self, certificates: BTreeSet<Fingerprint>) -> Result<(), Refused> {
        if certificates.len() > APP_CERTIFICATES_MAX {
            return Err(Refused::TooManyCertificates(self.name.clone()));
        }
        self.certificates = certificates;
        Ok(())
    }

    /// The application as it is told.
    #[must_use]
    pub fn status(&self, tokens: u64) -> AppStatus {
        AppStatus {
            name: self.name.clone(),
            created: self.created,
            certificates: self.certificates.clone(),
            identity: self.identity.is_some(),
            tokens,
        }
    }
}
