//! A store in memory, for tests of what works on one.

use std::{
    io,
    sync::{Arc, Mutex},
};

use redb::{Database, backends::InMemoryBackend};

use super::{Store, Txn};
use crate::{
    audit::{Entry, file::LogFile},
    error::Fault,
    lock::lock,
};

#[derive(Default)]
struct Memory(Mutex<Vec<u8>>);

impl LogFile for Memory {
    fn end(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let log = lock(&self.0);
        let there = log.get(offset as usize..).unwrap_or_default();
        let len = there.len().min(bytes.len());
        bytes[..len].copy_from_slice(&there[..len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut log = lock(&self.0);
        log.truncate(offset as usize);
        log.extend_from_slice(bytes);
        Ok(())
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        lock(&self.0).truncate(len as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An empty store.
pub(crate) fn store() -> Store {
    let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    Store::open(db, Arc::new(Memory::default())).unwrap()
}

/// Changes it.
pub(crate) fn change(store: &Store, change: impl FnOnce(&Txn<'_>) -> Result<(), Fault>) {
    store.commit(|txn| Ok((change(txn)?, Entry::by_daemon("test", "test")))).unwrap();
}
