//! Verbs on keys.

use std::collections::BTreeSet;

use clap::{ArgGroup, Args, Subcommand};
use keyd_client::{
    KeyId, KeyVersion, Period, VaultName,
    message::{
        Bound, Consent, KeyChange, KeyCreate, KeyDelete, KeyOperation, KeyPurge, KeyRecover,
        KeyRotate, KeyShow, RotationPolicy, Trigger,
    },
};

use super::{
    consent::Sure,
    value::{moment, operations, period, tag},
};

pub(super) const EXAMPLES: &str = "\
A key is VAULT/NAME, or NAME in the vault 'default'. Every version of it is meant where none is given.
What takes a key away that disks depend on asks for --force, or for the token that --dry-run printed.

Examples:
  keyd key create prod --bits 4096
  keyd key list --vault bank
  keyd key disable prod --dry-run
  keyd key disable prod --token 0123456789abcdef --wait 2m
  keyd key disable prod --version 0123456789abcdef0123456789abcdef
  keyd key set prod --expires 365d --tag owner=ops
  keyd key set prod --expires 2027-01-01T00:00:00Z --not-before never
  keyd key set prod --operations wrapKey,unwrapKey
  keyd key rotate prod
  keyd key rotation-policy set prod --rotate-after 90 --expires-after 120
  keyd key rotation-policy set prod --rotate-after P18M --expires-after P2Y
  keyd key delete prod --force; keyd key recover prod";

/// Verbs on keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make an RSA key
    Create(KeyCreate),
    /// All keys
    List {
        /// Only this vault's
        #[arg(long)]
        vault: Option<VaultName>,
        /// Only deleted ones: those that can be brought back
        #[arg(long, conflicts_with = "vault")]
        deleted: bool,
    },
    /// One key and its versions
    Show(KeyShow),
    /// Bring a key back: I/O under it goes on. Without --version every version comes back, retired ones too
    Enable(Which),
    /// Take a key away: I/O on every disk under it halts. Disks that are being rotated away from it are rotated first
    Disable {
        /// Which
        #[command(flatten)]
        which: Which,
        /// How sure the asker is, and whether to wait
        #[command(flatten)]
        sure: Sure,
    },
    /// Change when a key is valid, what it may do, and its tags
    Set {
        /// Which
        #[command(flatten)]
        which: Which,
        /// What
        #[command(flatten)]
        change: Change,
        /// How sure the asker is, and whether to wait
        #[command(flatten)]
        sure: Sure,
    },
    /// Make a new version and wrap every disk's key anew; running disks notice nothing
    Rotate(KeyRotate),
    /// When a key is rotated by itself
    #[command(subcommand)]
    RotationPolicy(Policy),
    /// Take a key out of use with all its versions; it can be recovered while its vault's retention lasts
    Delete(KeyDelete),
    /// Bring a deleted key back
    Recover(KeyRecover),
    /// Destroy a deleted key; while anything depends on it, another principal must ask too (exit code 6)
    Purge(KeyPurge),
}

/// A key, or one version of it.
#[derive(Debug, Args)]
pub struct Which {
    /// Which
    pub name: KeyId,
    /// Only this version of it
    #[arg(long)]
    pub version: Option<KeyVersion>,
}

/// What of a key is changed.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)))]
pub struct Change {
    /// When it ends: RFC 3339, a time from now such as 365d, or 'never'
    #[arg(long, group = "change", value_parser = moment, allow_hyphen_values = true, value_name = "MOMENT")]
    expires: Option<Bound>,
    /// When it begins, likewise; 'never' takes the bound away
    #[arg(long, group = "change", value_parser = moment, allow_hyphen_values = true, value_name = "MOMENT")]
    not_before: Option<Bound>,
    /// What it may do: encrypt, decrypt, sign, verify, wrapKey, unwrapKey; or none
    #[arg(long, group = "change", value_parser = operations, value_name = "OP,OP")]
    operations: Option<BTreeSet<KeyOperation>>,
    /// A tag; may be given several times, and replaces all that there were
    #[arg(long, group = "change", value_parser = tag, value_name = "NAME=VALUE")]
    tag: Vec<(String, String)>,
    /// Take all tags away
    #[arg(long, group = "change", conflicts_with = "tag")]
    no_tags: bool,
}

impl From<Change> for KeyChange {
    fn from(change: Change) -> Self {
        let tags = (change.no_tags || !change.tag.is_empty()).then_some(change.tag);
        Self {
            enabled: None,
            not_before: change.not_before,
            expires: change.expires,
            operations: change.operations,
            tags: tags.map(|tags| tags.into_iter().collect()),
        }
    }
}

/// Verbs on rotation policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Say when a key is rotated by itself, instead of what was said before
    Set {
        /// Which key
        name: KeyId,
        /// When
        #[command(flatten)]
        times: Times,
        /// How sure the asker is
        #[command(flatten)]
        sure: Consent,
    },
    /// When a key is rotated by itself
    Show {
        /// Which key
        name: KeyId,
    },
    /// Rotate a key only when it is asked for
    Remove {
        /// Which key
        name: KeyId,
    },
}

/// Times of a rotation policy, by the calendar.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("times").required(true).multiple(true)))]
pub struct Times {
    /// Rotate so long after the newest version was made: a number of days, at least 7, or years, months, weeks and days
    /// as P1Y6M2W3D (ISO 8601)
    #[arg(long, group = "times", value_parser = period, allow_hyphen_values = true, value_name = "TIME")]
    rotate_after: Option<Period>,
    /// Rotate so long before the newest version expires: at least 7 days
    #[arg(long, group = "times", value_parser = period, allow_hyphen_values = true, value_name = "TIME", conflicts_with = "rotate_after")]
    rotate_before_expiry: Option<Period>,
    /// Tell of the end so long after the newest version was made
    #[arg(long, group = "times", value_parser = period, allow_hyphen_values = true, value_name = "TIME")]
    notify_after: Option<Period>,
    /// Tell of the end so long before it; 30 days if nothing is said
    #[arg(long, group = "times", value_parser = period, allow_hyphen_values = true, value_name = "TIME", conflicts_with = "notify_after")]
    notify_before_expiry: Option<Period>,
    /// New versions expire so long after they are made: at least 28 days
    #[arg(long, group = "times", value_parser = period, allow_hyphen_values = true, value_name = "TIME")]
    expires_after: Option<Period>,
}

impl From<Times> for RotationPolicy {
    fn from(times: Times) -> Self {
        let trigger = |after: Option<Period>, before: Option<Period>| {
            after.map(Trigger::AfterCreate).or(before.map(Trigger::BeforeExpiry))
        };
        Self {
            rotate: trigger(times.rotate_after, times.rotate_before_expiry),
            notify: trigger(times.notify_after, times.notify_before_expiry),
            expires_after: times.expires_after,
            // The daemon's to say.
            created: 0,
            updated: 0,
        }
    }
}
