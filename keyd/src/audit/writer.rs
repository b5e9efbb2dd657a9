//! The end of the log, where it grows: one file, whose next blocks are reserved before they are needed, and which is
//! closed when it is long enough.
//!
//! Closing is done in an order in which a crash leaves one of three states, each of which [`Writer::open`] goes on
//! from: the next file is made and durable under [`UNFINISHED`]; the current one is renamed; the next one takes its
//! name. The committed head names the segment by its first row, so a closed file of that name says that the renaming
//! was under way.

use std::{io, sync::Arc};

use keyd_client::message::UnixMillis;

use super::{
    Entry, Head, chain,
    segments::{self, CURRENT, Segments, UNFINISHED, closed_name},
};
use crate::{
    files::{Dir, FileAt, FileId, Found, Loss},
    limits::AUDIT_LINE_MAX,
};

/// Lengths of the log, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// A segment of this length is closed.
    pub segment: u64,
    /// Blocks are reserved in steps of this.
    pub step: u64,
    /// What of the reserved blocks uses of keys leave to administrators.
    pub kept: u64,
}

/// The growing end.
pub struct Writer {
    dir: Arc<dyn Dir>,
    file: Arc<dyn FileAt>,
    id: FileId,
    lengths: Lengths,
    /// Number of the current file's first row, or of the row it waits for.
    first: u64,
    head: Head,
    /// So many of the file's bytes need no more space.
    reserved: u64,
    /// Whether the file system can reserve at all.
    reserves: bool,
    /// The next row begins a segment, whatever the length: what this one holds is not to be touched.
    renew: bool,
}

impl Writer {
    /// Opens the end of a log with this committed head, and brings a change of files that a crash interrupted to its
    /// end. An absent log is begun.
    ///
    /// # Errors
    /// The system's.
    pub fn open(dir: Arc<dyn Dir>, committed: Head, lengths: Lengths) -> io::Result<Self> {
        let file = match dir.open(CURRENT)? {
            Some(file) => {
                if dir.open(UNFINISHED)?.is_some() {
                    dir.remove(UNFINISHED)?;
                }
                file
            }
            None => begin(&*dir)?,
        };
        let closing = segments::closed(&*dir)?.contains(&committed.segment);
        let head = if closing { committed.in_new_segment() } else { committed };
        let (first, reserved, reserves, renew) = (head.segment, 0, true, false);
        let id = file.look()?.id;
        Ok(Self { dir, file, id, lengths, first, head, reserved, reserves, renew })
    }

