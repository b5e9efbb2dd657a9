//! Makes good what the records that are sound tell how to: rows of indexes, and tags that alone are damaged. And
//! accepts what cannot be made good.

use std::collections::BTreeSet;

use redb::{ReadableTable, TableHandle, WriteTransaction};

use super::{
    Damage, Store, Txn,
    check::{self, Checked},
    digest::{Digest, Tally},
    indexes::{self, Row},
    names::named,
    tables::{self, INDEXES, Table},
};
use crate::{
    audit::{Class, Entry},
    error::{Failure, Fault, Refused},
    lock::lock,
    log,
    seal::{Seal, TAG_LEN},
};

impl Store {
    /// Mends what can be mended; the rest stays damaged and named. At the start, before anybody asks for anything.
    pub(super) fn mend(&self, checked: &Checked, rebuilt: Option<String>) -> Result<(), Fault> {
        let touched = INDEXES.iter().filter(|index| checked.touches(index.name()));
        let touched: Vec<Table> = touched.copied().collect();
        let nothing = touched.is_empty() && checked.healed.is_empty() && rebuilt.is_none();
        if checked.undigested || nothing {
            return Ok(());
        }
        let transaction = self.db.begin_write()?;
        for (table, key) in &checked.healed {
            heal(&transaction, &self.seal, table, key)?;
        }
        let mut digest = lock(&self.digest).clone();
        let rows = indexes::of_all(&Txn::new(&transaction, &self.seal))?;
        // Rows of an index that belong to a record that cannot be read are kept: they are all that is known of it.
        let all = !checked.damaged.iter().any(|(table, _)| !is_index(table))
            && !checked.unlike.keys().any(|table| !is_index(table));
        for table in &touched {
            let wanted: Vec<&Row> =
                rows.iter().filter(|row| row.table.name() == table.name()).collect();
            digest.set(table.name(), remake(&transaction, &self.seal, *table, &wanted, all)?);
        }
        *lock(&self.digest) = digest;
        let mut done: Vec<String> = rebuilt.into_iter().collect();
        done.extend(
            checked.healed.iter().map(|(table, key)| format!("the tag of {}", named(table, key))),
        );
        done.extend(touched.iter().map(|table| format!("the index '{}'", table.name())));
        let detail = done.join("; ");
        let entry = Entry::by_daemon("store-mend", "store").class(Class::Administration);
        self.write(
            &mut lock(&self.writer),
            transaction,
            &Digest::default(),
            entry.detail(detail.clone()),
        )?;
        log::line(format_args!("the store was damaged, and mended: {detail}"));
        let checked = check::snapshot(&self.snapshot()?)?;
        *lock(&self.damage) =
            Damage { mended: Some(detail), ..Damage::found(&checked, &self.clock) };
        Ok(())
    }

    /// Accepts the store as it is: what is damaged is removed, what is missing or old stays so. Says what was given
    /// up.
    ///
    /// # Errors
    /// [`Refused::NothingDamaged`]; [`Refused::AuditBroken`]; [`Fault`].
    pub fn accept_damage(&self, entry: Entry) -> Result<Vec<String>, Failure> {
        lock(&self.health).allows(Class::Administration)?;
        let transaction = self.db.begin_write()?;
        let checked = check::snapshot(&self.snapshot()?)?;
        if checked.is_whole() {
            return Err(Refused::NothingDamaged.into());
        }
        for (table, key) in &checked.damaged {
            transaction.open_table(tables::named(table))?.remove(key.as_slice())?;
        }
        let rows = indexes::of_all(&Txn::new(&transaction, &self.seal))?;
        for table in INDEXES {
            let wanted: Vec<&Row> =
                rows.iter().filter(|row| row.table.name() == table.name()).collect();
            remake(&transaction, &self.seal, table, &wanted, true)?;
        }
        let digest = recount(&transaction, &self.seal)?;
        let names = checked.told();
        let detail = format!("given up: {}", names.join(", "));
        let mut writer = lock(&self.writer);
        *lock(&self.digest) = digest;
        let entry = entry.class(Class::Administration).detail(detail);
        self.write(&mut writer, transaction, &Digest::default(), entry)?;
        let head = writer.head().clone();
        let rows = checked.rows;
        *lock(&self.damage) = Damage { rows, ..Damage::found(&Checked::default(), &self.clock) };
        drop(writer);
        self.copies.follow(&head, Class::Administration)?;
        Ok(names)
    }
}

fn is_index(table: &str) -> bool {
    INDEXES.iter().any(|index| index.name() == table)
}

/// Gives a value that was seen to be right its tag again.
fn heal(transaction: &WriteTransaction, seal: &Seal, table: &str, key: &[u8]) -> Result<(), Fault> {
    let mut rows = transaction.open_table(tables::named(table))?;
    let stored = rows.get(key)?.map(|stored| stored.value().to_vec());
    if let Some(value) = stored.as_deref().and_then(|stored| stored.get(TAG_LEN..)) {
        rows.insert(key, seal.seal(table, key, value).as_slice())?;
    }
    Ok(())
}

/// Gives an index the rows that it should have, and takes away damaged ones; `all` others too, if so.
fn remake(
    transaction: &WriteTransaction,
    seal: &Seal,
    table: Table,
    wanted: &[&Row],
    all: bool,
) -> Result<Tally, Fault> {
    let name = table.name();
    let keys: BTreeSet<&[u8]> = wanted.iter().map(|row| row.key.as_slice()).collect();
    let mut rows = transaction.open_table(table)?;
    rows.retain(|key, stored| match seal.open(name, key, stored) {
        Some(_) => !all || keys.contains(key),
        None => false,
    })?;
    for row in wanted {
        let stored = seal.seal(name, &row.key, &row.value);
        rows.insert(row.key.as_slice(), stored.as_slice())?;
    }
    tally(&rows, seal, name)
}

fn tally(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    seal: &Seal,
    name: &str,
) -> Result<Tally, Fault> {
    let mut digest = Digest::default();
    for row in rows.iter()? {
        let (key, stored) = row?;
        if !tables::is_bare(name, key.value()) {
            digest.add(name, seal.term(stored.value()));
        }
    }
    Ok(digest.of(name))
}

/// The digest of what is there.
fn recount(transaction: &WriteTransaction, seal: &Seal) -> Result<Digest, Fault> {
    let mut digest = Digest::default();
    for handle in transaction.list_tables()?.collect::<Vec<_>>() {
        let rows = transaction.open_table(tables::named(handle.name()))?;
        digest.set(handle.name(), tally(&rows, seal, handle.name())?);
    }
    Ok(digest)
}
