//! What the store remembers of the audit log beside its head: where it begins, and a break that was recorded and not
//! yet accepted.

use redb::{Database, ReadableDatabase, TableDefinition, TableError, WriteTransaction};

use super::tables::Table;
use crate::{audit::Begin, error::Fault};

const META: Table = TableDefinition::new("meta");
const BEGIN: &[u8] = b"audit-begin";
const BREAK: &[u8] = b"audit-break";

/// Both, as committed.
pub(super) fn read(db: &Database) -> Result<(Begin, Option<String>), Fault> {
    let table = match db.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok((Begin::default(), None)),
        table => table?,
    };
    let begin = match table.get(BEGIN)? {
        Some(bytes) => serde_json::from_slice(bytes.value())?,
        None => Begin::default(),
    };
    let broken = table.get(BREAK)?.map(|text| String::from_utf8_lossy(text.value()).into_owned());
    Ok((begin, broken))
}

pub(super) fn put_begin(transaction: &WriteTransaction, begin: &Begin) -> Result<(), Fault> {
    let value = serde_json::to_vec(begin)?;
    transaction.open_table(META)?.insert(BEGIN, value.as_slice())?;
    Ok(())
}

pub(super) fn put_break(transaction: &WriteTransaction, broken: &str) -> Result<(), Fault> {
    transaction.open_table(META)?.insert(BREAK, broken.as_bytes())?;
    Ok(())
}

pub(super) fn clear_break(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(META)?.remove(BREAK)?;
    Ok(())
}
