//! Disk encryption sets.

use serde::{Deserialize, Serialize};

use super::{Consent, UnixMillis};
use crate::ids::{DesName, DiskId, KeyId, KeyVersion, Principal};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRevoke {
    /// [`Reaction::Park`], at once.
    #[default]
    Park,
    /// [`Reaction::Fail`], at once.
    Fail,
    /// Nothing while a disk is attached; the next attach is refused (Azure's Ultra Disks).
    Deferred,
    /// [`Reaction::Fail`] an hour later (Azure's Premium and Standard disks).
    #[serde(rename = "azure-1h")]
    Azure1h,
}

/// What the end of a key's validity (`exp`), or its beginning (`nbf`), does to a set's disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExpiry {
    /// As Key Vault really behaves: unwrapping goes on, new wraps and new attaches are refused.
    #[default]
    RefuseNew,
    /// As if the key were disabled.
    Revoke,
    /// Only new wraps are refused.
    Ignore,
}

/// The terms on which a set's disks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What disks do when the key is taken away.
    pub on_revoke: OnRevoke,
    /// How long a disk runs on without hearing from the daemon, milliseconds.
    pub lease_ms: u64,
    /// How long after the loss of the key its disks are halted, milliseconds; 0 halts at once.
    #[serde(default)]
    pub grace_ms: u64,
    /// What expiry does.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptionType {
    /// The daemon's own key.
    PlatformKey,
    /// A key of the customer's.
    #[default]
    CustomerKey,
    /// Both: without either the DEK cannot be had.
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

/// What is asked of disk encryption sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DesRequest {
    /// Make a disk encryption set.
    Create {
        /// Its name, not in use yet.
        name: DesName,
        /// The key that wraps its disks' DEKs.
        key: KeyId,
        /// A version of it; the newest if none.
        #[serde(default)]
        version: Option<KeyVersion>,
        /// Customer's key, or both.
        #[serde(default)]
        encryption: EncryptionType,
        /// The terms its disks run on.
        terms: Terms,
        /// Whether it follows its key's newest version.
        auto_rotate: bool,
        /// Whether its identity gets what it needs in the key's vault, if the asker may give that.
        permit: bool,
    },
    /// A page of disk encryption sets in order of name.
    List {
        /// Only those after this one.
        #[serde(default)]
        after: Option<DesName>,
    },
    /// One disk encryption set.
    Show {
        /// Which.
        name: DesName,
    },
    /// Change a set's terms.
    Update {
        /// Which.
        name: DesName,
        /// What.
        change: DesChange,
        /// How sure the asker is: shorter terms can halt disks whose key is lost already.
        #[serde(default)]
        consent: Consent,
    },
    /// Wrap a set's DEKs under another key, or another version, while its disks run.
    SetKey {
        /// Which.
        name: DesName,
        /// The key.
        key: KeyId,
        /// A version of it; the newest if none.
        #[serde(default)]
        version: Option<KeyVersion>,
        /// As in [`DesRequest::Create`].
        permit: bool,
        /// How sure the asker is: the other key may end.
        #[serde(default)]
        consent: Consent,
    },
    /// Forget a set that has no disks.
    Delete {
        /// Which.
        name: DesName,
    },
    /// A page of a set's disks, snapshots and images in order of id (Azure: `associatedResources`).
    Resources {
        /// Which.
        name: DesName,
        /// Only ids after this one.
        #[serde(default)]
        after: Option<DiskId>,
    },
}
