//! A disk in memory that dies on command: two files, what of them was synced, and what was not yet.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

use crate::audit::file::LogFile;

#[derive(Clone)]
pub(super) struct Disk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    database: Volatile,
    log: Volatile,
    /// Operations until death.
    fuse: Option<u64>,
    died: bool,
    random: u64,
}

/// A file as programs see it, as it was at the last sync, and what was done since.
#[derive(Default, Clone)]
struct Volatile {
    seen: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
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

impl Inner {
    /// xorshift64*, so that a seed names a run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Counts an operation; whether it is the last, or comes too late.
    fn spend(&mut self) -> Result<bool, io::Error> {
        if self.died {
            return Err(io::Error::other("the disk is dead"));
        }
        if let Some(left) = &mut self.fuse {
            *left -= 1;
            self.died = *left == 0;
        }
        Ok(self.died)
    }

    fn change(&mut self, file: fn(&mut Self) -> &mut Volatile, change: Change) -> io::Result<()> {
        let last = self.spend()?;
        let cut = self.random();
        let file = file(self);
        if !last {
            apply(&mut file.seen, &change);
            file.since.push(change);
            return Ok(());
        }
        if let Change::Write(at, mut data) = change {
            data.truncate(cut as usize % (data.len() + 1));
            file.since.push(Change::Write(at, data));
        }
        Err(io::Error::other("the disk died"))
    }

    fn sync(&mut self, file: fn(&mut Self) -> &mut Volatile) -> io::Result<()> {
        if self.spend()? {
            return Err(io::Error::other("the disk died"));
        }
        let file = file(self);
        file.synced = file.seen.clone();
        file.since.clear();
        Ok(())
    }

    /// What of a file is there after the power came back: all that was synced, and any part of the rest.
    fn survivor(&mut self, file: fn(&mut Self) -> &mut Volatile) -> Vec<u8> {
        let all = self.random().is_multiple_of(3);
        let Volatile { mut synced, since, .. } = file(self).clone();
        for change in since {
            if all || self.random().is_multiple_of(2) {
                apply(&mut synced, &change);
            }
        }
        synced
    }
}

fn database(inner: &mut Inner) -> &mut Volatile {
    &mut inner.database
}

fn log(inner: &mut Inner) -> &mut Volatile {
    &mut inner.log
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        let random = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(Arc::new(Mutex::new(Inner { random, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// The operation after `fuse - 1` further ones is the disk's last, and is done in part or not at all.
    pub(super) fn arm(&self, fuse: u64) {
        self.inner().fuse = Some(fuse);
    }

    pub(super) fn died(&self) -> bool {
        self.inner().died
    }

    pub(super) fn mend(&self) {
        let mut inner = self.inner();
        (inner.fuse, inner.died) = (None, false);
    }

    /// The disk after the power came back.
    pub(super) fn reboot(&self) -> Self {
        let mut inner = self.inner();
        let bytes = [inner.survivor(database), inner.survivor(log)];
        let random = inner.random();
        let [database, log] =
            bytes.map(|b| Volatile { seen: b.clone(), synced: b, since: Vec::new() });
        Self(Arc::new(Mutex::new(Inner { database, log, random, ..Inner::default() })))
    }

    pub(super) fn database(&self) -> DatabaseFile {
        DatabaseFile(self.clone())
    }

    pub(super) fn log(&self) -> Log {
        Log(self.clone())
    }

    pub(super) fn log_len(&self) -> usize {
        self.inner().log.seen.len()
    }

    pub(super) fn edit_log(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        edit(&mut self.inner().log.seen);
    }

    pub(super) fn copy_database(&self) -> Vec<u8> {
        self.inner().database.seen.clone()
    }

    pub(super) fn restore_database(&self, bytes: Vec<u8>) {
        self.inner().database.seen = bytes;
    }
}

fn read(seen: &[u8], offset: u64, out: &mut [u8]) -> usize {
    let from = seen.len().min(offset as usize);
    let len = out.len().min(seen.len() - from);
    out[..len].copy_from_slice(&seen[from..from + len]);
    len
}

pub(super) struct DatabaseFile(Disk);

impl std::fmt::Debug for DatabaseFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseFile")
    }
}

impl StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.inner().database.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = read(&self.0.inner().database.seen, offset, out);
        if read == out.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.inner().change(database, Change::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.inner().sync(database)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.inner().change(database, Change::Write(offset as usize, data.to_vec()))
    }
}

pub(super) struct Log(Disk);

impl LogFile for Log {
    fn end(&self) -> io::Result<u64> {
        Ok(self.0.inner().log.seen.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(read(&self.0.inner().log.seen, offset, bytes))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.inner().change(log, Change::Write(offset as usize, bytes.to_vec()))
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.0.inner().change(log, Change::Length(len as usize))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.inner().sync(log)
    }
}
