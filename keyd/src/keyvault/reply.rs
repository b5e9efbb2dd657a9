//! What an operation answers, before it is a text.

use std::collections::BTreeSet;

use keyd_client::{
    KeyName, KeyVersion,
    message::{KeyOperation, RotationPolicy, UnixSeconds},
};

use super::{Octets, tags::Tags};
use crate::kek::{Plaintext, Provider, PublicKey};

/// A version of a key as others may see it. What the API calls KeyBundle, KeyItem and their deleted forms are parts of
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// The key.
    pub name: KeyName,
    /// Which version.
    pub version: KeyVersion,
    /// Who holds the private key.
    pub provider: Provider,
    /// The public key.
    pub public: PublicKey,
    /// What it may be used for.
    pub operations: BTreeSet<KeyOperation>,
    /// Whether it may be used.
    pub enabled: bool,
    /// From when on.
    pub not_before: Option<UnixSeconds>,
    /// Until when.
    pub expires: Option<UnixSeconds>,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it was changed last.
    pub updated: UnixSeconds,
    /// Tags.
    pub tags: Tags,
    /// What becomes of it when it is deleted.
    pub recovery: Recovery,
    /// Whether and when it was.
    pub deleted: Option<Deletion>,
}

/// A vault's rules for deleted keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// How long they are kept, days.
    pub days: u32,
    /// Whether nobody may purge them earlier.
    pub purge_protection: bool,
}

/// A key's deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// When.
    pub deleted: UnixSeconds,
    /// When it is purged.
    pub purge: UnixSeconds,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The entries.
    pub items: Vec<KeyView>,
    /// Whether there are more.
    pub more: bool,
}

impl Listed {
    /// A part of so many entries, made of one more than that if there is one.
    #[must_use]
    pub fn cut(mut items: Vec<KeyView>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }
}

/// What is answered.
#[derive(Debug)]
pub enum Reply {
    /// A key; with its deletion if it is deleted.
    Key(Box<KeyView>),
    /// Keys, each by its newest version.
    Keys(Listed),
    /// Versions of one key.
    Versions(KeyName, Listed),
    /// Deleted keys.
    DeletedKeys(Listed),
    /// What was wrapped or encrypted.
    Ciphertext(KeyName, KeyVersion, Vec<u8>),
    /// What was unwrapped or decrypted.
    Plaintext(KeyName, KeyVersion, Plaintext),
    /// A signature.
    Signature(KeyName, KeyVersion, Vec<u8>),
    /// Whether a signature is one.
    Verified(bool),
    /// Random bytes, which may become somebody's secret.
    Random(Octets),
    /// A key's backup: sealed.
    Backup(Vec<u8>),
    /// A rotation policy.
    RotationPolicy(Box<PolicyView>),
    /// It is done, and there is nothing to say of it.
    Done,
}

/// A key's rotation policy; one that was never set has no actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyView {
    /// The key.
    pub name: KeyName,
    /// The policy.
    pub policy: RotationPolicy,
}
