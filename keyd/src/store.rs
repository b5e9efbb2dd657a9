//! The daemon's state, durable. [`Store::commit`] is the only way to change it, and takes a change together with its
//! audit record.
//!
//! Order of a commit: the change is made inside a transaction; whether its record may be written is asked of the
//! [`health`] of the store, of the [`space`] on the disk, and of the copies; its record is appended to the log and
//! synced; the log's new head goes into the same transaction; the transaction is committed and synced; the copies
//! follow. A crash at any point leaves either both or neither, and [`crate::audit::recover`] says which. After a
//! write error nothing on disk is trusted any more: the store refuses everything until the daemon is started again
//! (as databases do since the fsync findings of 2018), and [`crate::keeper`] ends it for that. Want of space is no
//! such error: it is seen before.

mod apps;
mod backend;
mod ballast;
mod care;
mod check;
mod create;
mod damage;
mod digest;
mod grants;
mod health;
mod indexes;
mod key_lists;
mod log_care;
mod mark;
mod mend;
mod meta;
mod names;
pub mod pages;
mod purged;
mod space;
mod spelling;
mod start;
mod tables;
mod txn;
mod upgrade;
mod view;
mod watch;
mod whole;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use redb::{Database, ReadableDatabase, WriteTransaction};

pub use apps::Apps;
pub use damage::Damage;
pub use grants::{Granted, Grants};
pub use health::Break;
pub use key_lists::KeyLists;
pub use log_care::{Archived, Reanchored, Verified};
pub use purged::Purged;
pub use spelling::Spelling;
pub use start::{AuditKeeping, open};
pub use txn::Txn;
pub use upgrade::upgrade;
pub use view::{Snapshot, View};
pub use whole::{Part, Row, Whole, rebuild};

use crate::{
    audit::{
        Begin, Class, Entry, Head,
        copies::{Anchor, Copies, CopyFile},
        judge, recover,
        writer::{Due, Lengths, Writer},
    },
    clock::{self, Clock, Source},
    error::{Failure, Fault, Refused},
    files::{Dir, is_full},
    limits::{AUDIT_KEPT_LEN, AUDIT_SEGMENT_LEN, AUDIT_STEP_LEN, BALLAST_LEN, BALLAST_PIECE_LEN},
    lock::lock,
    log,
    seal::Seal,
};
use backend::Backend;
use ballast::Ballast;
use digest::Digest;
use health::Health;
use mark::Mark;
use space::Full;
use tables::Opened;
use watch::Watch;

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Lengths of the audit log.
    pub log: Lengths,
    /// Length of the ballast, bytes.
    pub ballast: u64,
    /// What of it is given up at once, bytes: more than any administrator's commit writes anew.
    pub ballast_piece: u64,
    /// Where the time is read.
    pub time: Arc<dyn Source>,
}

impl Default for Options {
    fn default() -> Self {
        let (segment, step, kept) = (AUDIT_SEGMENT_LEN, AUDIT_STEP_LEN, AUDIT_KEPT_LEN);
        Self {
            log: Lengths { segment, step, kept },
            ballast: BALLAST_LEN,
            ballast_piece: BALLAST_PIECE_LEN,
            time: clock::system(),
        }
    }
}

