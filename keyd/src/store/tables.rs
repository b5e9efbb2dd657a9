//! Tables of the database. Keys and values are bytes; values are JSON, or empty in indexes.
//!
//! | table | key | value |
//! |---|---|---|
//! | meta | `format`, `audit-head`, `backed-up` | format version, [`Head`], when a backup was made last |
//! | vaults | name | [`crate::model::vault::Vault`] |
//! | keys | vault, `/`, name | [`crate::model::key::Key`] |
//! | keys-deleted | vault, `/`, name | when it is destroyed, 8 bytes big-endian |
//! | keys-watched | vault, `/`, name | empty; it has a rotation policy or an end |
//! | sets | name | [`crate::model::des::Des`] |
//! | disks | disk UUID, 16 bytes | [`crate::model::disk::Disk`] |
//! | disks-by-version | vault, `/`, key's name, `/`, version, 32 digits; disk UUID | empty |
//! | disks-by-set | set UUID, 16 bytes; the same; disk UUID | empty |
//! | disks-by-source | source's UUID, 16 bytes; disk UUID | empty |
//! | purged | version, 32 digits | [`crate::model::tombstone::Tombstone`] |
//! | grants | principal; for some disks, `/`, `des:` and name or `disk:` and UUID | permissions |
//! | apps | name | [`crate::model::app::App`] |
//! | apps-by-certificate | fingerprint, 32 bytes | name |
//! | apps-by-secret | hash of an identity's secret, 32 bytes | name |
//! | tokens | hash, 32 bytes | [`crate::model::token::Token`] |
//! | tokens-by-app | application, `/`, token UUID | hash |

use keyd_client::{DiskId, KeyId, VaultName, ids::DesId};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use super::{Txn, View};
use crate::{audit::Head, error::Fault, model::version::VersionId};

pub(super) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(super) const META: Table = TableDefinition::new("meta");
pub(super) const VAULTS: Table = TableDefinition::new("vaults");
pub(super) const GRANTS: Table = TableDefinition::new("grants");
pub(super) const DISKS_BY_SOURCE: Table = TableDefinition::new("disks-by-source");
pub(super) const KEYS: Table = TableDefinition::new("keys");
pub(super) const KEYS_DELETED: Table = TableDefinition::new("keys-deleted");
pub(super) const KEYS_WATCHED: Table = TableDefinition::new("keys-watched");
pub(super) const PURGED: Table = TableDefinition::new("purged");
pub(super) const SETS: Table = TableDefinition::new("sets");
pub(super) const DISKS: Table = TableDefinition::new("disks");
pub(super) const DISKS_BY_VERSION: Table = TableDefinition::new("disks-by-version");
pub(super) const DISKS_BY_SET: Table = TableDefinition::new("disks-by-set");

pub(super) const APPS: Table = TableDefinition::new("apps");
pub(super) const APPS_BY_CERTIFICATE: Table = TableDefinition::new("apps-by-certificate");
pub(super) const APPS_BY_SECRET: Table = TableDefinition::new("apps-by-secret");
pub(super) const TOKENS: Table = TableDefinition::new("tokens");
pub(super) const TOKENS_BY_APP: Table = TableDefinition::new("tokens-by-app");

const ALL: [Table; 16] = [
    VAULTS,
    KEYS,
    KEYS_DELETED,
    KEYS_WATCHED,
    PURGED,
    SETS,
    DISKS,
    DISKS_BY_VERSION,
    DISKS_BY_SET,
    DISKS_BY_SOURCE,
    GRANTS,
    APPS,
    APPS_BY_CERTIFICATE,
    APPS_BY_SECRET,
    TOKENS,
    TOKENS_BY_APP,
];

const HEAD: &[u8] = b"audit-head";
pub(super) const FORMAT: &[u8] = b"format";
/// Version of all this. Another one is not understood.
const FORMAT_VERSION: &[u8] = b"3";
/// The one before, whose indexes of disks named a version without its key.
pub(super) const WITHOUT_KEYS: &[u8] = b"2";

/// Makes the tables on the first start; tells the committed head of the audit log.
pub(super) fn prepare(db: &Database) -> Result<Head, Fault> {
    let transaction = db.begin_write()?;
    for table in ALL {
        transaction.open_table(table)?;
    }
    let head = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get(FORMAT)?.map(|v| v.value().to_vec());
        match format.as_deref() {
            None => drop(meta.insert(FORMAT, FORMAT_VERSION)?),
            Some(FORMAT_VERSION) => {}
            Some(WITHOUT_KEYS) => {
                reindex(&transaction)?;
                meta.insert(FORMAT, FORMAT_VERSION)?;
            }
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

/// Makes the indexes of disks anew.
fn reindex(transaction: &WriteTransaction) -> Result<(), Fault> {
    for table in [DISKS_BY_VERSION, DISKS_BY_SET] {
        transaction.delete_table(table)?;
        transaction.open_table(table)?;
    }
    let txn = Txn::new(transaction);
    for disk in txn.disks(None, usize::MAX)? {
        txn.index(&disk, &txn.set_of(&disk)?)?;
    }
    Ok(())
}

/// The committed head of the audit log in a state.
pub(super) fn head(view: &impl View) -> Result<Head, Fault> {
    match view.value(META, HEAD)? {
        Some(bytes) => Ok(serde_json::from_slice(&bytes)?),
        None => Ok(Head::default()),
    }
}

pub(super) fn put_head(transaction: &WriteTransaction, head: &Head) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(HEAD, serde_json::to_vec(head)?.as_slice())?;
    Ok(())
}

/// A slash is in no name: no vault's keys begin like another's.
pub(super) fn key(id: &KeyId) -> Vec<u8> {
    format!("{}/{}", id.vault, id.name).into_bytes()
}

pub(super) fn keys_of(vault: &VaultName) -> Vec<u8> {
    format!("{vault}/").into_bytes()
}

/// Versions have one length: none begins like another's.
pub(super) fn version(id: &VersionId) -> Vec<u8> {
    format!("{}/{}/{}", id.key.vault, id.key.name, id.version).into_bytes()
}

/// The other way round.
pub(super) fn version_id(row: &[u8]) -> Option<VersionId> {
    let (key, version) = std::str::from_utf8(row).ok()?.rsplit_once('/')?;
    Some(VersionId { key: key.parse().ok()?, version: version.parse().ok()? })
}

pub(super) fn by_version(id: &VersionId, disk: DiskId) -> Vec<u8> {
    [version(id).as_slice(), disk.0.as_bytes()].concat()
}

pub(super) fn by_set(set: DesId, id: &VersionId, disk: DiskId) -> Vec<u8> {
    [in_set(set, id).as_slice(), disk.0.as_bytes()].concat()
}

pub(super) fn in_set(set: DesId, id: &VersionId) -> Vec<u8> {
    [set.0.as_bytes().as_slice(), &version(id)].concat()
}

pub(super) fn by_source(source: DiskId, disk: DiskId) -> Vec<u8> {
    [source.0.as_bytes().as_slice(), disk.0.as_bytes()].concat()
}
