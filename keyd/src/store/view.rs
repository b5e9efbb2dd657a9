//! Reading the state, the same way inside a transaction and in a snapshot.

use keyd_client::{DesName, DiskId, KeyName, KeyVersion, ids::DesId};
use redb::{ReadTransaction, ReadableTable};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::tables::{self, DISKS, DISKS_BY_SET, DISKS_BY_VERSION, KEYS, SETS, Table};
use crate::{
    error::{Failure, Fault, Refused},
    model::{des::Des, disk::Disk, key::Key},
};

/// Rows to look at: those with a prefix, after one of them, so many at most.
#[derive(Debug, Clone, Copy)]
pub struct Range<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) after: Option<&'a [u8]>,
    pub(super) limit: usize,
}

impl Range<'_> {
    const ALL: Self = Self { prefix: &[], after: None, limit: usize::MAX };
}

/// A row's key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// The state, to be read.
pub trait View {
    /// One row's value.
    ///
    /// # Errors
    /// [`Fault::Database`].
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;

    /// Rows in order of their keys.
    ///
    /// # Errors
    /// [`Fault::Database`].
    fn rows(&self, table: Table, range: Range<'_>) -> Result<Vec<Row>, Fault>;

    /// A key, if there is one.
    ///
    /// # Errors
    /// [`Fault`].
    fn find_key(&self, name: &KeyName) -> Result<Option<Key>, Fault> {
        decode(self.value(KEYS, name.as_str().as_bytes())?)
    }

    /// A key.
    ///
    /// # Errors
    /// [`Refused::NoKey`].
    fn key(&self, name: &KeyName) -> Result<Key, Failure> {
        self.find_key(name)?.ok_or_else(|| Refused::NoKey(name.clone()).into())
    }

    /// All keys, in order of name.
    ///
    /// # Errors
    /// [`Fault`].
    fn keys(&self) -> Result<Vec<Key>, Fault> {
        decode_all(&self.rows(KEYS, Range::ALL)?)
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

    /// A disk.
    ///
    /// # Errors
    /// [`Refused::NoDisk`].
    fn disk(&self, id: DiskId) -> Result<Disk, Failure> {
        decode(self.value(DISKS, id.0.as_bytes())?)?.ok_or_else(|| Refused::NoDisk(id).into())
    }

    /// A disk with its set and its set's key.
    ///
    /// # Errors
    /// [`Refused::NoDisk`]; [`Fault::Dangling`].
    fn disk_whole(&self, id: DiskId) -> Result<(Disk, Des, Key), Failure> {
        let disk = self.disk(id)?;
        let (set, key) = self.set_of(&disk)?;
        Ok((disk, set, key))
    }

    /// A disk's set and the set's key.
    ///
    /// # Errors
    /// [`Fault::Dangling`].
    fn set_of(&self, disk: &Disk) -> Result<(Des, Key), Fault> {
        let set = self
            .find_set(&disk.des)?
            .ok_or_else(|| Fault::Dangling(format!("disk {}", disk.id)))?;
        let key =
            self.find_key(&set.key)?.ok_or_else(|| Fault::Dangling(format!("set {}", set.name)))?;
        Ok((set, key))
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

    /// At most `limit` disks whose DEK a key version wraps.
    ///
    /// # Errors
    /// [`Fault`].
    fn disks_under(&self, version: KeyVersion, limit: usize) -> Result<Vec<DiskId>, Fault> {
        let prefix = version.to_string().into_bytes();
        let range = Range { prefix: &prefix, limit, ..Range::ALL };
        let rows = self.rows(DISKS_BY_VERSION, range)?;
        let id = |key: &[u8]| Uuid::from_slice(&key[prefix.len()..]).map(DiskId);
        rows.iter()
            .map(|(key, _)| id(key).map_err(|_| Fault::Dangling(format!("version {version}"))))
            .collect()
    }

    /// How many DEKs a key version wraps.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_under(&self, version: KeyVersion) -> Result<u64, Fault> {
        self.count(DISKS_BY_VERSION, version.to_string().as_bytes())
    }

    /// Whether a key version wraps the DEK of any disk of a set.
    ///
    /// # Errors
    /// [`Fault`].
    fn wraps_in(&self, version: KeyVersion, set: DesId) -> Result<bool, Fault> {
        for id in self.disks_under(version, usize::MAX)? {
            if self.value(DISKS_BY_SET, &tables::by_set(set, id))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many disks a set has.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_in(&self, set: DesId) -> Result<u64, Fault> {
        self.count(DISKS_BY_SET, set.0.as_bytes())
    }

    /// How many rows have a prefix.
    ///
    /// # Errors
    /// [`Fault`].
    fn count(&self, table: Table, prefix: &[u8]) -> Result<u64, Fault>;
}

/// The state at one moment.
pub struct Snapshot(ReadTransaction);

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self(transaction)
    }
}

impl View for Snapshot {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        value(&self.0.open_table(table)?, key)
    }

    fn rows(&self, table: Table, range: Range<'_>) -> Result<Vec<Row>, Fault> {
        rows(&self.0.open_table(table)?, range)
    }

    fn count(&self, table: Table, prefix: &[u8]) -> Result<u64, Fault> {
        count(&self.0.open_table(table)?, prefix)
    }
}

type Bytes = &'static [u8];

pub(super) fn value(
    table: &impl ReadableTable<Bytes, Bytes>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, Fault> {
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

pub(super) fn rows(
    table: &impl ReadableTable<Bytes, Bytes>,
    range: Range<'_>,
) -> Result<Vec<Row>, Fault> {
    let mut found = Vec::new();
    let from = range.after.unwrap_or(range.prefix);
    for row in table.range(from..)? {
        let (key, value) = row?;
        if Some(key.value()) == range.after {
            continue;
        }
        if found.len() == range.limit || !key.value().starts_with(range.prefix) {
            break;
        }
        found.push((key.value().to_vec(), value.value().to_vec()));
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

fn decode<T: DeserializeOwned>(value: Option<Vec<u8>>) -> Result<Option<T>, Fault> {
    Ok(value.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
}

fn decode_all<T: DeserializeOwned>(rows: &[Row]) -> Result<Vec<T>, Fault> {
    let decoded: Result<Vec<T>, _> =
        rows.iter().map(|(_, value)| serde_json::from_slice(value)).collect();
    Ok(decoded?)
}
