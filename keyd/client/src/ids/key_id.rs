//! Whose key: the vault and the name in it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{IdError, KeyName};
use crate::limits::{VAULT_NAME_LEN_MAX, VAULT_NAME_LEN_MIN};

/// The vault that is meant where none is named.
const DEFAULT: &str = "default";
/// The vault of the daemon's own key.
const PLATFORM: &str = "platform";

/// Name of a vault: a DNS label of 3 to 24 characters (Key Vault's rule), compared in lower case as host names are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VaultName(String);

impl VaultName {
    /// The vault that is meant where none is named.
    #[must_use]
    pub fn default_vault() -> Self {
        Self(DEFAULT.to_owned())
    }

    /// The vault of the daemon's own key; no client sees it over HTTPS.
    #[must_use]
    pub fn platform() -> Self {
        Self(PLATFORM.to_owned())
    }

    /// Whether it is that one.
    #[must_use]
    pub fn is_platform(&self) -> bool {
        self.0 == PLATFORM
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VaultName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let legal = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let fits = (VAULT_NAME_LEN_MIN..=VAULT_NAME_LEN_MAX).contains(&text.len());
        let first = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if !legal || !fits || !first || text.ends_with('-') {
            return Err(IdError::Vault(text.chars().take(VAULT_NAME_LEN_MAX).collect()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for VaultName {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<VaultName> for String {
    fn from(name: VaultName) -> Self {
        name.0
    }
}

impl fmt::Display for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A key: `VAULT/NAME`, or `NAME` in the vault `default`. One text for each: the default vault is never written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId {
    /// The vault.
    pub vault: VaultName,
    /// The name in it.
    pub name: KeyName,
}

impl KeyId {
    /// The daemon's own key, for disks without a key of the customer's.
    ///
    /// # Panics
    /// Never: the name is well formed.
    #[must_use]
    pub fn platform() -> Self {
        Self::new(VaultName::platform(), PLATFORM.parse().expect("a well-formed name"))
    }

    /// A key of a vault.
    #[must_use]
    pub fn new(vault: VaultName, name: KeyName) -> Self {
        Self { vault, name }
    }
}

impl FromStr for KeyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.split_once('/') {
            Some((vault, name)) => Ok(Self::new(vault.parse()?, name.parse()?)),
            None => Ok(Self::new(VaultName::default_vault(), text.parse()?)),
        }
    }
}

impl TryFrom<String> for KeyId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.vault.as_str() == DEFAULT {
            return f.pad(self.name.as_str());
        }
        f.pad(&format!("{}/{}", self.vault, self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_text_and_it_parses_back() {
        for (text, told) in [
            ("prod", "prod"),
            ("default/prod", "prod"),
            ("bank/prod", "bank/prod"),
            ("Bank/P", "bank/P"),
        ] {
            let id: KeyId = text.parse().unwrap();
            assert_eq!(id.to_string(), told);
            assert_eq!(told.parse::<KeyId>().unwrap(), id);
        }
    }

    #[test]
    fn what_is_no_dns_label_is_no_vault() {
        for wrong in ["ab", "1ab", "a-b-", "a_b", "", "abcdefghijklmnopqrstuvwxy", "a/b/c", "äbc"]
        {
            assert!(wrong.parse::<VaultName>().is_err(), "{wrong}");
        }
        for wrong in ["", "/", "ab/", "vault/a/b", "../x", "vault/", "/key"] {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
        }
    }
}
