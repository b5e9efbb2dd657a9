//! The database's file as redb sees it: where there is no space, the ballast makes some; and what it reads is what it
//! wrote.
//!
//! redb verifies its checksums when a file is opened, and trusts what it reads afterwards: a page that rots under it
//! would make it panic, or believe. So of each page that passes here a fingerprint is kept in memory, and a page that
//! is another when it is read again is an error. And until a file has been judged, what redb writes to it while
//! opening it, which may be the repair of what only looks like a crash, is held back.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io,
    sync::{Arc, Mutex},
};

use redb::StorageBackend;

use super::{ballast::Ballast, create};
use crate::{
    error::Fault,
    files::{FileAt, FileId, Found, Loss, fill},
    lock::lock,
};

/// redb's pages are of this length, or a power of two times longer.
const PAGE: u64 = 4096;

/// The file; clones are the same one.
#[derive(Clone)]
pub(super) struct Backend(Arc<Inner>);

struct Inner {
    file: Arc<dyn FileAt>,
    /// Its length as it was given to it. Held while it is given another one.
    len: Mutex<u64>,
    ballast: Arc<Ballast>,
    /// Of each page that was read or written, by its number.
    prints: Mutex<HashMap<u64, u64>>,
    random: RandomState,
    held: Mutex<Option<Held>>,
    /// The first page that was another when it was read again.
    changed: Mutex<Option<u64>>,
}

/// What redb did to the file, and nobody else knows yet.
struct Held {
    len: u64,
    done: Vec<Step>,
}

enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    pub(super) fn new(file: Arc<dyn FileAt>, ballast: Arc<Ballast>) -> Self {
        let (len, prints, random, held, changed) = Default::default();
        Self(Arc::new(Inner { file, len, ballast, prints, random, held, changed }))
    }

    /// One that writes nothing before [`Backend::release`].
    pub(super) fn holding(file: Arc<dyn FileAt>, ballast: Arc<Ballast>) -> io::Result<Self> {
        let len = file.end()?;
        let backend = Self::new(file, ballast);
        *lock(&backend.0.held) = Some(Held { len, done: Vec::new() });
        Ok(backend)
    }

    /// Writes what was held back, in its order, and holds nothing back any more.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut held = lock(&self.0.held);
        let mut steps = held.iter().flat_map(|held| &held.done);
        steps.try_for_each(|step| match step {
            Step::Write(offset, data) => self.0.write(*offset, data),
            Step::Length(len) => self.0.resize(*len),
            Step::Sync => self.0.file.sync(),
        })?;
        *held = None;
        Ok(())
    }

    /// Whether every page that was read again was what it had been.
    ///
    /// # Errors
    /// [`Fault::Changed`]: redb answers nothing any more.
    pub(super) fn unchanged(&self) -> Result<(), Fault> {
        lock(&self.0.changed).map_or(Ok(()), |page| Err(Fault::Changed(page)))
    }

    /// Which file it is, whose length is known from now on.
    pub(super) fn known(&self) -> io::Result<FileId> {
        let Found { id, len } = self.0.file.look()?;
        *lock(&self.0.len) = len;
        Ok(id)
    }

    /// What is wrong with what is found under the file's name.
    pub(super) fn loss(
        &self,
        id: FileId,
        find: impl FnOnce() -> io::Result<Option<Found>>,
    ) -> Option<Loss> {
        let len = lock(&self.0.len);
        Loss::of_whole(create::NAME, Found { id, len: *len }, &find())
    }

    /// The file itself.
    pub(super) fn file(&self) -> &dyn FileAt {
        &*self.0.file
    }

    /// Reads all pages that were ever read or written, from the disk; the numbers of those that are not what they
    /// were.
    pub(super) fn scrub(&self) -> io::Result<Vec<u64>> {
        let mut pages: Vec<u64> = lock(&self.0.prints).keys().copied().collect();
        pages.sort_unstable();
        self.0.file.forget_cached()?;
        let mut changed = Vec::new();
        let mut bytes = [0; PAGE as usize];
        for page in pages {
            // Writes wait: the print and the page must be of one moment.
            let prints = lock(&self.0.prints);
            let Some(print) = prints.get(&page) else {
                continue;
            };
            let read = fill(&*self.0.file, page * PAGE, &mut bytes)?;
            if read < bytes.len() || self.0.random.hash_one(bytes) != *print {
                changed.push(page);
            }
        }
        Ok(changed)
    }
}

