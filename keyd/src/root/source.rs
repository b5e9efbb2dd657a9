//! Where a passphrase comes from.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{RootError, passphrase::Passphrase, terminal};
use crate::{
    limits::{PASSPHRASE_LEN_MAX, PASSPHRASE_LEN_MIN},
    secret_file,
};

/// Name of the credential that a systemd unit passes (systemd.exec(5), `LoadCredential=`).
const CREDENTIAL: &str = "keyd-passphrase";

/// Files to read passphrases from; without them systemd's credential and the terminal.
#[derive(Debug, Clone, Default)]
pub struct PassphraseSource {
    /// With the passphrase as it is.
    pub file: Option<PathBuf>,
    /// With a new one.
    pub new_file: Option<PathBuf>,
}

impl PassphraseSource {
    /// The passphrase that is.
    pub(super) fn current(&self) -> Result<Passphrase, RootError> {
        if let Some(file) = &self.file {
            return read(file);
        }
        if let Some(file) = credential() {
            return read(&file);
        }
        terminal::ask("Passphrase of the root key: ")?.ok_or(RootError::NoPassphrase)
    }

    /// One that is to be, where there was none.
    pub(super) fn first(&self) -> Result<Passphrase, RootError> {
        match (&self.file, credential()) {
            (Some(file), _) => long_enough(read(file)?),
            (None, Some(file)) => long_enough(read(&file)?),
            (None, None) => typed_twice(RootError::NoPassphrase),
        }
    }

    /// One that is to be, in place of another.
    pub(super) fn replacement(&self) -> Result<Passphrase, RootError> {
        match &self.new_file {
            Some(file) => long_enough(read(file)?),
            None => typed_twice(RootError::NoNewPassphrase),
        }
    }
}

fn credential() -> Option<PathBuf> {
    let path = Path::new(&env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.exists().then_some(path)
}

/// Editors end a file with a line end: it is no part of the passphrase.
fn read(path: &Path) -> Result<Passphrase, RootError> {
    let mut passphrase = secret_file::read::<PASSPHRASE_LEN_MAX>(path)?;
    let text = passphrase.expose();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let len = text.strip_suffix(b"\r").unwrap_or(text).len();
    passphrase.truncate(len);
    Ok(passphrase)
}

fn typed_twice(no_terminal: RootError) -> Result<Passphrase, RootError> {
    let Some(first) = terminal::ask("New passphrase of the root key: ")? else {
        return Err(no_terminal);
    };
    let first = long_enough(first)?;
    let again = terminal::ask("The same again: ")?.ok_or(no_terminal)?;
    if first.expose() != again.expose() {
        return Err(RootError::PassphrasesDiffer);
    }
    Ok(first)
}

fn long_enough(passphrase: Passphrase) -> Result<Passphrase, RootError> {
    let (min, max, len) = (PASSPHRASE_LEN_MIN, PASSPHRASE_LEN_MAX, passphrase.expose().len());
    if len < min {
        return Err(RootError::PassphraseLen { min, max, len });
    }
    Ok(passphrase)
}
