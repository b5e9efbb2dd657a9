//! Whether the files that the store works on still have their names. One that was removed or moved away can be written
//! and read as before, and is gone with the process: every change since would be lost by the next start.
//!
//! Looked at before each record and once a second. A lost store and a lost log both end uses; withdrawals go on, into
//! the open store and a new segment: whoever should let go of a key is told, whatever becomes of the rows. Who puts the
//! very file back is served again.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use super::{Break, Health, Store, backend::Backend, create};
use crate::{
    audit::{segments, writer::Writer},
    error::Refused,
    files::{Dir, FileId, Found, Loss},
    lock::lock,
    log,
    state_dir::ROOT_FILES,
};

/// How the state directory is called in a [`Loss`].
const DIRECTORY: &str = "the state directory";

/// What is watched beside the log's growing end.
pub(super) struct Watch {
    dir: Arc<dyn Dir>,
    here: FileId,
    store: FileId,
    backend: Backend,
    /// Files of the root key that were there at the start: without them the next start opens nothing.
    roots: Vec<&'static str>,
    /// Closed segments as they were first seen, by their first row.
    closed: Mutex<BTreeMap<u64, Found>>,
    lost: Mutex<Option<Lost>>,
}

/// What is lost of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lost {
    /// With its directory, and all names in it.
    Directory(Loss),
    File(Loss),
}

impl Lost {
    fn loss(&self) -> &Loss {
        match self {
            Self::Directory(loss) | Self::File(loss) => loss,
        }
    }
}

impl Watch {
    /// Watches from now on.
    pub(super) fn begin(dir: Arc<dyn Dir>, backend: Backend) -> io::Result<Self> {
        let (here, store) = (dir.identity()?, backend.known()?);
        let mut roots = Vec::new();
        for name in ROOT_FILES {
            roots.extend(dir.look(name)?.map(|_| name));
        }
        let (closed, lost) = Default::default();
        Ok(Self { dir, here, store, backend, roots, closed, lost })
    }

    /// What of the store is lost now.
    fn look(&self) -> Option<Lost> {
        let here = self.dir.identity().map(|id| Some(Found { id, len: 0 }));
        let gone = matches!(&here, Err(error) if error.kind() == io::ErrorKind::NotFound);
        let here = if gone { Ok(None) } else { here };
        if let Some(loss) = Loss::of(DIRECTORY, self.here, &here) {
            return Some(Lost::Directory(loss));
        }
        let root = || {
            let gone = |name: &&&str| !matches!(self.dir.look(name), Ok(Some(_)));
            self.roots.iter().find(gone).map(|name| Loss::Gone((*name).to_owned()))
        };
        self.backend.loss(self.store, || self.dir.look(create::NAME)).or_else(root).map(Lost::File)
    }

    /// A closed segment from row `begin` on that is not what it was.
    fn look_at_closed(&self, begin: u64) -> Option<Loss> {
        let mut known = lock(&self.closed);
        known.retain(|first, _| *first >= begin);
        let look = |first: &u64| self.dir.look(&segments::closed_name(*first));
        let lost = known.iter().find_map(|(first, was)| {
            Loss::of_whole(&segments::closed_name(*first), *was, &look(first))
        });
        let new = segments::closed(&*self.dir).unwrap_or_default();
        for first in new.into_iter().filter(|first| *first >= begin) {
            if !known.contains_key(&first)
                && let Ok(Some(found)) = look(&first)
            {
                known.insert(first, found);
            }
        }
        lost
    }
}

impl Store {
    /// What of the store was taken away from under this process; none if nothing was.
    #[must_use]
    pub fn lost(&self) -> Option<Refused> {
        let lost = lock(&self.watch.lost);
        lost.as_ref().map(|lost| Refused::StoreLost(lost.loss().clone()))
    }

    /// Looks at all names, and finds both what was lost and what was put back.
    pub fn look(&self) {
        let writer = lock(&self.writer);
        self.look_quickly(&writer);
        // An archive moves closed segments right now: they are looked at the next time.
        if let Ok(_alone) = self.care.try_lock() {
            self.look_at_log(&writer);
        }
    }

    /// What is done before each record: a system call for each file that grows.
    pub(super) fn look_quickly(&self, writer: &Writer) {
        let now = self.watch.look();
        let mut lost = lock(&self.watch.lost);
        if now != *lost {
            match &now {
                Some(now) => log::line(format_args!("no key is used: {}", now.loss())),
                None => log::line(format_args!("the state directory is whole again")),
            }
        }
        *lost = now;
        if !matches!(*lost, Some(Lost::Directory(_)))
            && let Some(loss) = writer.loss()
        {
            self.break_log(loss);
        }
    }

    /// The rest of it, while nobody else works on the log as a whole.
    pub(super) fn look_at_log(&self, writer: &Writer) {
        if self.is_without_directory() {
            return;
        }
        let begin = lock(&self.begin).seq;
        let closed = self.watch.look_at_closed(begin);
        match writer.loss().or(closed) {
            Some(loss) => self.break_log(loss),
            None => {
                let mut health = lock(&self.health);
                if let Health::Broken(Break::Taken(_)) = *health {
                    log::line(format_args!("the audit log is whole again"));
                    *health = Health::Sound;
                }
            }
        }
    }

    fn break_log(&self, loss: Loss) {
        let mut health = lock(&self.health);
        if let Health::Sound = *health {
            log::line(format_args!("no key is used: {loss}"));
            *health = Health::Broken(Break::Taken(loss));
        }
    }

    /// Whether names lead nowhere: then all that is open is written on, and no file can be begun.
    pub(super) fn is_without_directory(&self) -> bool {
        matches!(*lock(&self.watch.lost), Some(Lost::Directory(_)))
    }

    /// Has the next row begin a segment if the one that it would go to was taken away.
    pub(super) fn leave_what_is_lost(&self, writer: &mut Writer) {
        let taken = matches!(*lock(&self.health), Health::Broken(Break::Taken(_)));
        if taken && !self.is_without_directory() && writer.loss().is_some() {
            let head = writer.head().clone();
            writer.renew_from(head);
        }
    }
}
