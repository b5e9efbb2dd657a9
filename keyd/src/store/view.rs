//! Reading the state, the same way inside a transaction and in a snapshot.

use std::sync::Arc;

use keyd_client::{DesName, DiskId, KeyId, VaultName, ids::DesId, message::UnixMillis};
use redb::{ReadTransaction, ReadableTable, TableHandle};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{
    names::named,
    tables::{
        self, DISKS, DISKS_BY_SET, DISKS_BY_SOURCE, DISKS_BY_VERSION, KEYS, KEYS_DELETED,
        KEYS_WATCHED, SETS, Table, VAULTS,
    },
};
use crate::{
    error::{Failure, Fault, Refused},
    model::{des::Des, disk::Disk, key::Key, vault::Vault, version::VersionId},
    seal::Seal,
};

/// Rows to look at: those with a prefix, after one of them, so many at most.
#[derive(Debug, Clone, Copy)]
pub struct Range<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) after: Option<&'a [u8]>,
    pub(super) limit: usize,
}

impl Range<'_> {
    pub(super) const ALL: Self = Self { prefix: &[], after: None, limit: usize::MAX };
}

/// A row's key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// The state, to be read.
pub trait View {
    /// One row's value.
    ///
    /// # Errors
    /// [`Fault::Database`]; [`Fault::Damaged`]: it is not what was written there.
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;

