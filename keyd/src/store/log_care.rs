//! The audit log as a whole: read, checked, taken elsewhere in part, begun anew after a break.

use super::{Break, Health, Store, Txn, meta, space};
use crate::{
    audit::{
        Begin, Class, Entry, Head, archive,
        judge::{self, beginning},
        segments::Segment,
        tail,
        writer::{Due, Writer},
    },
    error::{Failure, Fault, Refused},
    files::Dir,
    lock::lock,
    log,
};
use keyd_client::message::{AuditRecord, AuditStatus};

/// A log that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its first row.
    pub begin: u64,
    /// Its end.
    pub head: Head,
}

/// Segments that were taken elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// How many files.
    pub files: usize,
    /// The log's first row from now on.
    pub begin: u64,
}

/// A chain that was begun anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reanchored {
    /// The break that was accepted.
    pub accepted: String,
    /// The log's first row from now on.
    pub begin: u64,
    /// Files that are not part of it any more.
    pub sealed: usize,
    /// SHA-256 of them, one after the other.
    pub sha256: String,
}

impl Store {
    /// Follows the whole chain. A bad finding makes the store refuse uses of keys from now on.
    ///
    /// # Errors
    /// [`Refused::AuditBroken`] with the first bad row; [`Fault::AuditFile`].
    pub fn verify_audit(&self) -> Result<Verified, Failure> {
        let _alone = lock(&self.care);
        self.verified()
    }

    fn verified(&self) -> Result<Verified, Failure> {
        let begin = lock(&self.begin).clone();
        let (segments, head) = {
            let writer = lock(&self.writer);
            // What is read by its descriptor from here on is what its name leads to.
            self.look_quickly(&writer);
            self.look_at_log(&writer);
            // A finding stays one, until the daemon reads the log anew or its break is accepted.
            self.writable()?;
            (writer.segments().map_err(Fault::AuditFile)?, writer.head().clone())
        };
        let judged = judge::judge(&segments, &begin, &head).map_err(Fault::AuditFile)?;
        if let Some(finding) = judged.finding {
            let mut writer = lock(&self.writer);
            *lock(&self.health) = Health::Broken(Break::Found(finding));
            if judged.sound.is_none() {
                let head = writer.head().clone();
                writer.renew_from(head);
            }
        }
        self.writable()?;
        self.copies.ready()?;
        Ok(Verified { begin: begin.seq, head })
    }

    /// The newest audit records, oldest first.
    ///
    /// # Errors
    /// [`Fault::AuditFile`].
    pub fn tail_audit(&self, count: usize) -> Result<Vec<AuditRecord>, Fault> {
        let broken = matches!(&*lock(&self.health), Health::Broken(_));
        let (segments, end) = {
            let writer = lock(&self.writer);
            (writer.segments().map_err(Fault::AuditFile)?, writer.head().len)
        };
        // Of a broken log all is shown that is there.
        let end = if broken { u64::MAX } else { end };
        tail::tail(&segments, end, count).map_err(Fault::AuditFile)
    }

    /// How the log is kept, and whether there is space for it.
    #[must_use]
    pub fn audit_status(&self) -> AuditStatus {
        let broken = lock(&self.health).allows(Class::Use).err().map(|why| why.to_string());
        let full = *lock(&self.full);
        let (newest, log_ahead) = {
            let writer = lock(&self.writer);
            (writer.head().seq, writer.ahead())
        };
        AuditStatus {
            first: lock(&self.begin).seq,
            newest,
            broken,
            full_since: full.map(|full| full.since),
            refused: full.map_or(0, |full| full.refused),
            ballast: self.ballast.left(),
            log_ahead,
            copies: self.copies.status(),
        }
    }

