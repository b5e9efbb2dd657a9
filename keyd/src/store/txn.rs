//! Changing the state, inside a transaction that [`super::Store::commit`] opened.

use keyd_client::{DesName, DiskId, KeyId, Scope, VaultName};
use redb::WriteTransaction;

use super::{
    tables::{
        self, DISKS, DISKS_BY_SET, DISKS_BY_SOURCE, DISKS_BY_VERSION, KEYS, KEYS_DELETED,
        KEYS_WATCHED, SETS, Table, VAULTS,
    },
    view::{self, Range, Row, View},
};
use crate::{
    error::{Failure, Fault},
    model::{des::Des, disk::Disk, key::Key, vault::Vault},
};

/// An open transaction.
pub struct Txn<'a>(&'a WriteTransaction);

impl std::fmt::Debug for Txn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Txn")
    }
}

impl<'a> Txn<'a> {
    pub(super) fn new(transaction: &'a WriteTransaction) -> Self {
        Self(transaction)
    }

    /// Stores a vault, new or changed.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn put_vault(&self, vault: &Vault) -> Result<(), Fault> {
        let value = serde_json::to_vec(vault)?;
        self.put(VAULTS, vault.name.as_str().as_bytes(), &value)
    }

    /// Forgets a vault.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn remove_vault(&self, name: &VaultName) -> Result<(), Fault> {
        self.remove(VAULTS, name.as_str().as_bytes())
    }

    /// Stores a key, new or changed.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn put_key(&self, key: &Key) -> Result<(), Fault> {
        let (row, value) = (tables::key(&key.id), serde_json::to_vec(key)?);
        match key.deleted() {
            Some(deleted) => self.put(KEYS_DELETED, &row, &deleted.purge_at.to_be_bytes())?,
            None => self.remove(KEYS_DELETED, &row)?,
        }
        match key.rotation_policy.is_some() || key.newest().expires.is_some() {
            true => self.put(KEYS_WATCHED, &row, &[])?,
            false => self.remove(KEYS_WATCHED, &row)?,
        }
        self.put(KEYS, &row, &value)
    }

    /// Destroys a key.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn remove_key(&self, id: &KeyId) -> Result<(), Fault> {
        let row = tables::key(id);
        self.remove(KEYS_DELETED, &row)?;
        self.remove(KEYS_WATCHED, &row)?;
        self.remove(KEYS, &row)
    }

    /// Stores a set, new or changed.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn put_set(&self, set: &Des) -> Result<(), Fault> {
        let value = serde_json::to_vec(set)?;
        self.put(SETS, set.name.as_str().as_bytes(), &value)
    }

    /// Forgets a set, and what was granted for it.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn remove_set(&self, name: &DesName) -> Result<(), Fault> {
        self.remove_grants_for(&Scope::Set(name.clone()))?;
        self.remove(SETS, name.as_str().as_bytes())
    }

    /// Stores a new disk of a set.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn add_disk(&self, disk: &Disk, set: &Des) -> Result<(), Fault> {
        if let Some(source) = disk.source {
            self.put(DISKS_BY_SOURCE, &tables::by_source(source, disk.id), &[])?;
        }
        self.index(disk, set)?;
        self.put(DISKS, disk.id.0.as_bytes(), &serde_json::to_vec(disk)?)
    }

    /// Stores a disk in place of what it was, which is read here so that no index can be left behind.
    ///
    /// # Errors
    /// [`crate::error::Refused::NoDisk`], [`Fault`].
    pub fn replace_disk(&self, disk: &Disk) -> Result<(), Failure> {
        let old = self.disk(disk.id)?;
        let old_set = self.set(&old.des)?;
        self.unindex(&old, &old_set)?;
        let set = if disk.des == old.des { old_set } else { self.set(&disk.des)? };
        self.index(disk, &set)?;
        Ok(self.put(DISKS, disk.id.0.as_bytes(), &serde_json::to_vec(disk)?)?)
    }

    /// Forgets a disk, its DEK, and what was granted for it.
    ///
    /// # Errors
    /// [`crate::error::Refused::NoDisk`], [`Fault`].
    pub fn remove_disk(&self, id: DiskId) -> Result<(), Failure> {
        let disk = self.disk(id)?;
        self.unindex(&disk, &self.set(&disk.des)?)?;
        if let Some(source) = disk.source {
            self.remove(DISKS_BY_SOURCE, &tables::by_source(source, id))?;
        }
        self.remove_grants_for(&Scope::Disk(id))?;
        Ok(self.remove(DISKS, id.0.as_bytes())?)
    }

    pub(super) fn index(&self, disk: &Disk, set: &Des) -> Result<(), Fault> {
        for wrap in &disk.wraps {
            self.put(DISKS_BY_VERSION, &tables::by_version(&wrap.under(), disk.id), &[])?;
            self.put(DISKS_BY_SET, &tables::by_set(set.id, &wrap.under(), disk.id), &[])?;
        }
        Ok(())
    }

    fn unindex(&self, disk: &Disk, set: &Des) -> Result<(), Fault> {
        for wrap in &disk.wraps {
            self.remove(DISKS_BY_VERSION, &tables::by_version(&wrap.under(), disk.id))?;
            self.remove(DISKS_BY_SET, &tables::by_set(set.id, &wrap.under(), disk.id))?;
        }
        Ok(())
    }

    pub(super) fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.0.open_table(table)?.insert(key, value)?;
        Ok(())
    }

    pub(super) fn remove(&self, table: Table, key: &[u8]) -> Result<(), Fault> {
        self.0.open_table(table)?.remove(key)?;
        Ok(())
    }
}

impl View for Txn<'_> {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        view::value(&self.0.open_table(table)?, key)
    }

    fn rows(&self, table: Table, range: Range<'_>) -> Result<Vec<Row>, Fault> {
        view::rows(&self.0.open_table(table)?, range)
    }

    fn count(&self, table: Table, prefix: &[u8]) -> Result<u64, Fault> {
        view::count(&self.0.open_table(table)?, prefix)
    }
}
