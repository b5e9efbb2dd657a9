//! Keys and their versions, as they are told and asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Consent, UnixMillis};
use crate::{
    ids::{DesName, KeyId, KeyName, KeyVersion, VaultName},
    period::Period,
    value::{bits, millis},
};

/// Seconds since 1970-01-01 UTC: Key Vault counts attributes in them (RFC 7519, NumericDate).
pub type UnixSeconds = u64;

/// What a key may be used for (RFC 7517, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyOperation {
    /// Encrypt.
    Encrypt,
    /// Decrypt.
    Decrypt,
    /// Sign.
    Sign,
    /// Verify.
    Verify,
    /// Wrap a key.
    WrapKey,
    /// Unwrap a key.
    UnwrapKey,
}

impl KeyOperation {
    /// All of them, in the order in which Key Vault tells them.
    pub const ALL: [Self; 6] =
        [Self::Encrypt, Self::Decrypt, Self::Sign, Self::Verify, Self::WrapKey, Self::UnwrapKey];

    /// Its name in a JSON Web Key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
        }
    }
}

/// Where a validity begins or ends. 1970 is a moment as any other: who sets it gets it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Nowhere: a bound that there was is taken away.
    Never,
    /// There.
    At(UnixSeconds),
}

impl Bound {
    /// The moment, if there is one.
    #[must_use]
    pub fn moment(self) -> Option<UnixSeconds> {
        match self {
            Self::Never => None,
            Self::At(seconds) => Some(seconds),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::At(seconds) => seconds.fmt(f),
        }
    }
}

/// A change of a key version's attributes; what is missing stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyChange {
    /// On or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Bound>,
    /// Expiry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Bound>,
    /// What it may be used for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<BTreeSet<KeyOperation>>,
    /// Tags, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// When a key is rotated by itself, and when that is said before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationPolicy {
    /// Rotate so long after a version was made, or before it expires.
    pub rotate: Option<Trigger>,
    /// Tell so long before a version expires or after it was made.
    pub notify: Option<Trigger>,
    /// New versions expire so long after they are made.
    pub expires_after: Option<Period>,
    /// When it was made.
    pub created: UnixMillis,
    /// When it was last changed.
    pub updated: UnixMillis,
}

/// A moment in the life of a key version, counted by the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// So long after it was made.
    AfterCreate(Period),
    /// So long before it expires.
    BeforeExpiry(Period),
}

/// When a key was taken out of the daemon, as far as is known: from there it can come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyBackups {
    /// By the `backup` of its vault, last.
    pub own: Option<UnixMillis>,
    /// In a backup of everything, the last one: then it was there, with the versions that it had.
    pub whole: Option<UnixMillis>,
}

/// A key as `key show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// The key.
    pub name: KeyId,
    /// Whether the daemon made it for disks without a key of the customer's.
    pub platform: bool,
    /// Whether its newest version is enabled.
    pub enabled: bool,
    /// Set while it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<DeletedStatus>,
    /// Its versions, newest first.
    pub versions: Vec<KeyVersionStatus>,
    /// Disk encryption sets that use it.
    pub sets: Vec<DesName>,
    /// Tags of its newest version; a list does without.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it is rotated by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<RotationPolicy>,
    /// When it was taken out of the daemon.
    #[serde(default)]
    pub backups: KeyBackups,
}

/// A deleted key's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedStatus {
    /// When it was deleted.
    pub at: UnixMillis,
    /// When it will be destroyed.
    pub purge_at: UnixMillis,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersionStatus {
    /// The version.
    pub version: KeyVersion,
    /// RSA modulus length, bits.
    pub bits: u32,
    /// Whether its private part is in a hardware security module.
    pub hsm: bool,
    /// Whether somebody brought its private part.
    #[serde(default)]
    pub imported: bool,
    /// Whether it was brought back from a backup.
    #[serde(default)]
    pub restored: bool,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// From when it may wrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<UnixSeconds>,
    /// Until when it may wrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixSeconds>,
    /// What it may be used for.
    pub operations: BTreeSet<KeyOperation>,
    /// When it was made.
    pub created: UnixMillis,
    /// DEKs that are wrapped under it now.
    pub wrapped_deks: u64,
    /// Whether nothing is wrapped under it and no set wraps with it: it can be disabled without effect.
    pub retirable: bool,
}

