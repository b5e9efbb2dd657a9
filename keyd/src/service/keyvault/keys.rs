//! The rows that make, change, list, move and destroy keys.

use keyd_client::{
    KeyId, KeyName, KeyVersion, VaultName,
    message::{
        Consent, KeyChange, KeyDelete, KeyPurge, KeyRecover, KeyRotationPolicy, KeyUpdate, Purged,
        RotationPolicy, Weighed,
    },
};

use super::Service;
use crate::{
    auth::Caller,
    error::{Failure, Refused},
    keyvault::{
        Octets, Reply,
        new_key::{Create, Import},
        reply::KeyView,
        request::Page,
    },
    ops::{self, operation::Operation, vault_key_restore::Restored},
    store::View,
};

/// The API has no word for doubt: as in Azure a key is taken away at once, and can be brought back.
const CONSENT: Consent = Consent::Force;

fn key(view: KeyView) -> Reply {
    Reply::Key(Box::new(view))
}

impl Service {
    pub(super) fn create(&self, by: &Caller, id: &KeyId, new: &Create) -> Result<Reply, Failure> {
        let core = self.core();
        self.on(by, id, |permit| ops::vault_key_create::run(core, permit, id, new)).map(key)
    }

    pub(super) fn import(&self, by: &Caller, id: &KeyId, new: Import) -> Result<Reply, Failure> {
        let core = self.core();
        self.on(by, id, |permit| ops::vault_key_import::run(core, permit, id, new)).map(key)
    }

    pub(super) fn rotate(&self, by: &Caller, id: &KeyId) -> Result<Reply, Failure> {
        let core = self.core();
        self.on(by, id, |permit| ops::vault_key_rotate::run(core, permit, id)).map(key)
    }

    pub(super) fn get(
        &self,
        by: &Caller,
        id: &KeyId,
        version: Option<KeyVersion>,
    ) -> Result<Reply, Failure> {
        let core = self.core();
        self.on(by, id, |permit| ops::vault_key_get::run(core, permit, id, version)).map(key)
    }

    pub(super) fn get_deleted(&self, by: &Caller, id: &KeyId) -> Result<Reply, Failure> {
        let core = self.core();
        self.on(by, id, |permit| ops::vault_key_get::deleted(core, permit, id)).map(key)
    }

    /// Without a version it is the newest that is changed, not all.
    pub(super) fn update(
        &self,
        by: &Caller,
        id: &KeyId,
        version: Option<KeyVersion>,
        change: &KeyChange,
    ) -> Result<Reply, Failure> {
        let core = self.core();
        let changed = self.on(by, id, |permit| {
            let version = match version {
                Some(version) => version,
                None => core.store.snapshot()?.key(id)?.newest().version,
            };
            let (name, change) = (id.clone(), change.clone());
            let (version, consent) = (Some(version), CONSENT);
            KeyUpdate { name, version, change, consent, wait_ms: 0 }.run(core, permit)?;
            ops::vault_key_get::alive(&core.store.snapshot()?, id, version)
        });
        changed.map(key)
    }

    pub(super) fn delete(&self, by: &Caller, id: &KeyId) -> Result<Reply, Failure> {
        let core = self.core();
        let deleted = self.on(by, id, |permit| {
            KeyDelete { name: id.clone(), consent: CONSENT, wait_ms: 0 }.run(core, permit)?;
            ops::vault_key_get::gone(&core.store.snapshot()?, id)
        });
        deleted.map(key)
    }

    pub(super) fn recover(&self, by: &Caller, id: &KeyId) -> Result<Reply, Failure> {
        let core = self.core();
        let recovered = self.on(by, id, |permit| {
            KeyRecover { name: id.clone() }.run(core, permit)?;
            ops::vault_key_get::alive(&core.store.snapshot()?, id, None)
        });
        recovered.map(key)
    }

    /// While the key wraps DEKs, the first who asks is refused, and noted: the second destroys it.
    pub(super) fn purge(&self, by: &Caller, id: &KeyId) -> Result<Reply, Failure> {
        let core = self.core();
        self.on(by, id, |permit| {
            match (KeyPurge { name: id.clone(), consent: CONSENT }).run(core, permit)? {
                Weighed::Done(Purged::Asked { lost_for_ever: deks }) => {
                    Err(Refused::SecondPrincipal { key: id.clone(), deks }.into())
                }
                Weighed::Done(Purged::Destroyed) | Weighed::Would(_) => Ok(Reply::Done),
            }
        })
    }

    pub(super) fn backup(&self, by: &Caller, id: &KeyId) -> Result<Reply, Failure> {
        let core = self.core();
        self.on(by, id, |permit| ops::vault_key_backup::run(core, permit, id)).map(Reply::Backup)
    }

    /// While versions of it were purged, the first who asks is refused, and noted: the second brings it back.
    pub(super) fn restore(
        &self,
        by: &Caller,
        vault: &VaultName,
        blob: &Octets,
    ) -> Result<Reply, Failure> {
        let core = self.core();
        let restored =
            self.act(by, Some(vault), vault, |permit| {
                match ops::vault_key_restore::run(core, permit, vault, blob.as_bytes())? {
                    Restored::Done(view) => Ok(*view),
                    Restored::Asked(versions) => {
                        Err(Refused::SecondRestorer { vault: vault.clone(), versions }.into())
                    }
                }
            });
        restored.map(key)
    }

    pub(super) fn list(
        &self,
        by: &Caller,
        vault: &VaultName,
        page: &Page<KeyName>,
    ) -> Result<Reply, Failure> {
        let core = self.core();
        let listed = self.act(by, Some(vault), vault, |permit| {
            ops::vault_key_list::keys(core, permit, vault, page)
        });
        listed.map(Reply::Keys)
    }

    pub(super) fn list_deleted(
        &self,
        by: &Caller,
        vault: &VaultName,
        page: &Page<KeyName>,
    ) -> Result<Reply, Failure> {
        let core = self.core();
        let listed = self.act(by, Some(vault), vault, |permit| {
            ops::vault_key_list::deleted(core, permit, vault, page)
        });
        listed.map(Reply::DeletedKeys)
    }

    pub(super) fn versions(
        &self,
        by: &Caller,
        id: &KeyId,
        page: &Page<KeyVersion>,
    ) -> Result<Reply, Failure> {
        let core = self.core();
        let listed =
            self.on(by, id, |permit| ops::vault_key_list::versions(core, permit, id, page))?;
        Ok(Reply::Versions(id.name.clone(), listed))
    }

    pub(super) fn get_policy(&self, by: &Caller, id: &KeyId) -> Result<Reply, Failure> {
        let core = self.core();
        let policy = self.on(by, id, |permit| ops::vault_key_policy::run(core, permit, id))?;
        Ok(Reply::RotationPolicy(Box::new(policy)))
    }

    pub(super) fn set_policy(
        &self,
        by: &Caller,
        id: &KeyId,
        policy: RotationPolicy,
    ) -> Result<Reply, Failure> {
        let core = self.core();
        let policy = self.on(by, id, |permit| {
            let (name, policy) = (id.clone(), Some(policy));
            KeyRotationPolicy { name, policy, consent: CONSENT }.run(core, permit)?;
            ops::vault_key_policy::told(&core.store.snapshot()?, id)
        })?;
        Ok(Reply::RotationPolicy(Box::new(policy)))
    }
}