    /// Rows in order of their keys. One that is not what was written there is left out: a list must not end at it, and
    /// [`super::Store::damage`] names it.
    ///
    /// # Errors
    /// [`Fault::Database`].
    fn rows(&self, table: Table, range: Range<'_>) -> Result<Vec<Row>, Fault>;

    /// A vault, if there is one.
    ///
    /// # Errors
    /// [`Fault`].
    fn find_vault(&self, name: &VaultName) -> Result<Option<Vault>, Fault> {
        decode(self.value(VAULTS, name.as_str().as_bytes())?)
    }

    /// A vault.
    ///
    /// # Errors
    /// [`Refused::NoVault`].
    fn vault(&self, name: &VaultName) -> Result<Vault, Failure> {
        self.find_vault(name)?.ok_or_else(|| Refused::NoVault(name.clone()).into())
    }

    /// All vaults, in order of name.
    ///
    /// # Errors
    /// [`Fault`].
    fn vaults(&self) -> Result<Vec<Vault>, Fault> {
        decode_all(&self.rows(VAULTS, Range::ALL)?)
    }

    /// A key, deleted or not, if there is one.
    ///
    /// # Errors
    /// [`Fault`].
    fn find_key(&self, id: &KeyId) -> Result<Option<Key>, Fault> {
        decode(self.value(KEYS, &tables::key(id))?)
    }

    /// A key, deleted or not.
    ///
    /// # Errors
    /// [`Refused::NoKey`].
    fn key(&self, id: &KeyId) -> Result<Key, Failure> {
        self.find_key(id)?.ok_or_else(|| Refused::NoKey(id.clone()).into())
    }

    /// At most `limit` keys, deleted ones included, in order of vault and name, after one.
    ///
    /// # Errors
    /// [`Fault`].
    fn keys(&self, after: Option<&KeyId>, limit: usize) -> Result<Vec<Key>, Fault> {
        let after = after.map(tables::key);
        decode_all(&self.rows(KEYS, Range { after: after.as_deref(), limit, ..Range::ALL })?)
    }

    /// The same of one vault.
    ///
    /// # Errors
    /// [`Fault`].
    fn keys_of(
        &self,
        vault: &VaultName,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<Key>, Fault> {
        let (prefix, after) = (tables::keys_of(vault), after.map(tables::key));
        decode_all(&self.rows(KEYS, Range { prefix: &prefix, after: after.as_deref(), limit })?)
    }

    /// Deleted keys whose time is over.
    ///
    /// # Errors
    /// [`Fault`].
    fn keys_to_purge(&self, now: UnixMillis) -> Result<Vec<KeyId>, Fault> {
        let rows = self.rows(KEYS_DELETED, Range::ALL)?;
        let over = |(_, purge_at): &&Row| **purge_at <= now.to_be_bytes()[..];
        rows.iter().filter(over).map(|(key, _)| key_id(key)).collect()
    }

    /// Keys with a rotation policy or an end.
    ///
    /// # Errors
    /// [`Fault`].
    fn keys_watched(&self) -> Result<Vec<KeyId>, Fault> {
        self.rows(KEYS_WATCHED, Range::ALL)?.iter().map(|(key, _)| key_id(key)).collect()
    }

    /// How many keys a vault has, deleted ones included.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_keys(&self, vault: &VaultName) -> Result<u64, Fault> {
        self.count(KEYS, &tables::keys_of(vault))
    }

    /// A set, if there is one.
    ///
    /// # Errors
    /// [`Fault`].
    fn find_set(&self, name: &DesName) -> Result<Option<Des>, Fault> {
        decode(self.value(SETS, name.as_str().as_bytes())?)
    }

    /// A set.
    ///
    /// # Errors
    /// [`Refused::NoSet`].
    fn set(&self, name: &DesName) -> Result<Des, Failure> {
        self.find_set(name)?.ok_or_else(|| Refused::NoSet(name.clone()).into())
    }

    /// All sets, in order of name.
    ///
    /// # Errors
    /// [`Fault`].
    fn sets(&self) -> Result<Vec<Des>, Fault> {
        decode_all(&self.rows(SETS, Range::ALL)?)
    }

    /// A disk, if there is one.
    ///
    /// # Errors
    /// [`Fault`].
    fn find_disk(&self, id: DiskId) -> Result<Option<Disk>, Fault> {
        decode(self.value(DISKS, id.0.as_bytes())?)
    }

    /// A disk.
    ///
    /// # Errors
    /// [`Refused::NoDisk`].
    fn disk(&self, id: DiskId) -> Result<Disk, Failure> {
        self.find_disk(id)?.ok_or_else(|| Refused::NoDisk(id).into())
    }

    /// A disk with its set.
    ///
    /// # Errors
    /// [`Refused::NoDisk`]; [`Fault::Dangling`].
    fn disk_and_set(&self, id: DiskId) -> Result<(Disk, Des), Failure> {
        let disk = self.disk(id)?;
        let set = self.set_of(&disk)?;
        Ok((disk, set))
    }

    /// A disk's set.
    ///
    /// # Errors
    /// [`Fault::Dangling`].
    fn set_of(&self, disk: &Disk) -> Result<Des, Fault> {
        self.find_set(&disk.des)?.ok_or_else(|| Fault::Dangling(format!("disk {}", disk.id)))
    }

    /// The key that has a version; none if it was destroyed, also if another has its name now.
    ///
    /// # Errors
    /// [`Fault`].
    fn key_with(&self, id: &VersionId) -> Result<Option<Key>, Fault> {
        Ok(self.find_key(&id.key)?.filter(|key| key.version(id.version).is_ok()))
    }

    /// Sets that wrap, or still have wraps, under a key.
    ///
    /// # Errors
    /// [`Fault`].
    fn sets_on(&self, key: &KeyId) -> Result<Vec<Des>, Fault> {
        let platform = *key == KeyId::platform();
        let on = |set: &Des| {
            set.key == *key
                || set.previous_keys.contains(key)
                || (platform && set.platform_version.is_some())
        };
        Ok(self.sets()?.into_iter().filter(on).collect())
    }

    /// At most `limit` disks in order of id, after one.
    ///
    /// # Errors
    /// [`Fault`].
    fn disks(&self, after: Option<DiskId>, limit: usize) -> Result<Vec<Disk>, Fault> {
        let after = after.map(|id| *id.0.as_bytes());
        decode_all(&self.rows(
            DISKS,
            Range { after: after.as_ref().map(<[u8; 16]>::as_slice), limit, ..Range::ALL },
        )?)
    }

    /// At most `limit` disks whose DEK, or a share of it, a key version wraps, after one.
    ///
    /// # Errors
    /// [`Fault`].
    fn disks_under(
        &self,
        version: &VersionId,
        after: Option<DiskId>,
        limit: usize,
    ) -> Result<Vec<DiskId>, Fault> {
        let prefix = tables::version(version);
        self.indexed(DISKS_BY_VERSION, &prefix, after, limit)
    }

    /// How many DEKs, or shares of them, a key version wraps.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_under(&self, version: &VersionId) -> Result<u64, Fault> {
        self.count(DISKS_BY_VERSION, &tables::version(version))
    }

