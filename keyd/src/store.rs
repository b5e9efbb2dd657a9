//! The daemon's state, durable. [`Store::commit`] is the only way to change it, and takes a change together with its
//! audit record.
//!
//! Order of a commit: the change is made inside a transaction; its record is appended to the log and synced; the log's
//! new head goes into the same transaction; the transaction is committed and synced. A crash at any point leaves either
//! both or neither, and [`crate::audit::recover`] says which. After a write error nothing on disk is trusted any more:
//! the store refuses everything until the daemon is started again (as databases do since the fsync findings of 2018).

mod apps;
mod create;
mod key_lists;
mod tables;
mod txn;
mod view;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use redb::{Database, ReadableDatabase, WriteTransaction};

pub use apps::Apps;
pub use create::database;
pub use key_lists::KeyLists;
pub use txn::Txn;
pub use view::{Snapshot, View};

use crate::{
    audit::{Entry, Finding, Head, chain, file::LogFile, recover, tail, verify},
    clock,
    error::{Failure, Fault, Refused},
    lock::lock,
};
use keyd_client::message::AuditRecord;

/// The store and the audit log.
pub struct Store {
    db: Database,
    log: Arc<dyn LogFile>,
    /// Held from before the record is appended until the transaction is committed.
    head: Mutex<Head>,
    health: Mutex<Health>,
    recovered: Option<String>,
}

#[derive(Clone)]
enum Health {
    Sound,
    /// A write failed.
    Poisoned,
    /// The audit log is not what was written.
    Broken(Finding),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the store, makes its tables on the first start, and brings the audit log to an end that fits. A log that
    /// does not fit is no error here: the store then answers questions and refuses every change.
    ///
    /// # Errors
    /// [`Fault`]: the database or the log cannot be read or written.
    pub fn open(db: Database, log: Arc<dyn LogFile>) -> Result<Self, Fault> {
        let committed = tables::prepare(&db)?;
        let plan = recover::plan(&*log, &committed).map_err(Fault::AuditFile)?;
        let (head, health) = match &plan {
            Ok(plan) => (plan.head.clone(), Health::Sound),
            Err(finding) => (committed, Health::Broken(finding.clone())),
        };
        let (head, health) = (Mutex::new(head), Mutex::new(health));
        let mut store = Self { db, log, head, health, recovered: None };
        if let Ok(plan) = plan {
            store.recovered = store.recover(&plan)?;
        }
        Ok(store)
    }

    /// What a crash left in the audit log, and was mended and recorded on opening.
    #[must_use]
    pub fn recovered(&self) -> Option<&str> {
        self.recovered.as_deref()
    }

    fn recover(&self, plan: &recover::Plan) -> Result<Option<String>, Fault> {
        if plan.torn > 0 {
            self.log.cut(plan.head.len).map_err(Fault::AuditFile)?;
            self.log.sync().map_err(Fault::AuditFile)?;
        }
        let torn = (plan.torn > 0).then(|| format!("a torn line of {} bytes was cut", plan.torn));
        let without_effect = plan
            .without_effect
            .map(|(from, to)| format!("not committed: seq {from} to {to} had no effect"));
        let told: Vec<String> = [torn, without_effect].into_iter().flatten().collect();
        if told.is_empty() {
            return Ok(None);
        }
        let detail = told.join("; ");
        let entry = Entry::by_daemon(recover::OPERATION, "audit.log").detail(detail.clone());
        self.finish(self.db.begin_write()?, entry)?;
        Ok(Some(detail))
    }

    /// Makes a change and its audit record durable, together. The change sees the state inside the transaction, alone:
    /// what it checked still holds when it is committed. If it fails, nothing is changed and nothing recorded.
    ///
    /// # Errors
    /// What `change` returns; [`Refused::AuditBroken`]; [`Fault`] of the database or the log.
    pub fn commit<T>(
        &self,
        change: impl FnOnce(&Txn<'_>) -> Result<(T, Entry), Failure>,
    ) -> Result<T, Failure> {
        let transaction = self.db.begin_write()?;
        self.writable()?;
        // Dropped without a commit, a transaction is undone.
        let (value, entry) = change(&Txn::new(&transaction))?;
        self.finish(transaction, entry)?;
        Ok(value)
    }

    /// Makes a change and drops it: what would follow is seen, nothing happens.
    ///
    /// # Errors
    /// What `change` returns; [`Fault`] of the database.
    pub fn rehearse<T>(
        &self,
        change: impl FnOnce(&Txn<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        change(&Txn::new(&self.db.begin_write()?))
    }

    /// Records something that changes no state.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn record(&self, entry: Entry) -> Result<(), Failure> {
        self.commit(|_| Ok(((), entry)))
    }

    fn finish(&self, transaction: WriteTransaction, entry: Entry) -> Result<(), Fault> {
        let mut head = lock(&self.head);
        let (line, next) = chain::link(&head, clock::now(), entry)?;
        let written = self.write(transaction, &head, &line, &next);
        match &written {
            Ok(()) => *head = next,
            Err(_) => *lock(&self.health) = Health::Poisoned,
        }
        written
    }

    fn write(
        &self,
        transaction: WriteTransaction,
        head: &Head,
        line: &[u8],
        next: &Head,
    ) -> Result<(), Fault> {
        self.log
            .write_at(head.len, line)
            .and_then(|()| self.log.sync())
            .map_err(Fault::AuditFile)?;
        tables::put_head(&transaction, next)?;
        Ok(transaction.commit()?)
    }

    /// The state as of now, unmoved by later changes.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn snapshot(&self) -> Result<Snapshot, Fault> {
        match &*lock(&self.health) {
            Health::Poisoned => Err(Fault::Poisoned),
            Health::Sound | Health::Broken(_) => Ok(Snapshot::new(self.db.begin_read()?)),
        }
    }

    /// Whether changes, and so uses of keys, are possible.
    ///
    /// # Errors
    /// [`Refused::AuditBroken`], [`Fault::Poisoned`].
    pub fn writable(&self) -> Result<(), Failure> {
        match &*lock(&self.health) {
            Health::Sound => Ok(()),
            Health::Poisoned => Err(Fault::Poisoned.into()),
            Health::Broken(finding) => Err(Refused::AuditBroken(finding.clone()).into()),
        }
    }

    /// Follows the whole chain. A bad finding makes the store refuse changes from now on.
    ///
    /// # Errors
    /// [`Refused::AuditBroken`] with the first bad row; [`Fault::AuditFile`].
    pub fn verify_audit(&self) -> Result<Head, Failure> {
        let head = lock(&self.head).clone();
        let judged = verify::verify(&*self.log, &head).map_err(Fault::AuditFile)?;
        if let Err(finding) = judged {
            *lock(&self.health) = Health::Broken(finding);
        }
        // A finding of the start stays one.
        self.writable()?;
        Ok(head)
    }

    /// The newest audit records, oldest first.
    ///
    /// # Errors
    /// [`Fault::AuditFile`].
    pub fn tail_audit(&self, count: usize) -> Result<Vec<AuditRecord>, Fault> {
        let end = match &*lock(&self.health) {
            Health::Broken(_) => self.log.end().map_err(Fault::AuditFile)?,
            Health::Sound | Health::Poisoned => lock(&self.head).len,
        };
        tail::tail(&*self.log, end, count).map_err(Fault::AuditFile)
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod testing;
