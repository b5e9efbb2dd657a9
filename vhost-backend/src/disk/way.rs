//! How data reaches the file: through what waits for a device (io_uring, or threads), or by plain calls where that
//! would only cost. Asked of the file once, at attach, and said.
//!
//! io_uring is there to let a device work while the queue goes on. A file in memory has no device: its file system
//! cannot say "not yet" (it has no NOWAIT), so the kernel hands every request to a worker thread, which competes
//! with the queue for its core. A plain call copies and is done. Pages of a page cache lie between: a call that may
//! not wait (RWF_NOWAIT) answers when they are there, and io_uring when they are not.
//!
//! FUSE says that its calls need not wait, and has them wait all the same: for a lock that a flush holds, until whoever
//! serves the file has answered. A queue that hangs in one cannot let go of its key, so there all is the kernel's
//! workers'.

use std::fs::File;

use rustix::{
    fs::{fstat, fstatfs},
    io::{Errno, ReadWriteFlags},
};

use super::{Operation, call::call, engine::Kind};

/// `f_type` of file systems that keep their files in memory (`linux/magic.h`).
const IN_MEMORY: [libc::__fsword_t; 2] = [0x0102_1994, 0x8584_58f6];

/// `f_type` of FUSE, virtiofs included.
const FUSE: libc::__fsword_t = 0x6573_5546;

/// How an image's data is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By what waits for the device.
    Waiting,
    /// By what waits for the device, and there by somebody else than the queue.
    WaitingApart,
    /// By calls: the file is memory.
    Calls,
    /// By calls that do not wait; what would, by what waits for the device.
    CallsFirst,
}

impl Way {
    /// The way for an open image. `direct`: it is open past the page cache.
    #[must_use]
    pub fn of(image: &File, direct: bool) -> Self {
        match file_system(image) {
            Some(kind) if IN_MEMORY.contains(&kind) => Self::Calls,
            Some(FUSE) => Self::WaitingApart,
            _ if direct => Self::Waiting,
            _ => Self::CallsFirst,
        }
    }

    /// Whether what waits for the device has data to move.
    #[must_use]
    pub fn waits(self) -> bool {
        self != Self::Calls
    }

    /// Whether a write may be durable by itself. Through a page cache it could, with RWF_DSYNC, but would hear of every
    /// page of the file that could not be written, and the kernel tells that once: another, under way, would end well.
    /// A sync follows such writes, one at a time (`queue/commit.rs`).
    #[must_use]
    pub(super) fn has_durable_writes(self) -> bool {
        matches!(self, Self::Waiting | Self::Calls)
    }

    /// Does an operation by a call, if it can be done so now: the bytes it moved, or why not. `None`: it is one to wait
    /// for.
    pub(super) fn attempt(
        self,
        image: &File,
        operation: &mut Operation,
    ) -> Option<Result<usize, Errno>> {
        match (self, &operation) {
            (Self::Waiting | Self::WaitingApart, _) | (_, Operation::Punch { .. }) => None,
            (Self::Calls, _) => Some(call(image, operation, ReadWriteFlags::empty())),
            (Self::CallsFirst, Operation::Write { durable: true, .. } | Operation::Sync) => None,
            (Self::CallsFirst, _) => match call(image, operation, ReadWriteFlags::NOWAIT) {
                // Not in the page cache, at the end of the file, no space that is to be had without a wait, or nothing
                // this file system can promise.
                Ok(0) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSPC | Errno::DQUOT) => None,
                moved => Some(moved),
            },
        }
    }

    /// In words. `kind`: what waits for the device.
    #[must_use]
    pub fn description(self, kind: Kind) -> String {
        match self {
            Self::Waiting => format!("by {kind}"),
            Self::WaitingApart => {
                format!("by {kind}, its workers alone (the file system would keep a queue waiting)")
            }
            Self::Calls => "by plain calls (the file is in memory)".to_owned(),
            Self::CallsFirst => format!("by calls that do not wait, else by {kind}"),
        }
    }
}

/// `f_type` of a file's. A block device's own is where its name lies; it is a device all the same.
fn file_system(image: &File) -> Option<libc::__fsword_t> {
    let is_file = fstat(image).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
    fstatfs(image).ok().filter(|_| is_file).map(|fs| fs.f_type)
}
