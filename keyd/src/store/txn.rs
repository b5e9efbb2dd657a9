//! Changing the state, inside a transaction that [`super::Store::commit`] opened.

use std::cell::RefCell;

use keyd_client::{DesName, DiskId, KeyId, Scope, VaultName};
use redb::{TableHandle, WriteTransaction};

use super::{
    digest::Digest,
    indexes,
    tables::{self, DISKS, KEYS, KEYS_DELETED, KEYS_WATCHED, SETS, Table, VAULTS},
    view::{self, Range, Row, View},
};
use crate::{
    error::{Failure, Fault},
    model::{des::Des, disk::Disk, key::Key, vault::Vault},
    seal::Seal,
};

/// An open transaction, and what it has changed in the state's digest so far.
pub struct Txn<'a> {
    transaction: &'a WriteTransaction,
    seal: &'a Seal,
    change: RefCell<Digest>,
}

impl std::fmt::Debug for Txn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Txn")
    }
}

impl<'a> Txn<'a> {
    pub(super) fn new(transaction: &'a WriteTransaction, seal: &'a Seal) -> Self {
        Self { transaction, seal, change: RefCell::default() }
    }

    /// What it has changed.
    pub(super) fn into_change(self) -> Digest {
        self.change.into_inner()
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
        self.remove(KEYS_DELETED, &row)?;
        self.remove(KEYS_WATCHED, &row)?;
        self.put_all(&indexes::of_key(key))?;
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
        self.put_all(&indexes::of_disk(disk, set))?;
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
        self.put_all(&indexes::of_disk(disk, &set))?;
        Ok(self.put(DISKS, disk.id.0.as_bytes(), &serde_json::to_vec(disk)?)?)
    }

    /// Forgets a disk, its DEK, and what was granted for it.
    ///
    /// # Errors
    /// [`crate::error::Refused::NoDisk`], [`Fault`].
    pub fn remove_disk(&self, id: DiskId) -> Result<(), Failure> {
        let disk = self.disk(id)?;
        self.unindex(&disk, &self.set(&disk.des)?)?;
        self.remove_grants_for(&Scope::Disk(id))?;
        Ok(self.remove(DISKS, id.0.as_bytes())?)
    }

    fn unindex(&self, disk: &Disk, set: &Des) -> Result<(), Fault> {
        let rows = indexes::of_disk(disk, set);
        rows.iter().try_for_each(|row| self.remove(row.table, &row.key))
    }

    /// Removes all rows of a table.
    pub(super) fn clear(&self, table: Table) -> Result<(), Fault> {
        let rows = self.rows(table, Range::ALL)?;
        rows.iter().try_for_each(|(key, _)| self.remove(table, key))
    }

    pub(super) fn put_all(&self, rows: &[indexes::Row]) -> Result<(), Fault> {
        rows.iter().try_for_each(|row| self.put(row.table, &row.key, &row.value))
    }

    pub(super) fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let name = table.name();
        let stored = self.seal.seal(name, key, value);
        let mut change = self.change.borrow_mut();
        let mut table = self.transaction.open_table(table)?;
        if let Some(old) = table.insert(key, stored.as_slice())? {
            change.take(name, self.seal.term(old.value()));
        }
        change.add(name, self.seal.term(&stored));
        Ok(())
    }

    pub(super) fn remove(&self, table: Table, key: &[u8]) -> Result<(), Fault> {
        let name = table.name();
        let mut table = self.transaction.open_table(table)?;
        if let Some(old) = table.remove(key)? {
            self.change.borrow_mut().take(name, self.seal.term(old.value()));
        }
        Ok(())
    }
}

impl View for Txn<'_> {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        view::value(&self.transaction.open_table(table)?, self.seal, table.name(), key)
    }

    fn rows(&self, table: Table, range: Range<'_>) -> Result<Vec<Row>, Fault> {
        view::rows(&self.transaction.open_table(table)?, self.seal, table.name(), range)
    }

    fn count(&self, table: Table, prefix: &[u8]) -> Result<u64, Fault> {
        view::count(&self.transaction.open_table(table)?, prefix)
    }

    fn row_keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        super::spelling::row_keys(&self.transaction.open_table(table)?, prefix)
    }
}
