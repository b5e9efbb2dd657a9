//! Tables of the database. Keys and values are bytes; values are JSON, or empty in indexes.
//!
//! | table | key | value |
//! |---|---|---|
//! | meta | `format`, `audit-head` | format version, [`Head`] |
//! | keys | name | [`crate::model::key::Key`] |
//! | sets | name | [`crate::model::des::Des`] |
//! | disks | disk UUID, 16 bytes | [`crate::model::disk::Disk`] |
//! | disks-by-version | key version, 32 digits; disk UUID | empty |
//! | disks-by-set | set UUID, 16 bytes; disk UUID | empty |

use keyd_client::{DiskId, KeyVersion, ids::DesId};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use crate::{audit::Head, error::Fault};

pub(super) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: Table = TableDefinition::new("meta");
pub(super) const KEYS: Table = TableDefinition::new("keys");
pub(super) const SETS: Table = TableDefinition::new("sets");
pub(super) const DISKS: Table = TableDefinition::new("disks");
pub(super) const DISKS_BY_VERSION: Table = TableDefinition::new("disks-by-version");
pub(super) const DISKS_BY_SET: Table = TableDefinition::new("disks-by-set");

const HEAD: &[u8] = b"audit-head";
const FORMAT: &[u8] = b"format";
/// Version of all this. Another one is not understood.
const FORMAT_VERSION: &[u8] = b"1";

/// Makes the tables on the first start; tells the committed head of the audit log.
pub(super) fn prepare(db: &Database) -> Result<Head, Fault> {
    let transaction = db.begin_write()?;
    for table in [KEYS, SETS, DISKS, DISKS_BY_VERSION, DISKS_BY_SET] {
        transaction.open_table(table)?;
    }
    let head = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get(FORMAT)?.map(|v| v.value().to_vec());
        match format.as_deref() {
            None => drop(meta.insert(FORMAT, FORMAT_VERSION)?),
            Some(FORMAT_VERSION) => {}
            Some(_) => return Err(Fault::Format),
        }
        let stored = meta.get(HEAD)?;
        match stored {
            Some(bytes) => serde_json::from_slice(bytes.value())?,
            None => Head::default(),
        }
    };
    transaction.commit()?;
    Ok(head)
}

pub(super) fn put_head(transaction: &WriteTransaction, head: &Head) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(HEAD, serde_json::to_vec(head)?.as_slice())?;
    Ok(())
}

pub(super) fn by_version(version: KeyVersion, disk: DiskId) -> Vec<u8> {
    [version.to_string().as_bytes(), disk.0.as_bytes()].concat()
}

pub(super) fn by_set(set: DesId, disk: DiskId) -> Vec<u8> {
    [set.0.as_bytes().as_slice(), disk.0.as_bytes()].concat()
}
