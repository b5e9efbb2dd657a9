//! Vaults and who may do what in them.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Consent, UnixMillis};
use crate::{
    ids::{Principal, Scope, VaultName},
    limits::RETENTION_DAYS_MAX,
    permission::{KeyPermission, Permission},
    value::{millis, names, principal, retention},
};

/// A vault as `vault show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultStatus {
    /// Its name.
    pub name: VaultName,
    /// When it was made.
    pub created: UnixMillis,
    /// Days a deleted key can be recovered: 7 to 90.
    pub retention_days: u16,
    /// Whether deleted keys cannot be purged before their time; never switched off again.
    pub purge_protection: bool,
    /// Keys in it, deleted ones included.
    pub keys: u64,
    /// Who may do what; a list does without.
    pub policies: BTreeMap<Principal, BTreeSet<KeyPermission>>,
}

/// How what a principal may is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// These too.
    Add,
    /// These no more.
    Remove,
    /// These and no others.
    Replace,
}

impl Edit {
    /// What is permitted after it.
    #[must_use]
    pub fn of<T: Ord + Copy>(self, before: &BTreeSet<T>, these: &BTreeSet<T>) -> BTreeSet<T> {
        match self {
            Self::Add => before | these,
            Self::Remove => before - these,
            Self::Replace => these.clone(),
        }
    }
}

/// What a principal may do, and with which disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantStatus {
    /// Who.
    pub principal: Principal,
    /// What for.
    pub scope: Scope,
    /// What.
    pub permissions: BTreeSet<Permission>,
    /// Where that is said.
    pub source: GrantSource,
}

/// What gives a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantSource {
    /// Who made the state directory may everything.
    Owner,
    /// `keyd serve --grant`: it holds until the daemon is started without it.
    ServeOption,
    /// `keyd grant`.
    Store,
}

/// Make a vault, in which nobody may do anything yet but those who manage all keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct VaultCreate {
    /// Its name: 3 to 24 letters, digits and hyphens
    pub name: VaultName,
    /// Days a deleted key can be recovered: 7 to 90, fixed for good
    #[arg(
        long = "retention",
        value_name = "DAYS",
        value_parser = retention,
        default_value_t = RETENTION_DAYS_MAX
    )]
    pub retention_days: u16,
    /// Keep deleted keys until their time is over, whoever wants to purge them; fixed for good
    #[arg(long)]
    pub purge_protection: bool,
}

/// All vaults, without their policies: those of one fill half a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct VaultList {}

/// One vault and who may do what in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct VaultShow {
    /// The vault
    pub name: VaultName,
}

/// Switch a vault's purge protection on. There is no way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct VaultProtect {
    /// The vault
    pub name: VaultName,
}

/// Change what a principal may do in a vault. Taking it from the identity of a disk encryption set halts the set's
/// disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct VaultPermit {
    /// The vault
    pub name: VaultName,
    /// The principal: a user's name or number, uid:1000, app:NAME, des:NAME
    #[arg(value_parser = principal)]
    pub principal: Principal,
    /// Permissions such as get,wrapKey,unwrapKey; or 'none'
    #[arg(value_parser = names::<KeyPermission>, value_name = "PERM,PERM")]
    pub permissions: BTreeSet<KeyPermission>,
    /// Whether it may more, or less, or something else.
    #[arg(skip = Edit::Add)]
    pub edit: Edit,
    /// Also to an application or a set's identity that does not exist yet: whoever is made under that name has it
    #[arg(long)]
    #[serde(default)]
    pub future: bool,
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

/// A vault after [`VaultPermit`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permitted {
    /// The vault.
    pub vault: VaultStatus,
    /// The principal does not exist: whoever is made under its name has this.
    #[serde(default)]
    pub future: bool,
}

/// Forget a vault that has no keys, deleted ones included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct VaultDelete {
    /// The vault
    pub name: VaultName,
}

/// A page of what principals may do, in order of principal and of what it is for, behind what no command can change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantList {
    /// Only what comes after this.
    #[serde(default)]
    pub after: Option<(Principal, Scope)>,
}

/// Change what a principal may do in the daemon as a whole, and with disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantEdit {
    /// Who.
    pub principal: Principal,
    /// Whether it may more, or less, or something else.
    pub edit: Edit,
    /// What.
    pub permissions: BTreeSet<Permission>,
    /// What for. Without it nothing is given on disks; what is taken away or replaced is so everywhere.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Whether the principal may be one that does not exist yet.
    #[serde(default)]
    pub future: bool,
}

/// What a principal may do after [`GrantEdit`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// All of it, or as much as fits.
    pub grants: Vec<GrantStatus>,
    /// Whether there is more.
    pub more: bool,
    /// The principal does not exist: whoever is made under its name has this.
    pub future: bool,
}
