//! How far the store has come, beside the store.
//!
//! redb repairs a file after a crash by giving up its newest commit where that is not whole. So does it where a bit of
//! that commit rotted, and nothing in the file tells the one from the other. Therefore the number of each audit row is
//! written down in a file of its own when its commit is known to be durable. It costs no sync: after a kill the kernel
//! has it, and after a power cut it can only be behind.

use std::{io, sync::Arc};

use crate::files::{Dir, FileAt, read_range};

/// Its name.
const NAME: &str = "store.mark";

/// The file: the number and its complement, each 8 bytes, little-endian.
pub(super) struct Mark(Arc<dyn FileAt>);

impl Mark {
    /// Opens it.
    pub(super) fn open(dir: &dyn Dir) -> io::Result<Self> {
        let file = dir.open(NAME)?;
        file.map_or_else(|| dir.create(NAME), Ok).map(Self)
    }

    /// The newest row that was committed, as far as it is known; 0 if it is not.
    pub(super) fn newest(&self) -> io::Result<u64> {
        let bytes = read_range(&*self.0, 0, 16)?;
        let number = |at: usize| bytes.get(at..)?.first_chunk().map(|of| u64::from_le_bytes(*of));
        let seq = number(0).filter(|seq| number(8) == Some(!seq));
        Ok(seq.unwrap_or_default())
    }

    /// Writes down a commit. If that fails, less is known after a kill: it is no reason to stop.
    pub(super) fn note(&self, seq: u64) {
        let _ = self.0.write_at(0, &[seq.to_le_bytes(), (!seq).to_le_bytes()].concat());
    }
}