/// Make an RSA key, enabled for every operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct KeyCreate {
    /// Its name: letters, digits, hyphens; after the name of its vault and a slash, if that is not 'default'
    pub name: KeyId,
    /// Modulus length: 2048, 3072 or 4096
    #[arg(long, value_parser = bits, default_value_t = 3072)]
    pub bits: u32,
    /// Make its private part in the hardware security module, which it never leaves
    #[arg(long)]
    #[serde(default)]
    pub hsm: bool,
}

/// A page of keys in order of vault and name, with the versions in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyList {
    /// Only those after this one.
    #[serde(default)]
    pub after: Option<KeyId>,
}

/// A page of one vault's keys in order of name, with the versions in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyListIn {
    /// Which vault.
    pub vault: VaultName,
    /// Only those after this one.
    #[serde(default)]
    pub after: Option<KeyName>,
}

/// A page of deleted keys in order of vault and name: those that can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyListDeleted {
    /// Only those after this one.
    #[serde(default)]
    pub after: Option<KeyId>,
}

/// One key with all its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct KeyShow {
    /// The key: NAME, or VAULT/NAME
    pub name: KeyId,
}

/// Change attributes of a version of a key, or of every version. What takes the key away halts I/O on every disk under
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyUpdate {
    /// Which.
    pub name: KeyId,
    /// One version, or all.
    #[serde(default)]
    pub version: Option<KeyVersion>,
    /// What.
    pub change: KeyChange,
    /// How sure the asker is.
    #[serde(default)]
    pub consent: Consent,
    /// Wait so long for the holders' confirmations, milliseconds; 0 does not.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Delete a key with all its versions; it can be recovered while its vault's retention lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct KeyDelete {
    /// The key: NAME, or VAULT/NAME
    pub name: KeyId,
    /// How sure the asker is.
    #[command(flatten)]
    #[serde(default)]
    pub consent: Consent,
    /// Wait until every process that is to let go has confirmed it, for so long at most; exit code 4 if one has not
    #[arg(long = "wait", value_name = "TIME", value_parser = millis, num_args = 0..=1, default_missing_value = "2h",
        default_value = "0s", hide_default_value = true, conflicts_with = "dry_run")]
    #[serde(default)]
    pub wait_ms: u64,
}

/// Bring a deleted key back, as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct KeyRecover {
    /// The key: NAME, or VAULT/NAME
    pub name: KeyId,
}

/// Destroy a deleted key. While it wraps anything, two principals must ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct KeyPurge {
    /// The key: NAME, or VAULT/NAME
    pub name: KeyId,
    /// How sure the asker is.
    #[command(flatten)]
    #[serde(default)]
    pub consent: Consent,
}

/// Make a new version of a key, and wrap every DEK under the sets that follow the key anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct KeyRotate {
    /// The key: NAME, or VAULT/NAME
    pub name: KeyId,
}

/// Set, or take away, when a key is rotated by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRotationPolicy {
    /// Which.
    pub name: KeyId,
    /// None takes it away. Its times of making and changing are the daemon's to say.
    pub policy: Option<RotationPolicy>,
    /// How sure the asker is: versions that end take disks away.
    #[serde(default)]
    pub consent: Consent,
}

/// A key that was changed, deleted or brought back, after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyNow {
    /// The key.
    pub key: KeyStatus,
}

/// What became of a [`KeyPurge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purged {
    /// It waits for a second principal.
    Asked {
        /// How many DEKs can never be unwrapped after it.
        lost_for_ever: u64,
    },
    /// The key is destroyed.
    Destroyed,
}

/// A finished rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The key after it.
    pub key: KeyStatus,
    /// DEKs that were wrapped anew.
    pub rewrapped: u64,
}
