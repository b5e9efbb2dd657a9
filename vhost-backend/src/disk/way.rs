//! How data reaches the file: through io_uring, or by plain calls where io_uring would only cost. Asked of the file
//! once, at attach, and said.
//!
//! io_uring is there to let a device work while the queue goes on. A file in memory has no device: its file system
//! cannot say "not yet" (it has no NOWAIT), so the kernel hands every request to a worker thread, which competes
//! with the queue for its core. A plain call copies and is done. Pages of a page cache lie between: a call that may
//! not wait (RWF_NOWAIT) answers when they are there, and io_uring when they are not.

use std::{
    fmt,
    fs::File,
    io::{IoSlice, IoSliceMut},
};

use rustix::{
    fs::{fdatasync, fstat, fstatfs},
    io::{Errno, ReadWriteFlags, pread, preadv2, pwrite, pwritev2},
};

use super::Operation;

/// `f_type` of file systems that keep their files in memory (`linux/magic.h`).
const IN_MEMORY: [libc::__fsword_t; 2] = [0x0102_1994, 0x8584_58f6];

/// How an image's data is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through io_uring.
    Ring,
    /// By calls: the file is memory.
    Calls,
    /// By calls that do not wait; what would, through io_uring.
    CallsThenRing,
}

impl Way {
    /// The way for an open image. `direct`: it is open past the page cache.
    #[must_use]
    pub fn of(image: &File, direct: bool) -> Self {
        if is_in_memory(image) {
            return Self::Calls;
        }
        if direct { Self::Ring } else { Self::CallsThenRing }
    }

    /// Whether the ring has data to move.
    #[must_use]
    pub fn uses_ring(self) -> bool {
        self != Self::Calls
    }

    /// Does an operation by a call, if it can be done so now: the bytes it moved, or why not. `None`: it is one for
    /// the ring.
    pub(super) fn attempt(
        self,
        image: &File,
        operation: &mut Operation,
    ) -> Option<Result<usize, Errno>> {
        match self {
            Self::Ring => None,
            Self::Calls => call(image, operation, ReadWriteFlags::empty()),
            Self::CallsThenRing => match call(image, operation, ReadWriteFlags::NOWAIT)? {
                // Not in the page cache, at the end of the file, no space that is to be had without a wait, or nothing
                // this file system can promise.
                Ok(0) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSPC | Errno::DQUOT) => None,
                moved => Some(moved),
            },
        }
    }
}

/// A block device's own file system is where its name lies; it is a device all the same.
fn is_in_memory(image: &File) -> bool {
    let is_file = fstat(image).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
    is_file && fstatfs(image).is_ok_and(|fs| IN_MEMORY.contains(&fs.f_type))
}

fn call(
    image: &File,
    operation: &mut Operation,
    flags: ReadWriteFlags,
) -> Option<Result<usize, Errno>> {
    match operation {
        Operation::Read { into, at, len, done } => {
            let (place, from) = (&mut into.bytes_mut()[*done..*len], *at + *done as u64);
            Some(if flags.is_empty() {
                pread(image, place, from)
            } else {
                preadv2(image, &mut [IoSliceMut::new(place)], from, flags)
            })
        }
        // To wait for the device is the ring's part, unless there is none.
        Operation::Write { durable: true, .. } | Operation::Sync if !flags.is_empty() => None,
        Operation::Write { from, at, done, .. } => {
            let (bytes, to) = (&from.bytes()[*done..], *at + *done as u64);
            Some(if flags.is_empty() {
                pwrite(image, bytes, to)
            } else {
                pwritev2(image, &[IoSlice::new(bytes)], to, flags)
            })
        }
        Operation::Sync => Some(fdatasync(image).map(|()| 0)),
        Operation::Punch { .. } => None,
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "by io_uring",
            Self::Calls => "by plain calls (the file is in memory)",
            Self::CallsThenRing => "by calls that do not wait, else by io_uring",
        })
    }
}
