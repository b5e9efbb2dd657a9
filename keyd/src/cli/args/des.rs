//! Verbs on disk encryption sets.

use clap::{ArgGroup, Args, Subcommand};
use keyd_client::{
    DesName, KeyId, KeyVersion,
    message::{Consent, DesChange, DesDelete, DesShow, EncryptionType, OnExpiry, OnRevoke, Terms},
    value::millis,
};

pub(super) const EXAMPLES: &str = "\
The key of a set must be usable by the set's own identity, des:NAME. An administrator's 'create' and 'set-key' see to
it, unless --no-permit is given.

Examples:
  keyd des create prod-disks --key prod
  keyd des create db --key bank/db --on-revoke fail --lease 10s --grace 5m
  keyd des create both --key bank/db --encryption platform-and-customer-keys
  keyd des update db --on-revoke park --on-expiry revoke
  keyd des set-key db --key bank/db-2027      # running disks notice nothing
  keyd des show db                            # previous keys: how far that is
  keyd des resources db";

/// Verbs on disk encryption sets.
#[derive(Debug, Subcommand)]
pub enum Des {
    /// Make a disk encryption set
    Create {
        /// Its name: letters, digits, hyphens
        name: DesName,
        /// Its key
        #[command(flatten)]
        on: On,
        /// What the wrapping of its disks' keys rests on
        #[arg(long, value_enum, default_value = "customer-key")]
        encryption: EncryptionType,
        /// Terms
        #[command(flatten)]
        terms: Terms,
        /// Stay on the key's version until 'des set-key' says otherwise; else the set follows its key's newest version
        #[arg(long)]
        no_auto_rotate: bool,
    },
    /// All disk encryption sets
    List,
    /// One disk encryption set
    Show(DesShow),
    /// Change a set's terms; they hold from now on, for running disks too
    Update {
        /// Which
        name: DesName,
        /// What
        #[command(flatten)]
        change: Change,
        /// How sure
        #[command(flatten)]
        sure: Consent,
    },
    /// Put a set on another key, or another version of its key, while its disks run
    SetKey {
        /// Which set
        name: DesName,
        /// The key
        #[command(flatten)]
        on: On,
        /// How sure
        #[command(flatten)]
        sure: Consent,
    },
    /// Forget a set that has no disks
    Delete(DesDelete),
    /// A set's disks, snapshots and images
    Resources {
        /// Which
        name: DesName,
    },
}

/// A set's key.
#[derive(Debug, Args)]
pub struct On {
    /// The key that wraps its disks' keys
    #[arg(long, value_name = "KEY")]
    pub key: KeyId,
    /// A version of it; the newest if none
    #[arg(long)]
    pub version: Option<KeyVersion>,
    /// Leave the set's identity the permissions that it has in the key's vault
    #[arg(long)]
    pub no_permit: bool,
}

/// What of a set is changed.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)))]
pub struct Change {
    /// What its disks do when the key is taken away
    #[arg(long, group = "change", value_enum)]
    on_revoke: Option<OnRevoke>,
    /// How long a disk runs on without hearing from keyd
    #[arg(long, group = "change", value_parser = millis, allow_hyphen_values = true, value_name = "TIME")]
    lease: Option<u64>,
    /// How long after the loss of the key its disks are halted
    #[arg(long, group = "change", value_parser = millis, allow_hyphen_values = true, value_name = "TIME")]
    grace: Option<u64>,
    /// What the end of the key's validity does
    #[arg(long, group = "change", value_enum)]
    on_expiry: Option<OnExpiry>,
    /// Follow the key's newest version from now on
    #[arg(long, group = "change", conflicts_with = "no_auto_rotate")]
    auto_rotate: bool,
    /// Stay on the key's version
    #[arg(long, group = "change")]
    no_auto_rotate: bool,
}

impl From<Change> for DesChange {
    fn from(change: Change) -> Self {
        let said = change.auto_rotate || change.no_auto_rotate;
        Self {
            on_revoke: change.on_revoke,
            lease_ms: change.lease,
            grace_ms: change.grace,
            on_expiry: change.on_expiry,
            auto_rotate: said.then_some(change.auto_rotate),
        }
    }
}
