//! The file format age, version 1, with X25519 recipients (<https://age-encryption.org/v1>): what a backup is sealed
//! in, so that other programs open it too.
//!
//! Written here, with AWS-LC's primitives, because the `age` crate would bring some 130 crates, its own ciphers and
//! translations among them, into the process that holds the keys, and keep plaintext in ordinary memory. Here it is in
//! locked pages. The programs of others and the format's test vectors judge it (`tests/`).

mod bech32;
mod header;
mod keys;
mod stream;

use std::io;

use keyd_client::dek::page::PageError;
use thiserror::Error;

pub use keys::{Identity, Recipient};
pub use stream::{Opener, Sealer};

/// Why something cannot be sealed or opened.
#[derive(Debug, Error)]
pub enum AgeError {
    /// Not a recipient.
    #[error(
        "'{0}' is not a recipient: use a public key that begins with age1, as 'age-keygen -y' prints it"
    )]
    Recipient(String),
    /// No identity.
    #[error(
        "the identity file holds no secret key: a line that begins with AGE-SECRET-KEY-1, as 'age-keygen' writes it"
    )]
    Identity,
    /// Not of this format.
    #[error("it is not sealed by age, or its header was changed: {0}")]
    Header(&'static str),
    /// For others.
    #[error("it is sealed to another recipient: use the identity that belongs to it")]
    NoMatch,
    /// Not as it was sealed.
    #[error("it was changed or cut off")]
    Damaged,
    /// No random bytes, or no key of them.
    #[error("no random bytes for a key")]
    Random,
    /// Reading or writing.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No page for a secret.
    #[error(transparent)]
    Page(#[from] PageError),
}

impl From<AgeError> for io::Error {
    fn from(error: AgeError) -> Self {
        match error {
            AgeError::Io(error) => error,
            other => Self::other(other),
        }
    }
}

#[cfg(test)]
mod tests;
