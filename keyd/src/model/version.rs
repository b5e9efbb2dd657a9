//! One version of a key: its two parts, its attributes, and what they allow.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use keyd_client::{
    KeyId, KeyVersion,
    message::{Bound, KeyChange, KeyOperation, UnixMillis, UnixSeconds},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Refused,
    kek::{Material, PublicKey},
    limits::{TAG_LEN_MAX, TAGS_MAX},
};

/// Which version of which key. A key that was restored in another vault has the versions of the first, and is another
/// key: a version alone says nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: KeyVersion,
}

/// What of a key a refusal is about, and what the command that mends it names: one version, or all of it where it has
/// one only. To mend a whole key would bring back every version that was retired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: Option<KeyVersion>,
}

impl Part {
    /// As a command line names it.
    #[must_use]
    pub fn arguments(&self) -> String {
        match self.version {
            Some(version) => format!("{} --version {version}", self.key),
            None => self.key.to_string(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "version {version} of key '{}'", self.key),
            None => write!(f, "key '{}'", self.key),
        }
    }
}

/// A version as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its id.
    pub version: KeyVersion,
    /// RSA modulus length, bits.
    pub bits: u32,
    /// The private part: sealed, or in a hardware security module.
    pub material: Material,
    /// The public part.
    pub public: PublicKey,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// From when it may wrap, encrypt and sign (RFC 7517 via Key Vault: `nbf`).
    pub not_before: Option<UnixSeconds>,
    /// Until when, exclusively (`exp`).
    pub expires: Option<UnixSeconds>,
    /// What it may be used for (`key_ops`).
    pub operations: BTreeSet<KeyOperation>,
    /// The customer's own words.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: UnixMillis,
    /// When its attributes last changed.
    pub updated: UnixMillis,
    /// Whether its private part came from outside.
    pub imported: bool,
    /// Whether it was brought back from a backup.
    #[serde(default)]
    pub restored: bool,
    /// Whether its coming end was told.
    #[serde(default)]
    pub end_told: bool,
}

/// Where a version comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This keyd made it.
    Made,
    /// Somebody brought its private part.
    Imported,
    /// Somebody brought a backup of its key.
    Restored,
}

/// Where a moment lies to a version's validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Before `nbf`.
    NotYet,
    /// Inside.
    Valid,
    /// At or after `exp`.
    Over,
}

impl Version {
    /// A new version with default attributes: enabled, every operation, no end.
    #[must_use]
    pub fn new(
        version: KeyVersion,
        (material, public): (Material, PublicKey),
        now: UnixMillis,
    ) -> Self {
        Self {
            version,
            bits: public.bits(),
            material,
            public,
            enabled: true,
            not_before: None,
            expires: None,
            operations: KeyOperation::ALL.into(),
            tags: BTreeMap::new(),
            created: now,
            updated: now,
            imported: false,
            restored: false,
            end_told: false,
        }
    }

    /// Whether it would still have a time in which it can be used. A change of something else is not kept back by
    /// bounds that were set before: a key can always be switched off.
    ///
    /// # Errors
    /// [`Refused::NeverValid`].
    pub fn keeps_a_time(&self, change: &KeyChange) -> Result<(), Refused> {
        let mut changed = self.clone();
        changed.change(change, 0);
        let moved = (changed.not_before, changed.expires) != (self.not_before, self.expires);
        match changed.not_before.zip(changed.expires) {
            Some((from, until)) if moved && from >= until => Err(Refused::NeverValid(self.version)),
            _ => Ok(()),
        }
    }

    /// Changes attributes; what is missing stays.
    pub fn change(&mut self, change: &KeyChange, now: UnixMillis) {
        self.enabled = change.enabled.unwrap_or(self.enabled);
        self.not_before = change.not_before.map_or(self.not_before, Bound::moment);
        if let Some(expires) = change.expires {
            self.expires = expires.moment();
            self.end_told = false;
        }
        if let Some(operations) = &change.operations {
            self.operations.clone_from(operations);
        }
        if let Some(tags) = &change.tags {
            self.tags.clone_from(tags);
        }
        self.updated = now;
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self { restored: true, .. } => Origin::Restored,
            Self { imported: true, .. } => Origin::Imported,
            Self { .. } => Origin::Made,
        }
    }

    /// Where now lies.
    #[must_use]
    pub fn validity(&self, now: UnixMillis) -> Validity {
        let seconds = now / 1000;
        match self {
            _ if self.not_before.is_some_and(|from| seconds < from) => Validity::NotYet,
            _ if self.expires.is_some_and(|until| seconds >= until) => Validity::Over,
            _ => Validity::Valid,
        }
    }

    /// Whether now lies inside its validity.
    ///
    /// # Errors
    /// [`Refused::NotYetValid`], [`Refused::Expired`].
    pub fn valid(&self, part: &Part, now: UnixMillis) -> Result<(), Refused> {
        match self.validity(now) {
            Validity::Valid => Ok(()),
            Validity::NotYet => Err(Refused::NotYetValid(part.clone())),
            Validity::Over => Err(Refused::Expired(part.clone())),
        }
    }

    /// Whether it may be used so now. Outside its validity a version still decrypts and unwraps: data stays
    /// recoverable (Key Vault's own rule).
    ///
    /// # Errors
    /// [`Refused::KeyDisabled`], [`Refused::Operation`], [`Refused::NotYetValid`], [`Refused::Expired`].
    pub fn usable(
        &self,
        part: &Part,
        operation: KeyOperation,
        now: UnixMillis,
    ) -> Result<(), Refused> {
        if !self.enabled {
            return Err(Refused::KeyDisabled(part.clone()));
        }
        if !self.operations.contains(&operation) {
            return Err(Refused::Operation(part.clone(), operation));
        }
        match operation {
            KeyOperation::Encrypt | KeyOperation::WrapKey | KeyOperation::Sign => {
                self.valid(part, now)
            }
            KeyOperation::Decrypt | KeyOperation::UnwrapKey | KeyOperation::Verify => Ok(()),
        }
    }
}

/// Judges what applications write on a key for themselves (Key Vault's limits).
///
/// # Errors
/// [`Refused::TooManyTags`], [`Refused::TagLength`].
pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Refused> {
    if tags.len() > TAGS_MAX {
        return Err(Refused::TooManyTags(tags.len()));
    }
    let fits = |text: &String| text.chars().count() <= TAG_LEN_MAX;
    let fit = tags.iter().all(|(name, value)| !name.is_empty() && fits(name) && fits(value));
    if fit { Ok(()) } else { Err(Refused::TagLength) }
}
