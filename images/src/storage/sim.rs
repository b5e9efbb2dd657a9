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
    /// What it says to be its size: what is behind its bytes is not looked at.
    size: u64,
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
            size: bytes.len() as u64,
            bytes: RefCell::new(bytes),
            log: RefCell::default(),
            writable: true,
            fails_after: Cell::new(None),
        }
    }

    pub(crate) fn read_only(bytes: Vec<u8>) -> Self {
        Self { writable: false, ..Self::new(bytes) }
    }

    /// A disk of a size of which only the first bytes matter, so that thousands can be made.
    pub(crate) fn beginning_with(bytes: Vec<u8>, size: u64) -> Self {
        Self { size, ..Self::new(bytes) }
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

    /// Every disk that a crash may leave: cut before each operation and after the last, and of the writes that were
    /// not synced yet every prefix and suffix of their sectors, every single one missing, every second to fifth one.
    pub(crate) fn crashes(&self) -> Vec<Vec<u8>> {
        self.crashes_but(None)
    }

    /// The same, of a disk that did nothing at one sync, counted from 0, and said that it had.
    pub(crate) fn crashes_but(&self, skipped: Option<usize>) -> Vec<Vec<u8>> {
        let log = self.log.borrow();
        let mut durable = self.start.clone();
        let mut crashes = vec![durable.clone()];
        let mut unsynced: Vec<(usize, &[u8])> = Vec::new();
        let mut syncs = 0;
        for operation in log.iter() {
            match operation {
                Operation::Write { offset, bytes } => {
                    let atoms = bytes.chunks(ATOM_LEN).enumerate();
                    unsynced.extend(atoms.map(|(atom, piece)| (offset + atom * ATOM_LEN, piece)));
                }
                Operation::Sync => {
                    if skipped != Some(syncs) {
                        apply(&mut durable, &unsynced, |_| true);
                        unsynced.clear();
                    }
                    syncs += 1;
                }
            }
            for subset in subsets(unsynced.len()) {
                let mut disk = durable.clone();
                apply(&mut disk, &unsynced, |atom| subset[atom]);
                crashes.push(disk);
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

/// Which sectors arrived of those that were not synced.
fn subsets(atoms: usize) -> Vec<Vec<bool>> {
    if atoms == 0 {
        return vec![vec![]];
    }
    let mut subsets = Vec::new();
    for cut in 0..=atoms {
        subsets.push((0..atoms).map(|atom| atom < cut).collect());
        subsets.push((0..atoms).map(|atom| atom >= cut).collect());
        subsets.push((0..atoms).map(|atom| atom != cut).collect());
    }
    for step in 2..=5 {
        subsets.extend((0..step).map(|first| (0..atoms).map(|a| a % step == first).collect()));
    }
    subsets
}

fn apply(disk: &mut [u8], atoms: &[(usize, &[u8])], arrived: impl Fn(usize) -> bool) {
    for (atom, &(offset, piece)) in atoms.iter().enumerate() {
        if arrived(atom) {
            disk[offset..offset + piece.len()].copy_from_slice(piece);
        }
    }
}

impl Storage for SimStorage {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
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
        apply(&mut self.bytes.borrow_mut(), &[(offset, buf)], |_| true);
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