/// The store and the audit log.
pub struct Store {
    dir: Arc<dyn Dir>,
    db: Database,
    backend: Backend,
    mark: Mark,
    ballast: Arc<Ballast>,
    seal: Arc<Seal>,
    watch: Watch,
    clock: Clock,
    /// Held from before the record is appended until the transaction is committed. Taken inside a transaction.
    writer: Mutex<Writer>,
    /// Of the committed state. Changed with the writer held.
    digest: Mutex<Digest>,
    damage: Mutex<Damage>,
    health: Mutex<Health>,
    full: Mutex<Option<Full>>,
    begin: Mutex<Begin>,
    /// Held by what reads or changes the log as a whole.
    care: Mutex<()>,
    copies: Copies,
    recovered: Option<String>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the store, makes it on the first start, judges every record in it, and brings the audit log to an end that
    /// fits. A log that does not fit, or that a copy outlives, is no error here: the store then answers questions and
    /// refuses to use keys. Neither is a record that is damaged: it is named, and refused by itself.
    ///
    /// # Errors
    /// [`Fault`]: the database or the log cannot be read or written; the copy is another log's.
    pub fn open(
        dir: Arc<dyn Dir>,
        seal: Seal,
        options: &Options,
        copy: Option<&CopyFile>,
    ) -> Result<Self, Fault> {
        let (whole, piece) = (options.ballast, options.ballast_piece);
        let ballast = Arc::new(Ballast::open(&*dir, whole, piece).map_err(Fault::StateFile)?);
        let seal = Arc::new(seal);
        let mark = Mark::open(&*dir).map_err(Fault::StateFile)?;
        let newest = mark.newest().map_err(Fault::StateFile)?;
        let create::Opened { db, backend, rebuilt } =
            create::database(&*dir, &ballast, &seal, newest)?;
        let watch = Watch::begin(dir.clone(), backend.clone()).map_err(Fault::StateFile)?;
        tables::prepare(&db, &seal)?;
        let snapshot = Snapshot::new(db.begin_read()?, seal.clone());
        let Opened { head: committed, digest } = tables::opened(&snapshot)?;
        let checked = check::snapshot(&snapshot)?;
        if checked.is_anothers() {
            return Err(Fault::OtherRoot);
        }
        let (begin, recorded, kept) = meta::read(&snapshot)?;
        drop(snapshot);
        let mut writer =
            Writer::open(dir.clone(), committed.clone(), options.log).map_err(Fault::AuditFile)?;
        let (health, plan) = match goes_further(copy, &committed)? {
            Some(anchor) => (outlived(&mut writer, &committed, anchor), None),
            None => {
                let assessed = assess(&mut writer, &begin, &committed, recorded)?;
                not_lost(&mut writer, assessed, committed.seq, newest)
            }
        };
        let clock = Clock::start(options.time.clone(), kept);
        let mut store = Self {
            dir,
            db,
            backend,
            mark,
            ballast,
            seal,
            watch,
            writer: Mutex::new(writer),
            digest: Mutex::new(digest.unwrap_or_default()),
            damage: Mutex::new(Damage::found(&checked, &clock)),
            clock,
            health: Mutex::new(health),
            full: Mutex::default(),
            begin: Mutex::new(begin),
            care: Mutex::default(),
            copies: Copies::default(),
            recovered: None,
        };
        if let Some(plan) = plan {
            store.recovered = store.recover(&plan)?;
            store.mend(&checked, rebuilt)?;
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
            lock(&self.writer).cut().map_err(Fault::AuditFile)?;
        }
        let Some(told) = plan.told() else {
            return Ok(None);
        };
        let entry = Entry::by_daemon(recover::OPERATION, "audit.log").detail(told.clone());
        let transaction = self.db.begin_write()?;
        self.write(&mut lock(&self.writer), transaction, &Digest::default(), entry)?;
        Ok(Some(told))
    }

    /// Makes a change and its audit record durable, together. The change sees the state inside the transaction, alone:
    /// what it checked still holds when it is committed. If it fails, nothing is changed and nothing recorded. The
    /// record's class says what of the disk and the log must be well.
    ///
    /// # Errors
    /// What `change` returns; [`Refused::AuditBroken`], [`Refused::StoreLost`], [`Refused::DiskFull`],
    /// [`Refused::AuditCopy`]; [`Fault`] of the database or the log.
    pub fn commit<T>(
        &self,
        change: impl FnOnce(&Txn<'_>) -> Result<(T, Entry), Failure>,
    ) -> Result<T, Failure> {
        self.note_space()?;
        let transaction = self.db.begin_write()?;
        // Dropped without a commit, a transaction is undone.
        let txn = Txn::new(&transaction, &self.seal);
        let (value, entry) = change(&txn)?;
        let changed = txn.into_change();
        self.finish(transaction, &changed, entry)?;
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
        change(&Txn::new(&self.db.begin_write()?, &self.seal))
    }

    /// Records something that changes no state.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn record(&self, entry: Entry) -> Result<(), Failure> {
        self.commit(|_| Ok(((), entry)))
    }

