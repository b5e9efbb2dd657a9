//! Takes a store of an earlier release as it is. Its records have no tags, so nothing can be known of them: it is done
//! once, when an administrator asks for it, and never by a start.

use std::sync::Arc;

use redb::{ReadableTable, TableHandle, WriteTransaction};

use super::{
    Options, Store, Txn,
    ballast::Ballast,
    create,
    digest::Digest,
    indexes,
    tables::{
        self, DISKS_BY_SET, DISKS_BY_VERSION, FORMAT, FORMAT_VERSION, META, WITHOUT_KEYS,
        WITHOUT_TAGS,
    },
};
use crate::{
    audit::Entry,
    error::{Failure, Fault, Refused},
    files::Dir,
    seal::Seal,
};

/// Gives every record its tag, and writes down that it was done.
///
/// # Errors
/// [`Refused::NothingToUpgrade`]; [`Fault`].
pub fn upgrade(dir: Arc<dyn Dir>, seal: Seal, entry: Entry) -> Result<u64, Failure> {
    let ballast = Ballast::open(&*dir, 0, 0).map_err(Fault::StateFile)?;
    let db = create::older(&*dir, &Arc::new(ballast))?;
    let transaction = db.begin_write()?;
    let rows = seal_all(&transaction, &seal)?;
    transaction.commit()?;
    db.close().map_err(Fault::from)?;
    let store = Store::open(dir, seal, &Options::default(), None)?;
    store.record(entry.detail(format!("records={rows}")))?;
    Ok(rows)
}

fn seal_all(transaction: &WriteTransaction, seal: &Seal) -> Result<u64, Failure> {
    let format = transaction.open_table(META)?.get(FORMAT)?.map(|row| row.value().to_vec());
    let without_keys = match format.as_deref() {
        Some(WITHOUT_TAGS) => false,
        Some(WITHOUT_KEYS) => true,
        Some(FORMAT_VERSION) => return Err(Refused::NothingToUpgrade.into()),
        _ => return Err(Fault::Format.into()),
    };
    let (mut digest, mut rows) = (Digest::default(), 0);
    for handle in transaction.list_tables()?.collect::<Vec<_>>() {
        let name = handle.name();
        let mut table = transaction.open_table(tables::named(name))?;
        let all = table.iter()?.map(|row| {
            let (key, value) = row?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        });
        for (key, value) in all.collect::<Result<Vec<_>, Fault>>()? {
            if !tables::is_bare(name, &key) {
                let stored = seal.seal(name, &key, &value);
                table.insert(key.as_slice(), stored.as_slice())?;
                digest.add(name, seal.term(&stored));
                rows += 1;
            }
        }
    }
    if without_keys {
        digest = digest.after(&reindex(transaction, seal)?);
    }
    let head = transaction.open_table(META)?.get(tables::HEAD)?.map(|row| row.value().to_vec());
    let head = head.map(|head| serde_json::from_slice(&head)).transpose()?.unwrap_or_default();
    tables::put_head(transaction, seal, &head, &digest)?;
    transaction.open_table(META)?.insert(FORMAT, FORMAT_VERSION)?;
    Ok(rows)
}

/// Makes the indexes of disks anew.
fn reindex(transaction: &WriteTransaction, seal: &Seal) -> Result<Digest, Fault> {
    let txn = Txn::new(transaction, seal);
    for table in [DISKS_BY_VERSION, DISKS_BY_SET] {
        txn.clear(table)?;
    }
    let rows = indexes::of_all(&txn)?;
    txn.put_all(&rows)?;
    Ok(txn.into_change())
}
