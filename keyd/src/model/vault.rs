//! A vault: a name for keys that are managed by the same people, and what those may do.

use std::collections::{BTreeMap, BTreeSet};

use keyd_client::{
    Principal, VaultName,
    limits::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN},
    message::{UnixMillis, VaultStatus},
    permission::KeyPermission,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Refused,
    limits::{MILLIS_PER_DAY, POLICIES_MAX},
};

/// A vault as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vault {
    /// Its name.
    pub name: VaultName,
    /// When it was made.
    pub created: UnixMillis,
    /// Days a deleted key can be recovered; fixed when the vault is made (Azure: `softDeleteRetentionInDays`).
    pub retention_days: u16,
    /// Whether deleted keys are safe from purging (Azure: `enablePurgeProtection`).
    purge_protection: bool,
    /// Who may do what.
    policies: BTreeMap<Principal, BTreeSet<KeyPermission>>,
}

impl Vault {
    /// A new vault in which nobody may do anything.
    ///
    /// # Errors
    /// [`Refused::Retention`].
    pub fn new(
        name: VaultName,
        retention_days: u16,
        purge_protection: bool,
        now: UnixMillis,
    ) -> Result<Self, Refused> {
        if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&retention_days) {
            return Err(Refused::Retention(retention_days));
        }
        let policies = BTreeMap::new();
        Ok(Self { name, created: now, retention_days, purge_protection, policies })
    }

    /// Whether deleted keys stay until their time.
    #[must_use]
    pub fn purge_protection(&self) -> bool {
        self.purge_protection
    }

    /// Protects deleted keys. There is no way back.
    pub fn protect(&mut self) {
        self.purge_protection = true;
    }

    /// Whether a principal may.
    #[must_use]
    pub fn permits(&self, principal: &Principal, permission: KeyPermission) -> bool {
        self.policies.get(principal).is_some_and(|granted| granted.contains(&permission))
    }

    /// Says what a principal may; nothing takes all away.
    ///
    /// # Errors
    /// [`Refused::TooManyPolicies`].
    pub fn permit(
        &mut self,
        principal: Principal,
        permissions: BTreeSet<KeyPermission>,
    ) -> Result<(), Refused> {
        if permissions.is_empty() {
            self.policies.remove(&principal);
            return Ok(());
        }
        if self.policies.len() >= POLICIES_MAX && !self.policies.contains_key(&principal) {
            return Err(Refused::TooManyPolicies(self.name.clone()));
        }
        self.policies.insert(principal, permissions);
        Ok(())
    }

    /// Adds to what a principal may.
    ///
    /// # Errors
    /// [`Refused::TooManyPolicies`].
    pub fn permit_also(
        &mut self,
        principal: &Principal,
        permissions: &BTreeSet<KeyPermission>,
    ) -> Result<(), Refused> {
        self.permit(principal.clone(), &self.policy(principal) | permissions)
    }

    /// What a principal may.
    #[must_use]
    pub fn policy(&self, principal: &Principal) -> BTreeSet<KeyPermission> {
        self.policies.get(principal).cloned().unwrap_or_default()
    }

    /// When a key that is deleted now is destroyed.
    #[must_use]
    pub fn purge_at(&self, now: UnixMillis) -> UnixMillis {
        now + u64::from(self.retention_days) * MILLIS_PER_DAY
    }

    /// The vault as it is told.
    #[must_use]
    pub fn status(&self, keys: u64) -> VaultStatus {
        VaultStatus {
            name: self.name.clone(),
            created: self.created,
            retention_days: self.retention_days,
            purge_protection: self.purge_protection,
            keys,
            policies: self.policies.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(days: u16) -> Result<Vault, Refused> {
        Vault::new("bank".parse().unwrap(), days, false, 1000)
    }

    #[test]
    fn retention_is_7_to_90_days() {
        for (days, allowed) in [(0, false), (6, false), (7, true), (90, true), (91, false)] {
            assert_eq!(vault(days).is_ok(), allowed, "{days}");
        }
        assert_eq!(vault(7).unwrap().purge_at(1000), 1000 + 7 * 24 * 3600 * 1000);
    }

    #[test]
    fn a_policy_is_replaced_and_an_empty_one_is_gone() {
        let (mut vault, who) = (vault(7).unwrap(), Principal::User(5));
        vault.permit(who.clone(), [KeyPermission::Get].into()).unwrap();
        vault.permit_also(&who, &[KeyPermission::List].into()).unwrap();
        assert!(
            vault.permits(&who, KeyPermission::Get) && vault.permits(&who, KeyPermission::List)
        );
        assert!(!vault.permits(&Principal::User(6), KeyPermission::Get));
        vault.permit(who.clone(), [KeyPermission::Purge].into()).unwrap();
        assert!(!vault.permits(&who, KeyPermission::Get));
        vault.permit(who.clone(), [].into()).unwrap();
        assert!(vault.status(0).policies.is_empty());
    }

    #[test]
    fn policies_are_limited_and_those_there_can_still_be_changed() {
        let mut vault = vault(7).unwrap();
        for uid in 0..POLICIES_MAX {
            vault.permit(Principal::User(uid as u32), [KeyPermission::Get].into()).unwrap();
        }
        let more = vault.permit(Principal::User(u32::MAX), [KeyPermission::Get].into());
        assert!(matches!(more, Err(Refused::TooManyPolicies(_))));
        vault.permit(Principal::User(0), [KeyPermission::List].into()).unwrap();
    }
}
