//! Vaults and who may do what in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Consent, UnixMillis};
use crate::{
    ids::{Principal, Scope, VaultName},
    permission::{KeyPermission, Permission},
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

/// What is asked of vaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum VaultRequest {
    /// Make a vault.
    Create {
        /// Its name, not in use yet.
        name: VaultName,
        /// Days a deleted key can be recovered: 7 to 90; fixed for good.
        retention_days: u16,
        /// Whether deleted keys cannot be purged before their time.
        purge_protection: bool,
    },
    /// All vaults.
    List,
    /// One vault.
    Show {
        /// Which.
        name: VaultName,
    },
    /// Switch a vault's purge protection on, for good.
    Protect {
        /// Which.
        name: VaultName,
    },
    /// Change what a principal may do in a vault.
    Permit {
        /// Which.
        name: VaultName,
        /// Who.
        principal: Principal,
        /// Whether it may more, or less, or something else.
        edit: Edit,
        /// What.
        permissions: BTreeSet<KeyPermission>,
        /// Whether the principal may be one that does not exist yet.
        #[serde(default)]
        future: bool,
        /// How sure the asker is.
        #[serde(default)]
        consent: Consent,
        /// As in [`super::KeyRequest::Update`].
        #[serde(default)]
        wait_ms: u64,
    },
    /// Forget a vault that has no keys, deleted ones included.
    Delete {
        /// Which.
        name: VaultName,
    },
}

/// What is asked of permissions in the daemon as a whole and on disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GrantRequest {
    /// A page of what principals may do, wherever it is said.
    List {
        /// Only what comes after this.
        #[serde(default)]
        after: Option<(Principal, Scope)>,
    },
    /// Change what a principal may do.
    Edit {
        /// Who.
        principal: Principal,
        /// Whether it may more, or less, or something else.
        edit: Edit,
        /// What.
        permissions: BTreeSet<Permission>,
        /// What for. Without it nothing is given on disks; what is taken away or replaced is so everywhere.
        #[serde(default)]
        scope: Option<Scope>,
        /// Whether the principal may be one that does not exist yet.
        #[serde(default)]
        future: bool,
    },
}