    fn finish(
        &self,
        transaction: WriteTransaction,
        changed: &Digest,
        entry: Entry,
    ) -> Result<(), Failure> {
        let class = entry.class;
        let mut writer = lock(&self.writer);
        self.look_quickly(&writer);
        self.allows(class)?;
        if !space::has_room(&self.ballast, &mut writer, class).map_err(Fault::AuditFile)? {
            space::refuse(&mut lock(&self.full));
            return Err(Refused::DiskFull.into());
        }
        if class == Class::Use {
            self.copies.ready()?;
        }
        self.write(&mut writer, transaction, changed, entry)?;
        let head = writer.head().clone();
        drop(writer);
        self.copies.follow(&head, class)
    }

    /// Writes a record and commits its transaction, which changes so much of the state's digest.
    fn write(
        &self,
        writer: &mut Writer,
        transaction: WriteTransaction,
        changed: &Digest,
        entry: Entry,
    ) -> Result<(), Fault> {
        let written = self.write_through(writer, transaction, changed, entry);
        if written.is_err() {
            *lock(&self.health) = Health::Poisoned;
        }
        written
    }

    fn write_through(
        &self,
        writer: &mut Writer,
        transaction: WriteTransaction,
        changed: &Digest,
        entry: Entry,
    ) -> Result<(), Fault> {
        self.leave_what_is_lost(writer);
        self.switch_if_due(writer)?;
        let class = entry.class;
        let (line, next) = writer.link(self.clock.now(), entry)?;
        self.ballast.spend(|| writer.append(&line)).map_err(Fault::AuditFile)?;
        let txn = Txn::new(&transaction, &self.seal);
        meta::put_time(&txn, self.clock.commit())?;
        let broken = match &*lock(&self.health) {
            Health::Broken(broken) if class == Class::Withdrawal => Some(broken.to_string()),
            _ => None,
        };
        if let Some(broken) = &broken {
            meta::put_break(&txn, broken)?;
        }
        let digest = lock(&self.digest).after(changed).after(&txn.into_change());
        tables::put_head(&transaction, &self.seal, &next, &digest)?;
        transaction.commit()?;
        self.mark.note(next.seq);
        *lock(&self.digest) = digest;
        writer.go_on_from(next);
        let mut health = lock(&self.health);
        if let (Some(broken), Health::Broken(Break::Taken(_))) = (broken, &*health) {
            // The chain goes on in another file: to put the lost one back does not undo that by itself.
            *health = Health::Broken(Break::Recorded(broken));
        }
        Ok(())
    }

    fn switch_if_due(&self, writer: &mut Writer) -> Result<(), Fault> {
        let switched = match writer.due() {
            Due::No => return Ok(()),
            Due::WhenPossible if self.is_without_directory() => return Ok(()),
            Due::WhenPossible => match writer.switch() {
                Err(error) if is_full(&error) => Ok(()),
                switched => switched,
            },
            Due::Now => self.ballast.spend(|| writer.switch()),
        };
        switched.map_err(Fault::AuditFile)
    }

    /// Writes down that there is space again, and what was refused without.
    fn note_space(&self) -> Result<(), Failure> {
        if lock(&self.full).is_none() || self.writable().is_err() {
            return Ok(());
        }
        let room = space::has_room(&self.ballast, &mut lock(&self.writer), Class::Use);
        if !room.map_err(Fault::AuditFile)? {
            return Ok(());
        }
        let Some(full) = lock(&self.full).take() else {
            return Ok(());
        };
        let detail = format!("since={} refused={}", clock::text(full.since), full.refused);
        log::line(format_args!("there is space again: {detail}"));
        let entry = Entry::by_daemon("disk-full", "store").outcome("over").detail(detail);
        let entry = entry.class(Class::Administration);
        self.finish(self.db.begin_write()?, &Digest::default(), entry)
    }