    /// Takes segments whose rows all come before `before` to another directory, and has the chain begin behind them.
    /// The one that grows is closed if it is among them. Files of the log's form that are no part of it any more go
    /// along. The record is `entry` with a detail.
    ///
    /// # Errors
    /// [`Refused::AuditBroken`], [`Refused::NothingToArchive`], [`Refused::NotCopied`], [`Refused::ArchiveHere`],
    /// [`Refused::Archive`]; as [`Store::commit`].
    pub fn archive_audit(
        &self,
        before: u64,
        to: &dyn Dir,
        entry: Entry,
    ) -> Result<Archived, Failure> {
        let _alone = lock(&self.care);
        let Verified { head, .. } = self.verified()?;
        let here = self.dir.identity().map_err(Fault::AuditFile)?;
        if to.identity().map_err(Refused::Archive)? == here {
            return Err(Refused::ArchiveHere.into());
        }
        let (segments, head) = {
            let mut writer = lock(&self.writer);
            if before > head.seq {
                self.close_current(&mut writer)?;
            }
            (writer.segments().map_err(Fault::AuditFile)?, writer.head().clone())
        };
        let all = segments.holding(0);
        let moved = all.windows(2).take_while(|pair| pair[1].first <= before).count();
        let (moved, kept) = all.split_at(moved);
        let Some(kept) = kept.first().filter(|_| !moved.is_empty()) else {
            return Err(Refused::NothingToArchive(before).into());
        };
        self.copies.have(kept.first - 1)?;
        for segment in moved {
            if let Some(file) = segments.file(*segment).map_err(Fault::AuditFile)? {
                archive::copy(&file, to, &segment.name()).map_err(Refused::Archive)?;
            }
        }
        let old = lock(&self.begin).clone();
        let begin = match beginning(&segments, *kept, &head).map_err(Fault::AuditFile)? {
            Some(begin) if begin.seq > old.seq => begin,
            _ => old.clone(),
        };
        let transaction = self.db.begin_write()?;
        let txn = Txn::new(&transaction, &self.seal);
        meta::put_begin(&txn, &begin)?;
        let changed = txn.into_change();
        let detail =
            format!("files={} rows={} to {}", moved.len(), old.seq, begin.seq.saturating_sub(1));
        let entry = entry.class(Class::Administration).detail(detail);
        self.finish(transaction, &changed, entry)?;
        *lock(&self.begin) = begin.clone();
        self.remove(moved);
        Ok(Archived { files: moved.len(), begin: begin.seq })
    }

    /// Closes the file that grows, if it has a row, although it is not long enough. A crash behind it is like one that
    /// interrupts any other change of files.
    fn close_current(&self, writer: &mut Writer) -> Result<(), Fault> {
        if writer.head().segment > writer.head().seq {
            return Ok(());
        }
        self.ballast.spend(|| writer.switch()).map_err(Fault::AuditFile)
    }

    /// They are no part of the log any more: one that stays is taken along the next time.
    fn remove(&self, segments: &[Segment]) {
        let removed = segments.iter().try_for_each(|segment| self.dir.remove(&segment.name()));
        if let Err(error) = removed.and_then(|()| self.dir.sync()) {
            log::line(format_args!("an archived segment stays in the state directory: {error}"));
        }
    }

    /// Accepts a break: the chain begins with the first segment from which on all is whole, or with the record of this
    /// in a segment of its own. What came before stays where it is, and its hash goes into the record.
    ///
    /// # Errors
    /// [`Refused::NothingBroken`], [`Refused::StoreLost`], [`Refused::DiskFull`]; [`Fault`].
    pub fn reanchor_audit(&self, entry: Entry) -> Result<Reanchored, Failure> {
        let _alone = lock(&self.care);
        if let Some(lost) = self.lost() {
            return Err(lost.into());
        }
        let Health::Broken(broken) = lock(&self.health).clone() else {
            return Err(Refused::NothingBroken.into());
        };
        let transaction = self.db.begin_write()?;
        let mut writer = lock(&self.writer);
        self.leave_what_is_lost(&mut writer);
        let class = Class::Administration;
        if !space::has_room(&self.ballast, &mut writer, class).map_err(Fault::AuditFile)? {
            return Err(Refused::DiskFull.into());
        }
        let (begin, done) = self.sealing(&writer, &broken)?;
        let detail = format!(
            "{}; begins at row {}; sealed files={} sha256={}",
            done.accepted, done.begin, done.sealed, done.sha256
        );
        let txn = Txn::new(&transaction, &self.seal);
        meta::put_begin(&txn, &begin)?;
        meta::clear_break(&txn)?;
        let changed = txn.into_change();
        self.write(&mut writer, transaction, &changed, entry.class(class).detail(detail))?;
        *lock(&self.begin) = begin;
        *lock(&self.health) = Health::Sound;
        let head = writer.head().clone();
        drop(writer);
        self.copies.follow(&head, class)?;
        Ok(done)
    }

    /// Where the chain is to begin, and what is left behind.
    fn sealing(&self, writer: &Writer, broken: &Break) -> Result<(Begin, Reanchored), Fault> {
        let old = lock(&self.begin).clone();
        let head = writer.head();
        let segments = writer.segments().map_err(Fault::AuditFile)?;
        let judged = judge::judge(&segments, &old, head).map_err(Fault::AuditFile)?;
        let begin = match judged.sound {
            Some(begin) if writer.due() != Due::Now => begin,
            _ => Begin { seq: head.seq + 1, previous: head.hash.clone() },
        };
        let sealed: Vec<Segment> = segments
            .beginning_at(old.seq)
            .into_iter()
            .filter(|segment| segment.first < begin.seq)
            .collect();
        let (files, sha256) = archive::fingerprint(&segments, &sealed).map_err(Fault::AuditFile)?;
        let (accepted, first) = (broken.to_string(), begin.seq);
        Ok((begin, Reanchored { accepted, begin: first, sealed: files, sha256 }))
    }
}
