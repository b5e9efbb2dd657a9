//! Tables of the database. Keys and values are bytes; values are JSON, or empty in indexes. In front of each value is
//! the row's tag: see [`crate::seal`].
//!
//! | table | key | value |
//! |---|---|---|
//! | meta | `format`, `audit-head`, `state-digest`: these without tags | format version, [`Head`], sealed digest |
//! | meta | `audit-begin`, `audit-break`, `backed-up` | [`crate::audit::Begin`], text, when a backup was made last |
//! | meta | `time` | [`crate::clock::Kept`] |
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

use keyd_client::{AppName, DiskId, KeyId, TokenId, VaultName, ids::DesId};
use redb::{
    Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, WriteTransaction,
};

use super::{Snapshot, digest::Digest};
use crate::{
    seal::Seal,
    {audit::Head, error::Fault, model::version::VersionId},
};

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

pub(super) const ALL: [Table; 16] = [
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

/// Those that say nothing that other tables do not say: they can be made anew.
pub(super) const INDEXES: [Table; 8] = [
    KEYS_DELETED,
    KEYS_WATCHED,
    DISKS_BY_VERSION,
    DISKS_BY_SET,
    DISKS_BY_SOURCE,
    APPS_BY_CERTIFICATE,
    APPS_BY_SECRET,
    TOKENS_BY_APP,
];

/// A table's name, as it must have been if a bit of it is wrong.
pub(super) fn known(name: &[u8]) -> String {
    let ours = [META].iter().chain(&ALL).map(TableHandle::name).map(str::to_owned);
    let near = ours.into_iter().find(|other| differs(name, other.as_bytes()) <= 1);
    near.unwrap_or_else(|| String::from_utf8_lossy(name).into_owned())
}

/// Whether a table of ours is called so.
pub(super) fn is_ours(name: &[u8]) -> bool {
    [META].iter().chain(&ALL).any(|table| table.name().as_bytes() == name)
}

/// Gives the rows of a state that is proved the row that says their form, which nothing proves: without it, or with
/// another in its place, they would be taken for a first start's or for another release's. Only this form has a digest.
pub(super) fn with_format(rows: &mut Vec<super::Row>) {
    let is_it = |row: &super::Row| row.table == META.name() && differs(&row.key, FORMAT) <= 1;
    rows.retain(|row| !is_it(row));
    let (table, key, value) = (META.name().to_owned(), FORMAT.to_vec(), FORMAT_VERSION.to_vec());
    rows.push(super::Row { table, key, value });
}

/// In how many bits two texts of one length differ; texts of other lengths in all.
fn differs(one: &[u8], other: &[u8]) -> u32 {
    match one.len() == other.len() {
        true => one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum(),
        false => u32::MAX,
    }
}

/// A table by its name: all have bytes for keys and values.
pub(super) fn named(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

pub(super) const HEAD: &[u8] = b"audit-head";
const DIGEST: &[u8] = b"state-digest";
pub(super) const FORMAT: &[u8] = b"format";
/// Version of all this. Another one is not understood.
pub(super) const FORMAT_VERSION: &[u8] = b"4";
/// The one before, whose rows had no tags.
pub(super) const WITHOUT_TAGS: &[u8] = b"3";
/// The one before that, whose indexes of disks named a version without its key.
pub(super) const WITHOUT_KEYS: &[u8] = b"2";

/// Whether a row has no tag: it is read before anything can be judged, or it is what judges the others.
pub(super) fn is_bare(table: &str, key: &[u8]) -> bool {
    table == META.name() && [HEAD, DIGEST, FORMAT].contains(&key)
}

/// What a store says of itself.
pub(super) struct Opened {
    /// The committed head of the audit log.
    pub(super) head: Head,
    /// The digest of the state; nothing if it is not the digest of a state with that head.
    pub(super) digest: Option<Digest>,
}

/// Makes the tables on the first start; also those that had no row in a store that was made of its rows.
///
/// # Errors
/// [`Fault::Format`], [`Fault::OlderFormat`]: it is the store of another release.
pub(super) fn prepare(db: &Database, seal: &Seal) -> Result<(), Fault> {
    let transaction = db.begin_write()?;
    let format = transaction.open_table(META)?.get(FORMAT)?.map(|v| v.value().to_vec());
    match format.as_deref() {
        None => begin(&transaction, seal)?,
        Some(FORMAT_VERSION) if transaction.list_tables()?.count() > ALL.len() => {
            return Ok(transaction.abort()?);
        }
        Some(FORMAT_VERSION) => make_all(&transaction)?,
        Some(WITHOUT_TAGS | WITHOUT_KEYS) => return Err(Fault::OlderFormat),
        Some(_) => return Err(Fault::Format),
    }
    Ok(transaction.commit()?)
}

fn make_all(transaction: &WriteTransaction) -> Result<(), Fault> {
    for table in ALL {
        transaction.open_table(table)?;
    }
    Ok(())
}

fn begin(transaction: &WriteTransaction, seal: &Seal) -> Result<(), Fault> {
    make_all(transaction)?;
    transaction.open_table(META)?.insert(FORMAT, FORMAT_VERSION)?;
    put_head(transaction, seal, &Head::default(), &Digest::default())
}

/// Number of the newest audit row in a database, if it says one.
pub(super) fn newest(db: &Database) -> Result<Option<u64>, Fault> {
    let transaction = db.begin_read()?;
    let meta = match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        meta => meta?,
    };
    let head = meta.get(HEAD)?.map(|row| serde_json::from_slice::<Head>(row.value()));
    Ok(head.and_then(Result::ok).map(|head| head.seq))
}

/// What the rows of a state say of it, if they are its.
pub(super) fn provable(rows: &[super::Row], seal: &Seal) -> Option<Head> {
    let find = |key| rows.iter().find(|row| row.table == META.name() && row.key == key);
    let (head, digest) = (find(HEAD)?, find(DIGEST)?);
    seal.open_digest(&digest.value, &head.value)?;
    serde_json::from_slice(&head.value).ok()
}

/// What a state says of itself.
pub(super) fn opened(snapshot: &Snapshot) -> Result<Opened, Fault> {
    let meta = snapshot.transaction().open_table(META)?;
    let row = |key| Ok::<_, Fault>(meta.get(key)?.map(|row| row.value().to_vec()));
    let (head, digest) = (row(HEAD)?.unwrap_or_default(), row(DIGEST)?.unwrap_or_default());
    let digest = snapshot.seal().open_digest(&digest, &head);
    let digest = digest.and_then(|digest| Digest::from_bytes(&digest));
    Ok(Opened { head: serde_json::from_slice(&head)?, digest })
}

/// What a commit carries: the log's head, and the digest of the state that goes with it.
pub(super) fn put_head(
    transaction: &WriteTransaction,
    seal: &Seal,
    head: &Head,
    digest: &Digest,
) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    let head = serde_json::to_vec(head)?;
    meta.insert(DIGEST, seal.seal_digest(&digest.to_bytes(), &head)?.as_slice())?;
    meta.insert(HEAD, head.as_slice())?;
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

/// A slash is in no name: no application's tokens begin like another's.
pub(super) fn token_by_app(app: &AppName, token: TokenId) -> Vec<u8> {
    [app.as_str().as_bytes(), b"/", token.0.as_bytes()].concat()
}
