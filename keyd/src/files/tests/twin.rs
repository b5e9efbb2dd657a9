//! A disk in memory that dies on command, and fills up: what of its files and names was synced, and what was not yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::files::{Dir, FileAt, FileId, Found};

const BLOCK: u64 = 4096;

#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    files: Vec<Volatile>,
    dirs: [Names; 2],
    /// Operations until death.
    fuse: Option<u64>,
    died: bool,
    random: u64,
    /// Blocks for all files together.
    capacity: Option<usize>,
    /// The path of the state's directory leads to another one, which is empty.
    swapped: bool,
    /// Blocks that were read, by file; none while nobody wants to know.
    read: Option<BTreeSet<(usize, u64)>>,
}

/// A file as programs see it, as it was at the last sync, and what was done since. Copies share what neither has
/// changed.
#[derive(Default, Clone)]
struct Volatile {
    seen: Arc<Vec<u8>>,
    synced: Arc<Vec<u8>>,
    since: Vec<Change>,
    blocks: Arc<BTreeSet<u64>>,
    /// Whether the last of what was done since was done in part, and is not seen.
    torn: bool,
}

impl Volatile {
    /// One with these bytes, all of them synced.
    fn of(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        let blocks = Arc::new(blocks_of(bytes.len()));
        Self { seen: bytes.clone(), synced: bytes, blocks, ..Self::default() }
    }

    fn keep_blocks(&mut self, len: u64) {
        Arc::make_mut(&mut self.blocks).retain(|block| block * BLOCK < len);
    }
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// The names of a directory, likewise.
#[derive(Default, Clone)]
struct Names {
    seen: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    since: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Add(String, usize),
    Rename(String, String),
    Remove(String),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(len) => bytes.resize(*len, 0),
        Change::Write(at, data) => {
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(data);
        }
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Add(name, file) => drop(names.insert(name.clone(), *file)),
        NameChange::Remove(name) => drop(names.remove(name)),
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
    }
}

/// Files have numbers, and one device for all.
fn found(inner: &Inner, file: usize) -> Found {
    let id = FileId { device: 0, inode: file as u64 };
    Found { id, len: inner.files[file].seen.len() as u64 }
}

fn blocks_of(len: usize) -> BTreeSet<u64> {
    (0..(len as u64).div_ceil(BLOCK)).collect()
}

fn dead() -> io::Error {
    io::Error::other("the disk is dead")
}

impl Inner {
    /// xorshift64*, so that a seed names a run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Counts an operation; whether it is the last. It fails if it comes too late.
    fn spend(&mut self) -> io::Result<bool> {
        if self.died {
            return Err(dead());
        }
        if let Some(left) = &mut self.fuse {
            *left -= 1;
            self.died = *left == 0;
        }
        Ok(self.died)
    }

    fn change(&mut self, file: usize, change: Change) -> io::Result<()> {
        if let Change::Write(at, data) = &change {
            let (from, to) = (*at as u64 / BLOCK, ((at + data.len()) as u64).div_ceil(BLOCK));
            self.occupy(file, from..to)?;
        }
        let last = self.spend()?;
        let cut = self.random();
        let file = &mut self.files[file];
        if !last {
            apply(Arc::make_mut(&mut file.seen), &change);
            if let Change::Length(len) = change {
                // Blocks go to another file only when it is durable that they were given back.
                if len < file.synced.len() {
                    Arc::make_mut(&mut file.synced).truncate(len);
                }
                file.keep_blocks(len as u64);
            }
            file.since.push(change);
            return Ok(());
        }
        if let Change::Write(at, mut data) = change {
            data.truncate(cut as usize % (data.len() + 1));
            file.since.push(Change::Write(at, data));
            file.torn = true;
        }
        Err(dead())
    }

    /// Gives a file blocks it has not, as far as there are any.
    fn occupy(&mut self, file: usize, blocks: std::ops::Range<u64>) -> io::Result<()> {
        let Some(capacity) = self.capacity else {
            let has = &mut self.files[file].blocks;
            if blocks.clone().any(|block| !has.contains(&block)) {
                Arc::make_mut(has).extend(blocks);
            }
            return Ok(());
        };
        for block in blocks {
            let used: usize = self.files.iter().map(|file| file.blocks.len()).sum();
            let blocks = Arc::make_mut(&mut self.files[file].blocks);
            if !blocks.contains(&block) && used >= capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
            blocks.insert(block);
        }
        Ok(())
    }

