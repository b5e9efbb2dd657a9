//! Opens the store of a state directory, with the copies of its audit log.

use std::{path::PathBuf, sync::Arc};

use super::{Options, Store};
use crate::{
    audit::{
        Class, Entry,
        copies::{Anchor, Copies, CopyFile, Follower, Place, Sink, Syslog, place_of},
    },
    error::{Failure, Fault},
    files::{Dir, SystemDir},
    limits::AUDIT_SEGMENT_LEN,
    lock::lock,
    log,
    seal::Seal,
};

/// How the audit log is kept.
#[derive(Debug, Clone)]
pub struct AuditKeeping {
    /// A file that is a copy of it.
    pub copy: Option<PathBuf>,
    /// Length at which the copy is closed and the next begun, bytes; none if others rotate it, or nobody.
    pub copy_segment: Option<u64>,
    /// The socket of a system log that gets it too.
    pub syslog: Option<PathBuf>,
    /// Whether no key is used while one of these cannot be written.
    pub required: bool,
    /// Length at which one of its files is closed, bytes.
    pub segment: u64,
}

impl Default for AuditKeeping {
    /// In the state directory alone.
    fn default() -> Self {
        let (copy, copy_segment, syslog) = (None, None, None);
        Self { copy, copy_segment, syslog, required: false, segment: AUDIT_SEGMENT_LEN }
    }
}

/// Opens a store, and has the copies of its log follow.
///
/// # Errors
/// As [`Store::open`]; [`Fault::Copy`].
pub fn open(dir: &SystemDir, seal: Seal, audit: &AuditKeeping) -> Result<Store, Fault> {
    let dir: Arc<dyn Dir> = Arc::new(dir.clone());
    let mut options = Options::default();
    options.log.segment = audit.segment;
    let open = |path| CopyFile::open(path, audit.copy_segment);
    let copy = audit.copy.as_deref().map(open).transpose()?;
    let mut store = Store::open(dir.clone(), seal, &options, copy.as_ref())?;
    let mut followers = Vec::new();
    if let Some(copy) = copy {
        let place = store.place_of(&copy)?;
        followers.push(store.follower(place, Box::new(copy))?);
    }
    if let Some(path) = &audit.syslog {
        let end = lock(&store.writer).head().clone();
        let place = Place { seq: end.seq, segment: end.segment, offset: end.len };
        followers.push(store.follower(place, Box::new(Syslog::new(path)))?);
    }
    store.set_copies(Copies::new(followers, audit.required));
    Ok(store)
}

impl Store {
    /// Has these follow the log from now on.
    pub(crate) fn set_copies(&mut self, copies: Copies) {
        self.copies = copies;
    }

    /// Begins the log's copies anew where they were moved away, and writes down that it was asked for: with that row
    /// the new files begin.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn rotate_copies(&self) -> Result<(), Failure> {
        let Some(paths) = self.copies.rotate() else {
            log::line(format_args!("SIGHUP: there is no copy of the audit log to begin anew"));
            return Ok(());
        };
        let entry = Entry::by_daemon("audit-copy-rotate", paths);
        self.record(entry.class(Class::Administration))
    }

    pub(super) fn follower(&self, place: Place, sink: Box<dyn Sink>) -> Result<Follower, Fault> {
        let head = lock(&self.writer).head().clone();
        Follower::start(self.dir.clone(), place, head, sink).map_err(Fault::AuditFile)
    }

    /// Where in the log a copy goes on.
    fn place_of(&self, copy: &CopyFile) -> Result<Place, Fault> {
        let begin = lock(&self.begin).seq;
        let writer = lock(&self.writer);
        let Some(Anchor { seq, hash }) = copy.anchor()? else {
            return Ok(Place { seq: 0, segment: begin, offset: 0 });
        };
        // The log goes on from the copy: see `outlived`.
        if seq == writer.head().seq && hash == writer.head().hash {
            let head = writer.head();
            return Ok(Place { seq, segment: head.segment, offset: head.len });
        }
        let segments = writer.segments().map_err(Fault::AuditFile)?;
        let place = place_of(&segments, begin, seq, &hash).map_err(Fault::AuditFile)?;
        place.ok_or_else(|| copy.other(seq).into())
    }
}
