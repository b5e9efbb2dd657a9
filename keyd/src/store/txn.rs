//! Changing the state, inside a transaction that [`super::Store::commit`] opened.

use keyd_client::DiskId;
use redb::WriteTransaction;

use super::{
    tables::{self, DISKS, DISKS_BY_SET, DISKS_BY_VERSION, KEYS, SETS, Table},
    view::{self, Range, Row, View},
};
use crate::{
    error::{Failure, Fault},
    model::{des::Des, disk::Disk, key::Key},
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

    /// Stores a key, new or changed.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn put_key(&self, key: &Key) -> Result<(), Fault> {
        let value = serde_json::to_vec(key)?;
        self.put(KEYS, key.name.as_str().as_bytes(), &value)
    }

    /// Stores a set, new or changed.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn put_set(&self, set: &Des) -> Result<(), Fault> {
        let value = serde_json::to_vec(set)?;
        self.put(SETS, set.name.as_str().as_bytes(), &value)
    }

    /// Stores a new disk of a set.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn add_disk(&self, disk: &Disk, set: &Des) -> Result<(), Fault> {
        let value = serde_json::to_vec(disk)?;
        self.put(DISKS, disk.id.0.as_bytes(), &value)?;
        let by_version = tables::by_version(disk.key_version, disk.id);
        self.put(DISKS_BY_VERSION, &by_version, &[])?;
        self.put(DISKS_BY_SET, &tables::by_set(set.id, disk.id), &[])
    }

    /// Stores a disk in place of what it was, which is read here so that the index cannot be left behind.
    ///
    /// # Errors
    /// [`crate::error::Refused::NoDisk`], [`Fault`].
    pub fn replace_disk(&self, disk: &Disk) -> Result<(), Failure> {
        let old = self.disk(disk.id)?;
        let value = serde_json::to_vec(disk)?;
        self.remove(DISKS_BY_VERSION, &tables::by_version(old.key_version, old.id))?;
        self.put(DISKS_BY_VERSION, &tables::by_version(disk.key_version, disk.id), &[])?;
        self.put(DISKS, disk.id.0.as_bytes(), &value)?;
        Ok(())
    }

    /// Forgets a disk and its DEK.
    ///
    /// # Errors
    /// [`crate::error::Refused::NoDisk`], [`Fault`].
    pub fn remove_disk(&self, id: DiskId) -> Result<(), Failure> {
        let (disk, set, _) = self.disk_whole(id)?;
        self.remove(DISKS, id.0.as_bytes())?;
        self.remove(DISKS_BY_VERSION, &tables::by_version(disk.key_version, id))?;
        self.remove(DISKS_BY_SET, &tables::by_set(set.id, id))?;
        Ok(())
    }

    fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.0.open_table(table)?.insert(key, value)?;
        Ok(())
    }

    fn remove(&self, table: Table, key: &[u8]) -> Result<(), Fault> {
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