    /// The time that it goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Records that somebody says that the clock is right, and believes it.
    ///
    /// # Errors
    /// As [`Store::commit`]; then nothing is believed.
    pub fn confirm_clock(&self, entry: Entry) -> Result<(), Failure> {
        let before = self.clock.confirm();
        // With its record goes what is believed now.
        self.record(entry).inspect_err(|_| self.clock.doubt(before))
    }

    /// The state as of now, unmoved by later changes.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.well()?;
        Ok(Snapshot::new(self.db.begin_read()?, self.seal.clone()))
    }

    /// Whether anything can still be written, or read for what it is.
    ///
    /// # Errors
    /// [`Fault::Poisoned`], [`Fault::Changed`].
    pub fn well(&self) -> Result<(), Fault> {
        match &*lock(&self.health) {
            Health::Poisoned => Err(Fault::Poisoned),
            Health::Sound | Health::Broken(_) => self.backend.unchanged(),
        }
    }

    /// Whether uses of keys are possible as far as the log is concerned.
    ///
    /// # Errors
    /// [`Refused::AuditBroken`], [`Refused::StoreLost`], [`Fault::Poisoned`].
    pub fn writable(&self) -> Result<(), Failure> {
        self.allows(Class::Use)
    }

    fn allows(&self, class: Class) -> Result<(), Failure> {
        self.well()?;
        if class != Class::Withdrawal
            && let Some(lost) = self.lost()
        {
            return Err(lost.into());
        }
        lock(&self.health).allows(class)?;
        lock(&self.damage).allows(class)
    }
}

/// Where the copy ends, if that is behind the committed head.
fn goes_further(copy: Option<&CopyFile>, committed: &Head) -> Result<Option<Anchor>, Fault> {
    let Some(copy) = copy else {
        return Ok(None);
    };
    let anchor = copy.anchor()?.filter(|anchor| anchor.seq > committed.seq);
    if anchor.is_some() && copy.hash_of(committed.seq)?.is_some_and(|hash| hash != committed.hash) {
        return Err(copy.other(committed.seq).into());
    }
    Ok(anchor)
}

/// Store and log are old ones. What is recorded beside them goes on from the copy, in a segment of its own.
fn outlived(writer: &mut Writer, committed: &Head, copy: Anchor) -> Health {
    let (store, newest) = (committed.seq, copy.seq);
    writer.renew_from(Head { seq: copy.seq, hash: copy.hash, ..committed.clone() });
    Health::Broken(Break::OldStore { store, copy: newest })
}

/// A log that seems to end with a row that was not committed, where it was: the store has lost it.
fn not_lost(
    writer: &mut Writer,
    assessed: (Health, Option<recover::Plan>),
    store: u64,
    committed: u64,
) -> (Health, Option<recover::Plan>) {
    match assessed {
        (Health::Sound, Some(_)) if committed > store => {
            writer.renew_from(writer.head().clone());
            (Health::Broken(Break::LostCommit { store, committed }), None)
        }
        assessed => assessed,
    }
}

/// Reads the log, and says how it is and what is to be done about its end. A break that the log shows comes before one
/// that is on record.
fn assess(
    writer: &mut Writer,
    begin: &Begin,
    committed: &Head,
    recorded: Option<String>,
) -> Result<(Health, Option<recover::Plan>), Fault> {
    let segments = writer.segments().map_err(Fault::AuditFile)?;
    let judged = judge::judge(&segments, begin, committed).map_err(Fault::AuditFile)?;
    let plan = match judged.sound {
        Some(_) => recover::plan(&segments, writer.head()).map_err(Fault::AuditFile)?.map(Some),
        None => Ok(None),
    };
    let mut finding = judged.finding;
    let plan = match plan {
        Ok(Some(plan)) => {
            writer.go_on_from(plan.head.clone());
            Some(plan)
        }
        Ok(None) => None,
        Err(surplus) => {
            finding = finding.or(Some(surplus));
            None
        }
    };
    if plan.is_none() {
        writer.renew_from(writer.head().clone());
    }
    let health = match (finding, recorded) {
        (Some(finding), _) => Health::Broken(Break::Found(finding)),
        (None, Some(text)) => Health::Broken(Break::Recorded(text)),
        (None, None) => Health::Sound,
    };
    Ok((health, plan))
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod testing;
