//! A disk in memory that can be cut at any moment: what a crash may leave behind, enumerated.
//!
//! Model: a write is durable after the next sync that succeeds. Until then any subset of its 512-byte sectors may be
//! on the disk, in any order among the unsynced writes.

use std::{
    cell::{Cell, RefCell},
    io,
};

use super::Storage;

const ATOM_LEN: usize = 512;

/// The faulty twin of a file.
pub(crate) struct SimStorage {
    bytes: RefCell<Vec<u8>>,
    log: RefCell<Vec<Operation>>,
    start: Vec<u8>,
    writable: bool,
    /// Writes and syncs left until one fails; `None` never fails.
    fails_after: Cell<Option<usize>>,
}

#[derive(Clone)]
enum Operation {
    Write { offset: usize, bytes: Vec<u8> },
    Sync,
}

impl SimStorage {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            start: bytes.clone(),
            bytes: RefCell::new(bytes),
            log: RefCell::default(),
            writable: true,
            fails_after: Cell::new(None),
        }
    }

    pub(crate) fn read_only(bytes: Vec<u8>) -> Self {
        Self { writable: false, ..Self::new(bytes) }
    }

    /// Makes the operation after the next `count` ones, and all that follow, fail.
    pub(crate) fn fail_after(&self, count: usize) {
        self.fails_after.set(Some(count));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    /// How many writes and syncs there were.
    pub(crate) fn operations(&self) -> usize {
        self.log.borrow().len()
    }

    /// Every disk that a crash may leave: cut before each operation and after the last, and of the write that was
    /// not synced yet every prefix and suffix of its sectors, every single one missing, every second one.
    pub(crate) fn crashes(&self) -> Vec<Vec<u8>> {
        let log = self.log.borrow();
        let mut durable = self.start.clone();
        let mut crashes = vec![durable.clone()];
        let mut unsynced: Option<(usize, &[u8])> = None;
        for operation in log.iter() {
            match operation {
                Operation::Write { offset, bytes } => {
                    assert!(unsynced.is_none(), "the model takes one write between syncs");
                    unsynced = Some((*offset, bytes));
                    for subset in subsets(bytes.len().div_ceil(ATOM_LEN)) {
                        let mut disk = durable.clone();
                        apply(&mut disk, *offset, bytes, |atom| subset[atom]);
                        crashes.push(disk);
                    }
                }
                Operation::Sync => {
                    if let Some((offset, bytes)) = unsynced.take() {
                        apply(&mut durable, offset, bytes, |_| true);
                    }
                    crashes.push(durable.clone());
                }
            }
        }
        crashes
    }

    fn step(&self) -> io::Result<()> {
        match self.fails_after.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the simulated disk failed")),
            Some(count) => {
                self.fails_after.set(Some(count - 1));
                Ok(())
            }
        }
    }
}

/// Which sectors of a write arrived.
fn subsets(atoms: usize) -> Vec<Vec<bool>> {
    let mut subsets = Vec::new();
    for cut in 0..=atoms {
        subsets.push((0..atoms).map(|atom| atom < cut).collect());
        subsets.push((0..atoms).map(|atom| atom >= cut).collect());
        subsets.push((0..atoms).map(|atom| atom != cut).collect());
    }
    subsets.push((0..atoms).map(|atom| atom % 2 == 0).collect());
    subsets
}

fn apply(disk: &mut [u8], offset: usize, bytes: &[u8], arrived: impl Fn(usize) -> bool) {
    for (atom, piece) in bytes.chunks(ATOM_LEN).enumerate() {
        if arrived(atom) {
            disk[offset + atom * ATOM_LEN..][..piece.len()].copy_from_slice(piece);
        }
    }
}

impl Storage for SimStorage {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.borrow();
        let end = offset as usize + buf.len();
        let source = bytes.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(source);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        assert!(self.writable, "a write to a disk that is open for reading");
        self.step()?;
        let (offset, bytes) = (offset as usize, buf.to_vec());
        apply(&mut self.bytes.borrow_mut(), offset, &bytes, |_| true);
        self.log.borrow_mut().push(Operation::Write { offset, bytes });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.step()?;
        self.log.borrow_mut().push(Operation::Sync);
        Ok(())
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn exclusively<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        Ok(work())
    }
}