    /// How the current file was taken away, or changed by somebody else; none if it was not, or is not written any
    /// more.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        let open = Found { id: self.id, len: self.head.len };
        if self.renew { None } else { Loss::of_whole(CURRENT, open, &self.dir.look(CURRENT)) }
    }

    /// Where the log ends.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The log's files as they are now.
    ///
    /// # Errors
    /// The system's.
    pub fn segments(&self) -> io::Result<Segments> {
        Segments::list(self.dir.clone(), self.first, self.file.clone())
    }

    /// Goes on from this head, in the current file.
    pub fn go_on_from(&mut self, head: Head) {
        self.head = head;
    }

    /// Goes on from this head in a new file; the current one stays as it is.
    pub fn renew_from(&mut self, head: Head) {
        self.head = head;
        self.renew = true;
    }

    /// Cuts what is behind the head.
    ///
    /// # Errors
    /// The system's.
    pub fn cut(&mut self) -> io::Result<()> {
        self.reserved = 0;
        self.file.resize(self.head.len)?;
        self.file.sync()
    }

    /// Bytes that can be written before more space is needed; none if the file system reserves nothing.
    #[must_use]
    pub fn ahead(&self) -> Option<u64> {
        self.reserves.then(|| self.reserved.saturating_sub(self.head.len))
    }

    /// Reserves blocks for another line and what is kept.
    ///
    /// # Errors
    /// The system's, [`crate::files::is_full`] among them.
    pub fn ordinary_room(&mut self) -> io::Result<()> {
        let needed = self.head.len + AUDIT_LINE_MAX as u64 + self.lengths.kept;
        self.room(needed, needed + self.lengths.step)
    }

    /// Reserves blocks for another line.
    ///
    /// # Errors
    /// As [`Writer::ordinary_room`].
    pub fn bare_room(&mut self) -> io::Result<()> {
        let needed = self.head.len + AUDIT_LINE_MAX as u64;
        self.room(needed, needed)
    }

    fn room(&mut self, needed: u64, wanted: u64) -> io::Result<()> {
        if self.reserved >= needed || !self.reserves {
            return Ok(());
        }
        match self.file.reserve(wanted) {
            Ok(()) => self.reserved = wanted,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.reserves = false,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether the next row is to begin a segment.
    #[must_use]
    pub fn due(&self) -> Due {
        match (self.renew, self.head.len >= self.lengths.segment) {
            (true, _) => Due::Now,
            (false, true) => Due::WhenPossible,
            (false, false) => Due::No,
        }
    }

    /// Closes the current file and begins the next.
    ///
    /// # Errors
    /// The system's. For want of space it fails before anything was changed.
    pub fn switch(&mut self) -> io::Result<()> {
        let next = self.dir.create(UNFINISHED)?;
        let reserved = match next.reserve(self.lengths.step) {
            Ok(()) => self.lengths.step,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => 0,
            Err(error) => {
                self.dir.remove(UNFINISHED)?;
                return Err(error);
            }
        };
        next.sync()?;
        self.dir.sync()?;
        if let Some(found) = self.dir.look(CURRENT)? {
            let ours = found.id == self.id;
            if ours {
                // Reserved blocks are given back; nothing is cut.
                self.file.resize(self.file.end()?)?;
            }
            self.dir.rename(CURRENT, &self.closing_name(ours)?)?;
            self.dir.sync()?;
        }
        self.dir.rename(UNFINISHED, CURRENT)?;
        self.dir.sync()?;
        self.head = self.head.in_new_segment();
        self.id = next.look()?.id;
        (self.file, self.first, self.reserved) = (next, self.head.segment, reserved);
        self.renew = false;
        Ok(())
    }

    /// A file that was put in the place of ours, one without a committed row, and one whose name is taken, is not the
    /// log's: its name says where it was found.
    fn closing_name(&self, ours: bool) -> io::Result<String> {
        let (name, names) = (closed_name(self.first), self.dir.names()?);
        if ours && self.first <= self.head.seq && !names.contains(&name) {
            return Ok(name);
        }
        let free = (1..).map(|n| format!("{name}.{n}")).find(|name| !names.contains(name));
        Ok(free.unwrap_or(name))
    }

    /// The next line and the head after it.
    ///
    /// # Errors
    /// None that happen: a record is strings and numbers.
    pub fn link(
        &self,
        time: UnixMillis,
        entry: Entry,
    ) -> Result<(Vec<u8>, Head), serde_json::Error> {
        chain::link(&self.head, time, entry)
    }

    /// Writes a line behind the head, durably. The head stays until its transaction is committed.
    ///
    /// # Errors
    /// The system's.
    pub fn append(&self, line: &[u8]) -> io::Result<()> {
        self.file.write_at(self.head.len, line)?;
        self.file.sync()
    }
}

/// When a segment is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is not.
    No,
    /// It is long enough; without space for another one it grows on.
    WhenPossible,
    /// Before anything is written.
    Now,
}

fn begin(dir: &dyn Dir) -> io::Result<Arc<dyn FileAt>> {
    let file = match dir.open(UNFINISHED)? {
        Some(file) => {
            dir.rename(UNFINISHED, CURRENT)?;
            file
        }
        None => dir.create(CURRENT)?,
    };
    dir.sync()?;
    Ok(file)
}
