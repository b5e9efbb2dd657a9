//! The rows of indexes that follow from a record: written with it, and made anew where they are damaged.

use super::{
    Apps, Txn, View,
    tables::{
        self, APPS_BY_CERTIFICATE, APPS_BY_SECRET, DISKS_BY_SET, DISKS_BY_SOURCE, DISKS_BY_VERSION,
        KEYS_DELETED, KEYS_WATCHED, TOKENS, TOKENS_BY_APP, Table,
    },
    view::{Range, decode},
};
use crate::{
    error::Fault,
    model::{
        app::App,
        des::Des,
        disk::Disk,
        key::Key,
        token::{SecretHash, Token},
    },
};

/// A row of an index.
pub(super) struct Row {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Row {
    fn empty(table: Table, key: Vec<u8>) -> Self {
        Self { table, key, value: Vec::new() }
    }
}

pub(super) fn of_key(key: &Key) -> Vec<Row> {
    let id = tables::key(&key.id);
    let deleted = key.deleted().map(|deleted| Row {
        table: KEYS_DELETED,
        key: id.clone(),
        value: deleted.purge_at.to_be_bytes().to_vec(),
    });
    let watched = key.rotation_policy.is_some() || key.newest().expires.is_some();
    let watched = watched.then(|| Row::empty(KEYS_WATCHED, id));
    deleted.into_iter().chain(watched).collect()
}

pub(super) fn of_disk(disk: &Disk, set: &Des) -> Vec<Row> {
    let wraps = disk.wraps.iter().flat_map(|wrap| {
        [
            Row::empty(DISKS_BY_VERSION, tables::by_version(&wrap.under(), disk.id)),
            Row::empty(DISKS_BY_SET, tables::by_set(set.id, &wrap.under(), disk.id)),
        ]
    });
    let source = disk.source.map(|source| tables::by_source(source, disk.id));
    wraps.chain(source.map(|key| Row::empty(DISKS_BY_SOURCE, key))).collect()
}

pub(super) fn of_app(app: &App) -> Result<Vec<Row>, Fault> {
    let value = serde_json::to_vec(&app.name)?;
    let row = |table, key: &[u8]| Row { table, key: key.to_vec(), value: value.clone() };
    let certificates = app.certificates().iter().map(|of| row(APPS_BY_CERTIFICATE, &of.0));
    let secret = app.identity.iter().map(|secret| row(APPS_BY_SECRET, secret.as_bytes()));
    Ok(certificates.chain(secret).collect())
}

pub(super) fn of_token(secret: &SecretHash, token: &Token) -> Result<Vec<Row>, Fault> {
    let key = tables::token_by_app(&token.app, token.id);
    Ok(vec![Row { table: TOKENS_BY_APP, key, value: serde_json::to_vec(secret)? }])
}

/// All rows of all indexes, as they follow from the records that are there and sound.
pub(super) fn of_all(txn: &Txn<'_>) -> Result<Vec<Row>, Fault> {
    let mut rows = Vec::new();
    txn.keys(None, usize::MAX)?.iter().for_each(|key| rows.extend(of_key(key)));
    for disk in txn.disks(None, usize::MAX)? {
        match txn.set_of(&disk) {
            Ok(set) => rows.extend(of_disk(&disk, &set)),
            // Its set is damaged itself.
            Err(Fault::Damaged(_) | Fault::Dangling(_)) => {}
            Err(other) => return Err(other),
        }
    }
    for app in txn.apps()? {
        rows.extend(of_app(&app)?);
    }
    for (hash, value) in txn.rows(TOKENS, Range::ALL)? {
        let (Some(hash), Some(token)) = (SecretHash::from_bytes(&hash), decode(Some(value))?)
        else {
            continue;
        };
        rows.extend(of_token(&hash, &token)?);
    }
    Ok(rows)
}
