//! What reached the disk, in order: so a test can tell what a power cut at any moment would have left.

use super::Operation;

/// A step in the life of an operation. Reads are left out: they change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The disk took an operation, by a number of its own.
    Began(u64, Change),
    /// It ended well, and this many bytes of it were written.
    Ended(u64, usize),
    /// It was not done, and is to be tried again.
    Again(u64),
    /// It failed. Of a write nothing was done; what a sync was to make durable may be lost for good.
    Failed(u64),
}

/// What an operation does to the disk. Offsets are into the image, bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Ciphertext is written.
    Write {
        /// Image offset.
        at: usize,
        /// What is still to be written of it.
        bytes: Vec<u8>,
        /// It is durable when it ends.
        durable: bool,
    },
    /// Bytes become zeros.
    Punch {
        /// Image offset.
        at: usize,
        /// Bytes.
        len: usize,
    },
    /// What had ended before this began is durable when it ends.
    Sync,
}

impl Change {
    /// What an operation is about to change; `None` for a read.
    pub(super) fn of(operation: &Operation) -> Option<Self> {
        match operation {
            Operation::Read { .. } => None,
            Operation::Write { from, at, done, durable } => Some(Self::Write {
                at: *at as usize + done,
                bytes: from.bytes()[*done..].to_vec(),
                durable: *durable,
            }),
            Operation::Sync => Some(Self::Sync),
            Operation::Punch { at, len } => {
                Some(Self::Punch { at: *at as usize, len: *len as usize })
            }
        }
    }
}
