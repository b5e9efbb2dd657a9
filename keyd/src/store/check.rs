//! Whether a store's rows are those that were committed: each by its tag, each table by its tally.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadTransaction, TableHandle};

use super::{
    Snapshot,
    digest::{Digest, Tally},
    names::named,
    tables::{self, DISKS, INDEXES, Opened},
};
use crate::{
    error::Fault,
    seal::{Seal, TAG_LEN},
};

/// A row by its table and key.
pub(super) type Place = (String, Vec<u8>);

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Rows that are not what was written there.
    pub(super) damaged: BTreeSet<Place>,
    /// Of these, such whose value is right: their tag alone is damaged.
    pub(super) healed: BTreeSet<Place>,
    /// Tables that have other rows than were committed, with the number of those that are missing; less than none if
    /// there are too many.
    pub(super) unlike: BTreeMap<String, i64>,
    /// Whether the digest that all this is checked by could not be opened.
    pub(super) undigested: bool,
    /// What is there.
    pub(super) rows: u64,
    /// Rows with the tag that is theirs.
    sound: u64,
}

impl Checked {
    pub(super) fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.unlike.is_empty() && !self.undigested
    }

    /// Whether nothing in it was written under this root key: then it is not the store that is wrong.
    pub(super) fn is_anothers(&self) -> bool {
        self.undigested && self.sound == 0
    }

    /// What is damaged, or gone, in words.
    pub(super) fn told(&self) -> Vec<String> {
        let rows = self.damaged.iter().map(|(table, key)| named(table, key));
        let tables = self.unlike.iter().map(|(table, missing)| match missing {
            1.. => format!("{missing} rows are missing in '{table}'"),
            0 => format!("rows in '{table}' are older than they should be"),
            _ => format!("{} rows too many are in '{table}'", missing.unsigned_abs()),
        });
        let digest = self.undigested.then(|| "the digest of the state".to_owned());
        rows.chain(tables).chain(digest).collect()
    }

    /// Why no key is used any more, if so. Rows that are damaged by themselves are refused one by one; disks that are
    /// gone are gone. But where other rows may be older than they should be, a key that was taken away may be back.
    pub(super) fn distrusted(&self) -> Option<String> {
        let table = self.unlike.keys().find(|table| {
            *table != DISKS.name() && !INDEXES.iter().any(|index| index.name() == *table)
        });
        match table {
            _ if self.undigested => Some("the digest of the state cannot be opened".to_owned()),
            Some(table) => Some(format!("the table '{table}' has other rows than were committed")),
            None => None,
        }
    }

    /// Whether a table has rows that are not what they should be.
    pub(super) fn touches(&self, table: &str) -> bool {
        self.unlike.contains_key(table) || self.damaged.iter().any(|(of, _)| of == table)
    }
}

/// Judges a snapshot.
pub(super) fn snapshot(snapshot: &Snapshot) -> Result<Checked, Fault> {
    let Opened { digest, .. } = tables::opened(snapshot)?;
    let mut checker = Checker::new(snapshot.seal());
    each_row(snapshot.transaction(), |table, key, stored| {
        checker.take(table, key, stored);
        Ok::<_, Fault>(())
    })?;
    Ok(checker.end(digest.as_ref()))
}

/// Every row of every table, in order.
pub(super) fn each_row<E: From<Fault>>(
    transaction: &ReadTransaction,
    mut take: impl FnMut(&str, &[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for handle in transaction.list_tables().map_err(Fault::from)? {
        let name = handle.name();
        let table = transaction.open_table(tables::named(name)).map_err(Fault::from)?;
        for row in redb::ReadableTable::iter(&table).map_err(Fault::from)? {
            let (key, stored) = row.map_err(Fault::from)?;
            take(name, key.value(), stored.value())?;
        }
    }
    Ok(())
}

/// Takes rows one by one, wherever they come from.
pub(super) struct Checker<'a> {
    seal: &'a Seal,
    found: Digest,
    /// With their stored and their recomputed form.
    damaged: BTreeMap<Place, [Vec<u8>; 2]>,
    rows: u64,
    sound: u64,
}

impl<'a> Checker<'a> {
    pub(super) fn new(seal: &'a Seal) -> Self {
        Self { seal, found: Digest::default(), damaged: BTreeMap::new(), rows: 0, sound: 0 }
    }

    pub(super) fn take(&mut self, table: &str, key: &[u8], stored: &[u8]) {
        self.rows += 1;
        if tables::is_bare(table, key) {
            return;
        }
        self.found.add(table, self.seal.term(stored));
        if self.seal.open(table, key, stored).is_none() {
            let value = stored.get(TAG_LEN..).unwrap_or_default();
            let right = self.seal.seal(table, key, value);
            self.damaged.insert((table.to_owned(), key.to_vec()), [stored.to_vec(), right]);
        } else {
            self.sound += 1;
        }
    }

    /// Compares what was taken with what there should be.
    pub(super) fn end(self, digest: Option<&Digest>) -> Checked {
        let mut checked = Checked { rows: self.rows, sound: self.sound, ..Checked::default() };
        let Some(digest) = digest else {
            checked.undigested = true;
            checked.damaged = self.damaged.into_keys().collect();
            return checked;
        };
        let tables: BTreeSet<&str> = digest.tables().chain(self.found.tables()).collect();
        for table in tables {
            let (wanted, found) = (digest.of(table), self.found.of(table));
            if wanted == found {
                continue;
            }
            match self.only_a_tag(table, wanted, found) {
                Some(place) => drop(checked.healed.insert(place)),
                None => {
                    let missing = wanted.rows.wrapping_sub(found.rows).cast_signed();
                    checked.unlike.insert(table.to_owned(), missing);
                }
            }
        }
        checked.damaged = self.damaged.into_keys().collect();
        checked
    }

    /// The one row whose tag is damaged and whose value is not, if with its right tag the table is what it should be.
    fn only_a_tag(&self, table: &str, wanted: Tally, found: Tally) -> Option<Place> {
        let mut of = self.damaged.iter().filter(|((of, _), _)| of == table);
        let (place, [stored, right]) = of.next().filter(|_| wanted.rows == found.rows)?;
        let sum = found.sum.minus(self.seal.term(stored).into()).plus(self.seal.term(right).into());
        (of.next().is_none() && sum == wanted.sum).then(|| place.clone())
    }
}