    fn note(&mut self, dir: usize, change: &NameChange) -> io::Result<()> {
        let last = self.spend()?;
        let names = &mut self.dirs[dir];
        names.since.push(change.clone());
        if last {
            return Err(dead());
        }
        apply_name(&mut names.seen, change);
        let named: BTreeSet<usize> =
            self.dirs.iter().flat_map(|names| names.seen.values().copied()).collect();
        for (file, volatile) in self.files.iter_mut().enumerate() {
            if !named.contains(&file) {
                volatile.blocks = Arc::default();
            }
        }
        Ok(())
    }

    /// What of a list of changes survives: all, or any part.
    fn surviving<T>(&mut self, changes: Vec<T>) -> Vec<T> {
        let all = self.random().is_multiple_of(3);
        changes.into_iter().filter(|_| all || self.random().is_multiple_of(2)).collect()
    }
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        let random = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(Arc::new(Mutex::new(Inner { random, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// The directory of the state.
    pub(crate) fn dir(&self) -> Arc<dyn Dir> {
        Arc::new(TwinDir(self.clone(), 0))
    }

    /// Another directory.
    pub(crate) fn elsewhere(&self) -> TwinDir {
        TwinDir(self.clone(), 1)
    }

    /// The operation after `fuse - 1` further ones is the disk's last, and is done in part or not at all.
    pub(crate) fn arm(&self, fuse: u64) {
        self.inner().fuse = Some(fuse);
    }

    pub(crate) fn died(&self) -> bool {
        self.inner().died
    }

    pub(crate) fn mend(&self) {
        let mut inner = self.inner();
        (inner.fuse, inner.died) = (None, false);
    }

    /// Leaves so many bytes free, from now on; none for no limit.
    pub(crate) fn leave_free(&self, bytes: Option<u64>) {
        let mut inner = self.inner();
        let used: usize = inner.files.iter().map(|file| file.blocks.len()).sum();
        inner.capacity = bytes.map(|bytes| used + (bytes / BLOCK) as usize);
    }

    /// The disk after the power came back.
    pub(crate) fn reboot(&self) -> Self {
        let mut inner = self.inner();
        let mut after = Inner { capacity: inner.capacity, ..Inner::default() };
        for Volatile { mut synced, since, blocks, .. } in inner.files.clone() {
            for change in inner.surviving(since) {
                apply(Arc::make_mut(&mut synced), &change);
            }
            let (seen, len) = (synced.clone(), synced.len() as u64);
            let mut file = Volatile { seen, synced, blocks, ..Volatile::default() };
            file.keep_blocks(len);
            after.files.push(file);
        }
        for (dir, Names { synced, since, .. }) in inner.dirs.clone().into_iter().enumerate() {
            let mut names = synced;
            for change in inner.surviving(since) {
                apply_name(&mut names, &change);
            }
            after.dirs[dir] = Names { seen: names.clone(), synced: names, since: Vec::new() };
        }
        after.random = inner.random();
        Self(Arc::new(Mutex::new(after)))
    }

    /// A file's bytes; none if it is not there.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        let file = *inner.dirs[0].seen.get(name)?;
        Some(inner.files[file].seen.to_vec())
    }

    /// Puts a file there, as somebody else would; or takes it away.
    pub(crate) fn put(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut inner = self.inner();
        let file = inner.files.len();
        if let Some(bytes) = bytes {
            inner.files.push(Volatile::of(bytes));
            inner.dirs[0].seen.insert(name.to_owned(), file);
        } else {
            inner.dirs[0].seen.remove(name);
        }
        inner.dirs[0].synced = inner.dirs[0].seen.clone();
    }

    /// Changes a file's bytes where they lie, as somebody else would.
    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner();
        let file = inner.dirs[0].seen[name];
        let mut bytes = std::mem::take(Arc::make_mut(&mut inner.files[file].seen));
        edit(&mut bytes);
        inner.files[file] = Volatile::of(bytes);
    }

    /// Gives a file another name, as somebody else would.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut inner = self.inner();
        let file = inner.dirs[0].seen.remove(from).unwrap();
        inner.dirs[0].seen.insert(to.to_owned(), file);
        inner.dirs[0].synced = inner.dirs[0].seen.clone();
    }

    /// Puts another directory in the place of the state's, or the old one back.
    pub(crate) fn swap_directory(&self) {
        let mut inner = self.inner();
        inner.swapped = !inner.swapped;
    }

    /// Changes a file's bytes under who has it open, as a disk that rots.
    pub(crate) fn rot(&self, name: &str, rot: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner();
        let file = inner.dirs[0].seen[name];
        let file = &mut inner.files[file];
        rot(Arc::make_mut(&mut file.seen));
        (file.synced, file.since, file.torn) = (file.seen.clone(), Vec::new(), false);
    }

    /// Another disk with the same on it, all of it synced.
    pub(crate) fn copied(&self) -> Self {
        let inner = self.inner();
        let files = inner.files.iter().map(|file| Volatile {
            seen: file.seen.clone(),
            synced: file.seen.clone(),
            blocks: file.blocks.clone(),
            ..Volatile::default()
        });
        let dirs = inner.dirs.clone().map(|names| Names {
            synced: names.seen.clone(),
            since: Vec::new(),
            ..names
        });
        let (files, random) = (files.collect(), inner.random);
        Self(Arc::new(Mutex::new(Inner { files, dirs, random, ..Inner::default() })))
    }

    /// Notes from now on what is read.
    pub(crate) fn note_reads(&self) {
        self.inner().read = Some(BTreeSet::new());
    }

    /// The blocks of a file that were read since.
    pub(crate) fn blocks_read(&self, name: &str) -> BTreeSet<u64> {
        let inner = self.inner();
        let file = inner.dirs[0].seen[name];
        let of_file = |(of, block): &(usize, u64)| (*of == file).then_some(*block);
        inner.read.iter().flatten().filter_map(of_file).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.inner().dirs[0].seen.keys().cloned().collect()
    }
}

pub(crate) struct TwinDir(Disk, usize);

impl TwinDir {
    fn file(&self, file: usize) -> Arc<dyn FileAt> {
        Arc::new(TwinFile(self.0.clone(), file))
    }
}

impl Dir for TwinDir {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn FileAt>>> {
        Ok(self.0.inner().dirs[self.1].seen.get(name).copied()).map(|f| f.map(|f| self.file(f)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn FileAt>> {
        let mut inner = self.0.inner();
        let file = inner.files.len();
        inner.files.push(Volatile::default());
        inner.note(self.1, &NameChange::Add(name.to_owned(), file))?;
        drop(inner);
        Ok(self.file(file))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.inner().dirs[self.1].seen.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if self.open(from)?.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.0.inner().note(self.1, &NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if self.open(name)?.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.0.inner().note(self.1, &NameChange::Remove(name.to_owned()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.inner();
        if inner.spend()? {
            return Err(dead());
        }
        let names = &mut inner.dirs[self.1];
        names.synced = names.seen.clone();
        names.since.clear();
        Ok(())
    }

    fn identity(&self) -> io::Result<FileId> {
        let swapped = self.0.inner().swapped && self.1 == 0;
        Ok(FileId { device: u64::from(swapped), inode: self.1 as u64 })
    }

    fn look(&self, name: &str) -> io::Result<Option<Found>> {
        let inner = self.0.inner();
        let seen = inner.dirs[self.1].seen.get(name).filter(|_| !inner.swapped);
        Ok(seen.map(|file| found(&inner, *file)))
    }
}

pub(crate) struct TwinFile(Disk, usize);

impl FileAt for TwinFile {
    fn look(&self) -> io::Result<Found> {
        Ok(found(&self.0.inner(), self.1))
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.0.inner().files[self.1].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.0.inner();
        let seen = &inner.files[self.1].seen;
        let from = seen.len().min(offset as usize);
        let len = out.len().min(seen.len() - from);
        out[..len].copy_from_slice(&seen[from..from + len]);
        if let Some(read) = &mut inner.read {
            let end = (offset + len as u64).div_ceil(BLOCK);
            read.extend((offset / BLOCK..end).map(|block| (self.1, block)));
        }
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.inner().change(self.1, Change::Write(offset as usize, bytes.to_vec()))
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.0.inner().change(self.1, Change::Length(len as usize))
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut inner = self.0.inner();
        if inner.spend()? {
            return Err(dead());
        }
        inner.occupy(self.1, 0..len.div_ceil(BLOCK))
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.inner();
        if inner.spend()? {
            return Err(dead());
        }
        let file = &mut inner.files[self.1];
        if std::mem::take(&mut file.torn) {
            (file.synced, file.since) = (file.seen.clone(), Vec::new());
        }
        // In place: to copy a store for each of its commits is most of what a test would do.
        for change in std::mem::take(&mut file.since) {
            apply(Arc::make_mut(&mut file.synced), &change);
        }
        Ok(())
    }

    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
}
