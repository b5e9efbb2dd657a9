//! Verbs on disk encryption sets.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use keyd_client::{
    DesName, KeyId, KeyVersion,
    message::{
        DesChange, EncryptionType, OnExpiry as WireOnExpiry, OnRevoke as WireOnRevoke,
        Terms as WireTerms,
    },
};

use super::{
    consent::Sure,
    value::{duration, millis},
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
        encryption: Encryption,
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
    Show {
        /// Which
        name: DesName,
    },
    /// Change a set's terms; they hold from now on, for running disks too
    Update {
        /// Which
        name: DesName,
        /// What
        #[command(flatten)]
        change: Change,
        /// How sure
        #[command(flatten)]
        sure: Sure,
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
        sure: Sure,
    },
    /// Forget a set that has no disks
    Delete {
        /// Which
        name: DesName,
    },
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

/// The terms of a new set.
#[derive(Debug, Args)]
pub struct Terms {
    /// What its disks do when the key is taken away
    #[arg(long, value_enum, default_value = "park")]
    on_revoke: OnRevoke,
    /// How long a disk runs on without hearing from keyd, such as 30s, 500ms or 5m
    #[arg(long, default_value = "60s", value_parser = duration, allow_hyphen_values = true, value_name = "TIME")]
    lease: Duration,
    /// How long after the loss of the key its disks are halted
    #[arg(long, default_value = "0s", value_parser = duration, allow_hyphen_values = true, value_name = "TIME")]
    grace: Duration,
    /// What the end of the key's validity does
    #[arg(long, value_enum, default_value = "refuse-new")]
    on_expiry: OnExpiry,
}

impl From<Terms> for WireTerms {
    fn from(terms: Terms) -> Self {
        Self {
            on_revoke: terms.on_revoke.into(),
            lease_ms: millis(terms.lease),
            grace_ms: millis(terms.grace),
            on_expiry: terms.on_expiry.into(),
        }
    }
}

/// What of a set is changed.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)))]
pub struct Change {
    /// What its disks do when the key is taken away
    #[arg(long, group = "change", value_enum)]
    on_revoke: Option<OnRevoke>,
    /// How long a disk runs on without hearing from keyd
    #[arg(long, group = "change", value_parser = duration, allow_hyphen_values = true, value_name = "TIME")]
    lease: Option<Duration>,
    /// How long after the loss of the key its disks are halted
    #[arg(long, group = "change", value_parser = duration, allow_hyphen_values = true, value_name = "TIME")]
    grace: Option<Duration>,
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
            on_revoke: change.on_revoke.map(Into::into),
            lease_ms: change.lease.map(millis),
            grace_ms: change.grace.map(millis),
            on_expiry: change.on_expiry.map(Into::into),
            auto_rotate: said.then_some(change.auto_rotate),
        }
    }
}

/// [`EncryptionType`] of a set that somebody makes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Encryption {
    /// The customer's key alone
    #[value(alias = "customer")]
    CustomerKey,
    /// Two keys: without either the disk's key cannot be had
    PlatformAndCustomerKeys,
}

impl From<Encryption> for EncryptionType {
    fn from(encryption: Encryption) -> Self {
        match encryption {
            Encryption::CustomerKey => Self::CustomerKey,
            Encryption::PlatformAndCustomerKeys => Self::PlatformAndCustomerKeys,
        }
    }
}

/// [`WireOnRevoke`], as the command line says it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OnRevoke {
    /// Hold the guest's requests; go on when the key is back
    Park,
    /// Answer the guest's requests with errors until the key is back
    Fail,
    /// Nothing while a disk is attached; refuse the next attach
    Deferred,
    /// Answer with errors an hour later, as the cloud does
    #[value(name = "azure-1h")]
    Azure1h,
}

impl From<OnRevoke> for WireOnRevoke {
    fn from(on_revoke: OnRevoke) -> Self {
        match on_revoke {
            OnRevoke::Park => Self::Park,
            OnRevoke::Fail => Self::Fail,
            OnRevoke::Deferred => Self::Deferred,
            OnRevoke::Azure1h => Self::Azure1h,
        }
    }
}

/// [`WireOnExpiry`], as the command line says it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OnExpiry {
    /// Disks run on; new disks and new attaches are refused
    RefuseNew,
    /// As if the key were disabled
    Revoke,
    /// Disks run on and are attached; new disks are refused
    Ignore,
}

impl From<OnExpiry> for WireOnExpiry {
    fn from(on_expiry: OnExpiry) -> Self {
        match on_expiry {
            OnExpiry::RefuseNew => Self::RefuseNew,
            OnExpiry::Revoke => Self::Revoke,
            OnExpiry::Ignore => Self::Ignore,
        }
    }
}
