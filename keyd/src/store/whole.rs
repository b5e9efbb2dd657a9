//! The whole of a store at one moment, to be copied elsewhere, and a store made of such a copy.

use std::sync::{Arc, MutexGuard};

use redb::Database;
use serde::{Deserialize, Serialize};

use super::{Snapshot, Store, check, create, tables};
use crate::{
    audit::{Head, segments::CURRENT},
    base64_bytes,
    error::Fault,
    files::{Dir, FileAt},
    limits::REBUILD_BATCH,
    lock::lock,
};

/// A store and its log, unmoved by later changes. While it exists no file of the log is taken elsewhere.
pub struct Whole<'a> {
    _care: MutexGuard<'a, ()>,
    dir: &'a dyn Dir,
    view: Snapshot,
    head: Head,
    log: Vec<Part>,
}

/// A file of the state directory, as far as it belongs to that moment.
pub struct Part {
    /// Its name.
    pub name: String,
    /// The file.
    pub file: Arc<dyn FileAt>,
    /// How much of it, bytes.
    pub len: u64,
}

/// A row of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its table's name.
    pub table: String,
    /// Its key.
    #[serde(with = "base64_bytes")]
    pub key: Vec<u8>,
    /// Its tag and its value.
    #[serde(with = "base64_bytes")]
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Whole<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Whole(to row {})", self.head.seq)
    }
}

impl Store {
    /// The state as of now, and the log up to its end in that state.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn whole(&self) -> Result<Whole<'_>, Fault> {
        let care = lock(&self.care);
        let view = self.snapshot()?;
        let head = tables::opened(&view)?.head;
        let begin = lock(&self.begin).seq;
        let segments = lock(&self.writer).segments().map_err(Fault::AuditFile)?;
        let mut log = Vec::new();
        // What was written since is behind that end, perhaps in another file.
        let wanted = segments.beginning_at(begin).into_iter();
        for segment in wanted.filter(|segment| segment.first <= head.segment) {
            let gone = || Fault::AuditFile(std::io::ErrorKind::NotFound.into());
            let file = segments.file(segment).map_err(Fault::AuditFile)?.ok_or_else(gone)?;
            let (name, len) = if segment.first == head.segment {
                (CURRENT.to_owned(), head.len)
            } else {
                (segment.name(), file.end().map_err(Fault::AuditFile)?)
            };
            log.push(Part { name, file, len });
        }
        Ok(Whole { _care: care, dir: &*self.dir, view, head, log })
    }
}

impl Whole<'_> {
    /// The state.
    #[must_use]
    pub fn view(&self) -> &Snapshot {
        &self.view
    }

    /// The end of its log.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What of it is damaged.
    ///
    /// # Errors
    /// [`Fault::Database`].
    pub fn damage(&self) -> Result<Vec<String>, Fault> {
        Ok(check::snapshot(&self.view)?.told())
    }

    /// The files of its log, oldest first.
    #[must_use]
    pub fn log(&self) -> &[Part] {
        &self.log
    }

    /// Another file of the state directory, as it is now, if it is there.
    ///
    /// # Errors
    /// [`Fault::StateFile`].
    pub fn other(&self, name: &str) -> Result<Option<Part>, Fault> {
        let Some(file) = self.dir.open(name).map_err(Fault::StateFile)? else {
            return Ok(None);
        };
        let len = file.end().map_err(Fault::StateFile)?;
        Ok(Some(Part { name: name.to_owned(), file, len }))
    }

    /// Hands over every row of every table, always in the same order.
    ///
    /// # Errors
    /// [`Fault::Database`], and what `take` returns.
    pub fn rows<E: From<Fault>>(
        &self,
        mut take: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        check::each_row(self.view.transaction(), |table, key, stored| {
            take(Row { table: table.to_owned(), key: key.to_vec(), value: stored.to_vec() })
        })
    }
}

/// Makes the store of a state directory that has none, of these rows.
///
/// # Errors
/// [`Fault`], and what the rows come with.
pub fn rebuild<E: From<Fault>>(
    dir: &dyn Dir,
    rows: impl IntoIterator<Item = Result<Row, E>>,
) -> Result<(), E> {
    create::filled(dir, |db| fill(db, rows))
}

pub(super) fn fill<E: From<Fault>>(
    db: &Database,
    rows: impl IntoIterator<Item = Result<Row, E>>,
) -> Result<(), E> {
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let transaction = db.begin_write().map_err(Fault::from)?;
        for row in rows.by_ref().take(REBUILD_BATCH) {
            let Row { table, key, value } = row?;
            let mut table = transaction.open_table(tables::named(&table)).map_err(Fault::from)?;
            table.insert(key.as_slice(), value.as_slice()).map_err(Fault::from)?;
        }
        transaction.commit().map_err(Fault::from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use keyd_client::VaultName;

    use super::*;
    use crate::{
        audit::Entry,
        files::tests::twin::Disk,
        model::vault::Vault,
        store::{
            Options, View,
            testing::{self, change},
        },
    };

    fn vault(n: u64) -> Vault {
        let name: VaultName = format!("vault-{n}").parse().unwrap();
        Vault::new(name, 7, false, n).unwrap()
    }

    /// Segments so short that the log has several files.
    fn options() -> Options {
        let mut options = Options::default();
        options.log.segment = 4096;
        options
    }

    #[test]
    fn a_store_made_of_all_rows_is_the_same_store() {
        let store = Store::open(Disk::new(1).dir(), testing::seal(), &options(), None).unwrap();
        for n in 0..30 {
            change(&store, |txn| txn.put_vault(&vault(n)));
        }
        let whole = store.whole().unwrap();
        // What comes later is not part of it.
        let (mut rows, mut again) = (Vec::new(), Vec::new());
        let collect = |into: &mut Vec<Row>| {
            whole.rows(|row| -> Result<(), Fault> {
                into.push(row);
                Ok(())
            })
        };
        collect(&mut rows).unwrap();
        change(&store, |txn| txn.put_vault(&vault(99)));
        store.record(Entry::by_daemon("later", "x").detail("y".repeat(500))).unwrap();
        collect(&mut again).unwrap();
        assert_eq!(rows, again);
        let other = Disk::new(2).dir();
        rebuild(&*other, rows.into_iter().map(Ok::<_, Fault>)).unwrap();
        assert!(whole.log().len() > 1);
        for part in whole.log() {
            let bytes = crate::files::read_range(&*part.file, 0, part.len).unwrap();
            assert_eq!(bytes.len() as u64, part.len);
            other.create(&part.name).unwrap().write_at(0, &bytes).unwrap();
        }
        let head = whole.head().clone();
        drop(whole);
        let copy = Store::open(other, testing::seal(), &options(), None).unwrap();
        assert_eq!(copy.verify_audit().unwrap().head, head);
        assert_eq!(copy.snapshot().unwrap().vaults().unwrap().len(), 30);
        assert_eq!(copy.recovered(), None);
    }

    #[test]
    fn rows_that_cannot_be_had_leave_no_store() {
        let dir = Disk::new(1).dir();
        let row = Row { table: "x".to_owned(), key: vec![1], value: vec![2] };
        let rows = [Ok(row), Err(Fault::Poisoned)];
        assert!(matches!(rebuild(&*dir, rows), Err(Fault::Poisoned)));
        assert!(!dir.names().unwrap().contains(&"store.redb".to_owned()));
    }
}
