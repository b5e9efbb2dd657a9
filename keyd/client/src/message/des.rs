//! Disk encryption sets.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{Consent, UnixMillis};
use crate::{
    ids::{DesName, DiskId, KeyId, KeyVersion, Principal},
    value::millis,
};

/// What a disk does when its key is taken away, as its process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// Hold the guest's requests unanswered; go on where they stood when the key comes back.
    #[default]
    Park,
    /// Answer every request with an I/O error until the key comes back.
    Fail,
}

/// What a set's disks do when its key is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnRevoke {
    /// Hold the guest's requests; go on when the key is back
    #[default]
    Park,
    /// Answer the guest's requests with errors until the key is back
    Fail,
    /// Nothing while a disk is attached; refuse the next attach (as Azure's Ultra Disks)
    Deferred,
    /// Answer with errors an hour later (as Azure's Premium and Standard disks)
    #[serde(rename = "azure-1h")]
    #[value(name = "azure-1h")]
    Azure1h,
}

/// What the end of a key's validity (`exp`), or its beginning (`nbf`), does to a set's disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnExpiry {
    /// Disks run on; new disks and new attaches are refused (as Key Vault really behaves)
    #[default]
    RefuseNew,
    /// As if the key were disabled
    Revoke,
    /// Disks run on and are attached; new disks are refused
    Ignore,
}

/// The terms on which a set's disks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What its disks do when the key is taken away
    #[arg(long, value_enum, default_value = "park")]
    pub on_revoke: OnRevoke,
    /// How long a disk runs on without hearing from keyd, such as 30s, 500ms or 5m
    #[arg(long = "lease", default_value = "60s", value_parser = millis, allow_hyphen_values = true, value_name = "TIME")]
    pub lease_ms: u64,
    /// How long after the loss of the key its disks are halted; 0s halts at once
    #[arg(long = "grace", default_value = "0s", value_parser = millis, allow_hyphen_values = true, value_name = "TIME")]
    #[serde(default)]
    pub grace_ms: u64,
    /// What the end of the key's validity does
    #[arg(long, value_enum, default_value = "refuse-new")]
    #[serde(default)]
    pub on_expiry: OnExpiry,
}

/// A change of a set; what is missing stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DesChange {
    /// See [`Terms`].
    pub on_revoke: Option<OnRevoke>,
    /// See [`Terms`].
    pub lease_ms: Option<u64>,
    /// See [`Terms`].
    pub grace_ms: Option<u64>,
    /// See [`Terms`].
    pub on_expiry: Option<OnExpiry>,
    /// Whether it follows its key's newest version.
    pub auto_rotate: Option<bool>,
}

/// What a set's wrapping rests on (Azure: `encryptionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptionType {
    /// The daemon's own key: that of the built-in set, and of no other.
    #[value(skip)]
    PlatformKey,
    /// The customer's key alone
    #[default]
    #[value(alias = "customer")]
    CustomerKey,
    /// Two keys: without either the disk's key cannot be had
    PlatformAndCustomerKeys,
}

/// Why a set does not follow its key by itself (Azure: `autoKeyRotationError`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationError {
    /// Stable, for programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// Since when.
    pub since: UnixMillis,
    /// When it was last tried.
    pub tried: UnixMillis,
}

/// A key version that wraps, with how many DEKs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousKey {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: KeyVersion,
    /// DEKs of the set that are still under it.
    pub wrapped_deks: u64,
}

/// A disk encryption set as `des show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesStatus {
    /// Its name.
    pub name: DesName,
    /// Its own identity, which must hold get, wrapKey and unwrapKey in its key's vault.
    pub identity: Principal,
    /// The key.
    pub key: KeyId,
    /// The version that new DEKs are wrapped under.
    pub active_version: KeyVersion,
    /// What still wraps DEKs of this set while a rotation runs; empty when none does (Azure: `previousKeys`).
    pub previous_keys: Vec<PreviousKey>,
    /// Whether it follows its key's newest version.
    pub auto_rotate: bool,
    /// Platform key, customer's key, or both.
    pub encryption: EncryptionType,
    /// The terms its disks run on.
    #[serde(flatten)]
    pub terms: Terms,
    /// Disks, snapshots and images in it.
    pub disks: u64,
    /// When it was made.
    pub created: UnixMillis,
    /// When its active version last changed (Azure: `lastKeyRotationTimestamp`).
    pub last_rotation: Option<UnixMillis>,
    /// Why it does not follow its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_error: Option<RotationError>,
    /// Why its key cannot be used now, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_lost: Option<String>,
}

/// Make a disk encryption set on an existing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesCreate {
    /// Its name, not in use yet.
    pub name: DesName,
    /// The key that wraps its disks' DEKs.
    pub key: KeyId,
    /// A version of it; the newest if none.
    #[serde(default)]
    pub version: Option<KeyVersion>,
    /// Customer's key, or both.
    #[serde(default)]
    pub encryption: EncryptionType,
    /// The terms its disks run on.
    pub terms: Terms,
    /// Whether it follows its key's newest version.
    pub auto_rotate: bool,
    /// Whether its identity gets what it needs in the key's vault, if the asker may give that.
    pub permit: bool,
}

/// A page of disk encryption sets in order of name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesList {
    /// Only those after this one.
    #[serde(default)]
    pub after: Option<DesName>,
}

/// One disk encryption set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct DesShow {
    /// The disk encryption set
    pub name: DesName,
}

/// Change a set's terms. They hold from now on, also for disks that run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesUpdate {
    /// Which.
    pub name: DesName,
    /// What.
    pub change: DesChange,
    /// How sure the asker is: shorter terms can halt disks whose key is lost already.
    #[serde(default)]
    pub consent: Consent,
}

/// Wrap a set's DEKs under another key, or another version, while its disks run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesSetKey {
    /// Which.
    pub name: DesName,
    /// The key.
    pub key: KeyId,
    /// A version of it; the newest if none.
    #[serde(default)]
    pub version: Option<KeyVersion>,
    /// As in [`DesCreate`].
    pub permit: bool,
    /// How sure the asker is: the other key may end.
    #[serde(default)]
    pub consent: Consent,
}

/// Forget a set that has no disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct DesDelete {
    /// The disk encryption set
    pub name: DesName,
}

/// A page of a set's disks, snapshots and images in order of id (Azure: `associatedResources`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesResources {
    /// Which.
    pub name: DesName,
    /// Only ids after this one.
    #[serde(default)]
    pub after: Option<DiskId>,
}

/// DEKs that were wrapped anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrapped {
    /// How many.
    pub rewrapped: u64,
}