    /// At most `limit` disks of a set that are not under its active versions.
    ///
    /// # Errors
    /// [`Fault`].
    fn disks_behind(&self, set: &Des, limit: usize) -> Result<Vec<DiskId>, Fault> {
        let mut found: Vec<DiskId> = Vec::new();
        for version in self.versions_in(set)? {
            if !set.is_active(&version) {
                let prefix = tables::in_set(set.id, &version);
                let wanted = limit.saturating_sub(found.len());
                found.extend(self.indexed(DISKS_BY_SET, &prefix, None, wanted)?);
            }
        }
        // Under platform and customer keys a disk can be behind with both.
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The key versions that wrap DEKs of a set, or shares of them. One look at the index each.
    ///
    /// # Errors
    /// [`Fault`].
    fn versions_in(&self, set: &Des) -> Result<Vec<VersionId>, Fault> {
        let prefix = set.id.0.as_bytes();
        let mut versions: Vec<VersionId> = Vec::new();
        loop {
            // Behind every disk under the version seen last.
            let last =
                versions.last().map(|version| tables::by_set(set.id, version, DiskId(Uuid::max())));
            let range = Range { prefix, after: last.as_deref(), limit: 1 };
            let Some((key, _)) = self.rows(DISKS_BY_SET, range)?.pop() else {
                return Ok(versions);
            };
            let version = tables::version_id(&key[16..key.len() - 16]);
            let dangling = || Fault::Dangling(format!("set {}", set.name));
            versions.push(version.ok_or_else(dangling)?);
        }
    }

    /// How many DEKs of a set, or shares of them, a key version wraps.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_in_under(&self, set: DesId, version: &VersionId) -> Result<u64, Fault> {
        self.count(DISKS_BY_SET, &tables::in_set(set, version))
    }

    /// How many disks, snapshots and images a set has.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_in(&self, set: &Des) -> Result<u64, Fault> {
        let wraps = self.count(DISKS_BY_SET, set.id.0.as_bytes())?;
        // A disk under platform and customer keys has two.
        Ok(if set.platform_version.is_some() { wraps / 2 } else { wraps })
    }

    /// How many disks, snapshots and images there are.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_disks(&self) -> Result<u64, Fault> {
        self.count(DISKS, &[])
    }

    /// At most `limit` disks, snapshots and images of a set in order of id, after one.
    ///
    /// # Errors
    /// [`Fault`].
    fn disks_in(
        &self,
        set: &Des,
        after: Option<DiskId>,
        limit: usize,
    ) -> Result<Vec<DiskId>, Fault> {
        let mut found = Vec::new();
        for version in self.versions_in(set)? {
            let prefix = tables::in_set(set.id, &version);
            found.extend(self.indexed(DISKS_BY_SET, &prefix, after, limit)?);
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    /// Snapshots, images and disks that were made from a disk, snapshot or image.
    ///
    /// # Errors
    /// [`Fault`].
    fn made_from(&self, source: DiskId) -> Result<Vec<DiskId>, Fault> {
        self.indexed(DISKS_BY_SOURCE, source.0.as_bytes(), None, usize::MAX)
    }

    /// Disks of an index whose keys are a prefix and the disk's id.
    ///
    /// # Errors
    /// [`Fault`].
    fn indexed(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<DiskId>,
        limit: usize,
    ) -> Result<Vec<DiskId>, Fault> {
        let after = after.map(|id| [prefix, id.0.as_bytes()].concat());
        let rows = self.rows(table, Range { prefix, after: after.as_deref(), limit })?;
        let id = |key: &[u8]| Uuid::from_slice(&key[prefix.len()..]).map(DiskId);
        rows.iter()
            .map(|(key, _)| id(key).map_err(|_| Fault::Dangling("an index".to_owned())))
            .collect()
    }

    /// How many rows have a prefix.
    ///
    /// # Errors
    /// [`Fault`].
    fn count(&self, table: Table, prefix: &[u8]) -> Result<u64, Fault>;

    /// The keys of rows that have a prefix, in order.
    ///
    /// # Errors
    /// [`Fault`].
    fn row_keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Fault>;
}

/// The state at one moment.
pub struct Snapshot {
    transaction: ReadTransaction,
    seal: Arc<Seal>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction, seal: Arc<Seal>) -> Self {
        Self { transaction, seal }
    }

    pub(super) fn transaction(&self) -> &ReadTransaction {
        &self.transaction
    }

    pub(super) fn seal(&self) -> &Seal {
        &self.seal
    }
}