impl Inner {
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        // Held until it is written: see `scrub`.
        let mut prints = lock(&self.prints);
        for (page, bytes) in pages(offset, data) {
            match bytes {
                Some(bytes) => drop(prints.insert(page, self.print(bytes))),
                None => drop(prints.remove(&page)),
            }
        }
        self.ballast.spend(|| self.file.write_at(offset, data))
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        lock(&self.prints).retain(|page, _| (page + 1) * PAGE <= len);
        let mut known = lock(&self.len);
        self.ballast.spend(|| self.file.resize(len))?;
        *known = len;
        Ok(())
    }

    fn compare(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut prints = lock(&self.prints);
        for (page, bytes) in pages(offset, data) {
            let Some(bytes) = bytes else { continue };
            let print = self.print(bytes);
            if *prints.entry(page).or_insert(print) != print {
                lock(&self.changed).get_or_insert(page);
                let why = format!("page {page} of store.redb was changed by something else");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        Ok(())
    }

    fn print(&self, page: &[u8; PAGE as usize]) -> u64 {
        self.random.hash_one(page)
    }
}

/// The pages that a piece of the file touches, with their bytes if they are whole in it. The first page is the header,
/// which redb writes in place and checks itself.
fn pages(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, Option<&[u8; PAGE as usize]>)> {
    let end = offset + data.len() as u64;
    ((offset / PAGE).max(1)..end.div_ceil(PAGE)).map(move |page| {
        let at = (page * PAGE).checked_sub(offset).and_then(|at| usize::try_from(at).ok());
        let bytes = at.and_then(|at| data.get(at..)?.first_chunk());
        (page, bytes)
    })
}

/// Locks are not offered: the state directory's own keeps other daemons away.
impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        match &*lock(&self.0.held) {
            Some(held) => Ok(held.len),
            None => self.0.file.end(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = lock(&self.0.held);
        let filled = fill(&*self.0.file, offset, out)?;
        let Some(held) = &*held else {
            if filled < out.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return self.0.compare(offset, out);
        };
        if offset + out.len() as u64 > held.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out[filled..].fill(0);
        held.lay_over(offset, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match &mut *lock(&self.0.held) {
            Some(held) => {
                held.len = len;
                held.done.push(Step::Length(len));
                Ok(())
            }
            None => self.0.resize(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match &mut *lock(&self.0.held) {
            Some(held) => {
                held.done.push(Step::Sync);
                Ok(())
            }
            None => self.0.file.sync(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match &mut *lock(&self.0.held) {
            Some(held) => {
                held.len = held.len.max(offset + data.len() as u64);
                held.done.push(Step::Write(offset, data.to_vec()));
                Ok(())
            }
            None => self.0.write(offset, data),
        }
    }
}

impl Held {
    /// What the file would hold there.
    fn lay_over(&self, offset: u64, out: &mut [u8]) {
        for step in &self.done {
            match step {
                Step::Write(at, data) => overlap(*at, data, offset, out),
                // What was cut off is zero if the file grows again.
                Step::Length(len) => {
                    let from = len.saturating_sub(offset).min(out.len() as u64);
                    out[from as usize..].fill(0);
                }
                Step::Sync => {}
            }
        }
    }
}

fn overlap(at: u64, data: &[u8], offset: u64, out: &mut [u8]) {
    let from = at.max(offset);
    let to = (at + data.len() as u64).min(offset + out.len() as u64);
    if from < to {
        let len = (to - from) as usize;
        let (source, target) = ((from - at) as usize, (from - offset) as usize);
        out[target..target + len].copy_from_slice(&data[source..source + len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::twin::Disk;

    fn backend(disk: &Disk, hold: bool) -> Backend {
        let dir = disk.dir();
        let file = match dir.open("f").unwrap() {
            Some(file) => file,
            None => dir.create("f").unwrap(),
        };
        let ballast = Arc::new(Ballast::open(&*dir, 0, 0).unwrap());
        if hold { Backend::holding(file, ballast).unwrap() } else { Backend::new(file, ballast) }
    }

    #[test]
    fn what_is_held_back_is_read_again_and_reaches_the_file_when_it_is_released() {
        let disk = Disk::new(1);
        backend(&disk, false).write(0, &[7; 3 * PAGE as usize]).unwrap();
        let before = disk.read("f");
        let held = backend(&disk, true);
        held.write(PAGE + 10, &[1; 20]).unwrap();
        held.set_len(PAGE + 20).unwrap();
        held.set_len(4 * PAGE).unwrap();
        held.write(4 * PAGE, &[2; 5]).unwrap();
        held.sync_data().unwrap();
        let mut expected = vec![7; PAGE as usize + 10];
        expected.extend([1; 10]);
        expected.resize(4 * PAGE as usize, 0);
        expected.extend([2; 5]);
        assert_eq!(held.len().unwrap(), expected.len() as u64);
        let read = |len| {
            let mut bytes = vec![9; len];
            held.read(0, &mut bytes).map(|()| bytes)
        };
        assert_eq!(read(expected.len()).unwrap(), expected);
        assert!(read(expected.len() + 1).is_err());
        assert_eq!(disk.read("f"), before);
        held.release().unwrap();
        assert_eq!(disk.read("f"), Some(expected.clone()));
        assert_eq!(read(expected.len()).unwrap(), expected);
    }

    #[test]
    fn a_page_that_is_another_when_it_is_read_again_is_an_error() {
        let disk = Disk::new(1);
        let backend = backend(&disk, false);
        backend.write(0, &[7; 4 * PAGE as usize]).unwrap();
        let read = |page: u64| backend.read(page * PAGE, &mut [0; PAGE as usize]);
        (0..4).for_each(|page| read(page).unwrap());
        assert!(backend.scrub().unwrap().is_empty());
        disk.rot("f", |bytes| bytes[2 * PAGE as usize + 5] ^= 1);
        assert_eq!(backend.scrub().unwrap(), [2]);
        backend.unchanged().unwrap();
        assert_eq!(read(2).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(matches!(backend.unchanged(), Err(Fault::Changed(2))));
        // What is written anew is right again; what is cut off is nobody's.
        backend.write(2 * PAGE, &[8; PAGE as usize]).unwrap();
        read(2).unwrap();
        backend.set_len(2 * PAGE).unwrap();
        disk.rot("f", |bytes| bytes.resize(4 * PAGE as usize, 3));
        read(3).unwrap();
        assert!(backend.scrub().unwrap().is_empty());
    }
}
