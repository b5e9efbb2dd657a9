//! Vaults and who may do what in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Consent, UnixMillis};
use crate::{
    ids::{Principal, VaultName},
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

/// What a principal may do in the daemon as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantStatus {
    /// Who.
    pub principal: Principal,
    /// What.
    pub permissions: BTreeSet<Permission>,
    /// Where that is said.
    pub source: GrantSource,
}

/// What gives permissions in the daemon as a whole.
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
    /// Say what a principal may do in a vault; nothing takes all away.
    Policy {
        /// Which.
        name: VaultName,
        /// Who.
        principal: Principal,
        /// What, instead of what it was.
        permissions: BTreeSet<KeyPermission>,
        /// How sure the asker is.
        #[serde(default)]
        consent: Consent,
        /// As in [`super::KeyRequest::Update`].
        #[serde(default)]
        wait_ms: u64,
    },
    /// Let a principal do more in a vault than it may already.
    Permit {
        /// Which.
        name: VaultName,
        /// Who.
        principal: Principal,
        /// What, beside what it was.
        permissions: BTreeSet<KeyPermission>,
    },
    /// Forget a vault that has no keys, deleted ones included.
    Delete {
        /// Which.
        name: VaultName,
    },
}

/// What is asked of permissions in the daemon as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GrantRequest {
    /// What principals may do in the daemon as a whole, wherever it is said.
    List,
    /// Let a principal do more in the daemon as a whole than it may already.
    Add {
        /// Who.
        principal: Principal,
        /// What, beside what it was.
        permissions: BTreeSet<Permission>,
    },
    /// Say what a principal may do in the daemon as a whole; nothing takes all away.
    Set {
        /// Who.
        principal: Principal,
        /// What, instead of what it was.
        permissions: BTreeSet<Permission>,
    },
}