impl View for Snapshot {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        value(&self.transaction.open_table(table)?, &self.seal, table.name(), key)
    }

    fn rows(&self, table: Table, range: Range<'_>) -> Result<Vec<Row>, Fault> {
        rows(&self.transaction.open_table(table)?, &self.seal, table.name(), range)
    }

    fn count(&self, table: Table, prefix: &[u8]) -> Result<u64, Fault> {
        count(&self.transaction.open_table(table)?, prefix)
    }

    fn row_keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        super::spelling::row_keys(&self.transaction.open_table(table)?, prefix)
    }
}

type Bytes = &'static [u8];

pub(super) fn value(
    table: &impl ReadableTable<Bytes, Bytes>,
    seal: &Seal,
    name: &str,
    key: &[u8],
) -> Result<Option<Vec<u8>>, Fault> {
    let Some(stored) = table.get(key)? else {
        return Ok(None);
    };
    let value = seal.open(name, key, stored.value());
    value.map(|value| Some(value.to_vec())).ok_or_else(|| Fault::Damaged(named(name, key)))
}

pub(super) fn rows(
    table: &impl ReadableTable<Bytes, Bytes>,
    seal: &Seal,
    name: &str,
    range: Range<'_>,
) -> Result<Vec<Row>, Fault> {
    let mut found = Vec::new();
    let from = range.after.unwrap_or(range.prefix);
    for row in table.range(from..)? {
        let (key, stored) = row?;
        if Some(key.value()) == range.after {
            continue;
        }
        if found.len() == range.limit || !key.value().starts_with(range.prefix) {
            break;
        }
        if let Some(value) = seal.open(name, key.value(), stored.value()) {
            found.push((key.value().to_vec(), value.to_vec()));
        }
    }
    Ok(found)
}

pub(super) fn count(table: &impl ReadableTable<Bytes, Bytes>, prefix: &[u8]) -> Result<u64, Fault> {
    let mut counted = 0;
    for row in table.range(prefix..)? {
        if !row?.0.value().starts_with(prefix) {
            break;
        }
        counted += 1;
    }
    Ok(counted)
}

/// A key's vault and name from its row's key.
pub(super) fn key_id(row: &[u8]) -> Result<KeyId, Fault> {
    let id = String::from_utf8_lossy(row).parse();
    id.map_err(|_| Fault::Dangling("a key without a name".to_owned()))
}

pub(super) fn decode<T: DeserializeOwned>(value: Option<Vec<u8>>) -> Result<Option<T>, Fault> {
    Ok(value.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
}

pub(super) fn decode_all<T: DeserializeOwned>(rows: &[Row]) -> Result<Vec<T>, Fault> {
    let decoded: Result<Vec<T>, _> =
        rows.iter().map(|(_, value)| serde_json::from_slice(value)).collect();
    Ok(decoded?)
}
