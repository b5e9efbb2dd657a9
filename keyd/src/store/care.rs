//! The store as a whole: looked at again, while it is used.

use super::{
    Damage, Store,
    check::{self, Checker},
    pages,
};
use crate::{error::Fault, files::FileId, lock::lock};

impl Store {
    /// Checks every record and the digest of the state, and whether every page of the file is on the disk what was
    /// written there: memory may hold what the disk has lost. What is found is remembered.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn check(&self) -> Result<Damage, Fault> {
        let snapshot = self.snapshot()?;
        let mut damage = Damage::found(&check::snapshot(&snapshot)?, &self.clock);
        drop(snapshot);
        damage.names.extend(self.rotten()?);
        let mut known = lock(&self.damage);
        damage.mended.clone_from(&known.mended);
        damage.deks.clone_from(&known.deks);
        *known = damage.clone();
        Ok(damage)
    }

    /// Device and inode of the state directory.
    ///
    /// # Errors
    /// [`Fault::StateFile`].
    pub fn identity(&self) -> Result<FileId, Fault> {
        self.dir.identity().map_err(Fault::StateFile)
    }

    /// Remembers disks whose DEK does not open, or is another.
    pub fn note_deks(&self, names: Vec<String>) {
        lock(&self.damage).deks = names;
    }

    /// What of the file on the disk is not what was written there.
    fn rotten(&self) -> Result<Vec<String>, Fault> {
        let pages = self.backend.scrub().map_err(Fault::StateFile)?;
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        // Nobody commits meanwhile: the file is of one moment.
        let transaction = self.db.begin_write()?;
        let rows = pages::newest(self.backend.file(), &self.seal, 0).map_err(Fault::StateFile)?;
        let digest = lock(&self.digest).clone();
        drop(transaction);
        let of_records = rows.map(|rows| {
            let mut checker = Checker::new(&self.seal);
            rows.iter().for_each(|row| checker.take(&row.table, &row.key, &row.value));
            checker.end(Some(&digest)).told()
        });
        let told = match of_records {
            None => vec!["the whole state".to_owned()],
            Some(names) if names.is_empty() => {
                vec![format!("{} pages without a record", pages.len())]
            }
            Some(names) => names,
        };
        Ok(told
            .into_iter()
            .map(|name| format!("{name} (on the disk; in memory it is sound)"))
            .collect())
    }
}
