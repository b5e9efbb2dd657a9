//! How a ring of io_uring is made, and what it is held to: the operations of a queue, and nothing else. seccomp does
//! not see what goes through a ring.
//!
//! Locked memory is the user's, not the process's: a limit is for all processes of a user together. Measured on Linux
//! 6.18, where a ring counts as well as buffers (6.1 to 6.13 count buffers only): a ring of 256 entries counts 28 KiB,
//! one of 64 or fewer 8 KiB. So rings are as small as they can be, and [buffers are registered](register_buffers) only
//! if others are left enough.
//!
//! One of the files where `unsafe` lives: buffers are registered by their address.

use std::{io, ptr};

use io_uring::{IoUring, Probe, opcode, register::Restriction, squeue};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use thiserror::Error;

use super::{buffer::Pool, way::Way};
use crate::limits::{RING_COMPLETIONS, RING_ENTRIES, RING_LEN};

/// Why a ring could not be made.
#[derive(Debug, Error)]
pub enum RingError {
    /// The kernel, or the container's profile, forbids io_uring.
    #[error(
        "io_uring is not available: {0}; allow it (kernel.io_uring_disabled=0, a seccomp profile with io_uring) or use a kernel from 6.0 on"
    )]
    Forbidden(io::Error),
    /// The user has locked all the memory that it may.
    #[error(
        "no memory for a ring of io_uring is left of this user's memory lock limit, {limit} KiB for all of its processes together: {needed} KiB more are needed for all queues of this disk; raise it (LimitMEMLOCK=, 'memlock' in /etc/security/limits.conf)"
    )]
    LockLimit {
        /// KiB that the user may lock.
        limit: u64,
        /// KiB that the disk's rings lock.
        needed: u64,
    },
    /// There is no memory.
    #[error("a ring of io_uring cannot be made: {0}")]
    System(io::Error),
    /// An operation is missing.
    #[error("this kernel's io_uring lacks operation {0}: use Linux 6.0 or later")]
    Missing(&'static str),
    /// Registration failed.
    #[error("registering the image with io_uring: {0}")]
    Register(io::Error),
    /// The ring would do anything.
    #[error("restricting a ring of io_uring: {0}")]
    Restrict(io::Error),
    /// The process that makes them does not.
    #[error("the process that makes rings of io_uring does not answer: {0}")]
    Maker(io::Error),
}

/// What a queue asks of its ring. The kernel must have these, and from the ring it takes nothing else.
const OPERATIONS: [(u8, &str); 8] = [
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::ReadFixed::CODE, "READ_FIXED"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::PollRemove::CODE, "POLL_REMOVE"),
];

impl RingError {
    /// The same of a process that may lock `limit` bytes, none: as many as it likes, and has `queues`.
    #[must_use]
    pub fn with_limit(self, limit: Option<u64>, queues: u16) -> Self {
        match (self, limit) {
            (Self::System(error), Some(limit)) if error.raw_os_error() == Some(libc::ENOMEM) => {
                let needed = u64::from(queues) * RING_LEN;
                Self::LockLimit { limit: limit >> 10, needed: needed >> 10 }
            }
            (other, _) => other,
        }
    }

    /// As two numbers, for another process.
    pub(super) fn numbers(&self) -> [i32; 2] {
        let errno = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        match self {
            Self::Forbidden(error) => [1, errno(error)],
            Self::Missing(name) => {
                [2, OPERATIONS.iter().position(|(_, of)| of == name).unwrap_or(0) as i32]
            }
            Self::Restrict(error) => [3, errno(error)],
            Self::System(error) | Self::Register(error) | Self::Maker(error) => [4, errno(error)],
            Self::LockLimit { .. } => [4, libc::ENOMEM],
        }
    }

    /// What another process said; none: that there is a ring.
    pub(super) fn from_numbers([kind, detail]: [i32; 2]) -> Option<Self> {
        let error = io::Error::from_raw_os_error(detail);
        match kind {
            0 => None,
            1 => Some(Self::Forbidden(error)),
            2 => Some(Self::Missing(OPERATIONS.get(detail as usize).map_or("?", |(_, name)| name))),
            3 => Some(Self::Restrict(error)),
            _ => Some(Self::System(error)),
        }
    }
}

/// A ring for one thread that runs its completions only when it asks for them; kernels before 6.1 get a plain one. It
/// takes the operations of a queue and no others, and none before it is enabled.
///
/// # Errors
/// [`RingError`] says why there is none.
pub fn make(way: Way) -> Result<IoUring, RingError> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(RING_COMPLETIONS)
        .setup_r_disabled()
        .build(RING_ENTRIES)
        .or_else(|error| match error.raw_os_error() {
            // The same on every attempt: who maps a ring of another process must know which it is.
            Some(libc::EINVAL) => {
                let mut plain = IoUring::builder();
                plain.setup_cqsize(RING_COMPLETIONS).setup_r_disabled().build(RING_ENTRIES)
            }
            _ => Err(error),
        })
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE) => RingError::System(error),
            _ => RingError::Forbidden(error),
        })?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(RingError::Forbidden)?;
    if let Some((_, name)) = OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(RingError::Missing(name));
    }
    restrict(&ring, flags_of(way)).map_err(RingError::Restrict)?;
    Ok(ring)
}

/// What goes with an operation of the disk.
pub(super) fn flags_of(way: Way) -> squeue::Flags {
    match way {
        Way::WaitingApart => squeue::Flags::ASYNC,
        Way::Waiting | Way::Calls | Way::CallsFirst => squeue::Flags::empty(),
    }
}

/// What can be done with an enabled ring besides: to let go of its files (`linux/io_uring.h`).
const UNREGISTER_FILES: u8 = 3;

/// Once it is enabled the ring takes [`OPERATIONS`] with some flags, and no registrations.
fn restrict(ring: &IoUring, flags: squeue::Flags) -> io::Result<()> {
    let operations = OPERATIONS.iter().map(|(code, _)| Restriction::sqe_op(*code));
    let flags = squeue::Flags::FIXED_FILE.union(flags);
    let flags = Restriction::sqe_flags_allowed(flags.bits());
    let let_go = Restriction::register_op(UNREGISTER_FILES);
    let mut all: Vec<Restriction> = operations.chain([flags, let_go]).collect();
    ring.submitter().register_restrictions(&mut all)
}

/// Registers a pool's buffers, which locks their memory; plain operations do the same, a little slower. Where that is
/// limited they must leave `reserve` bytes to the rings of others: it is tried whether there is so much more. Whether
/// they are registered.
pub(super) fn register_buffers(ring: &IoUring, pool: &Pool, reserve: Option<u64>) -> bool {
    let buffers: Vec<libc::iovec> =
        pool.slices().into_iter().map(|(base, len)| iovec(base.cast(), len)).collect();
    reserve.is_none_or(|reserve| leaves(ring, &buffers, reserve as usize))
        && register(ring, &buffers)
}

fn leaves(ring: &IoUring, buffers: &[libc::iovec], reserve: usize) -> bool {
    /// Bytes that are registered again and again, and count each time.
    const LEN: usize = 64 << 10;
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
    let mapped = unsafe {
        mm::mmap_anonymous(
            ptr::null_mut(),
            LEN,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    };
    let Ok(memory) = mapped else { return false };
    // Of a huge page the kernel counts what is registered twice once.
    // SAFETY: the range is the mapping just made.
    let _ = unsafe { mm::madvise(memory, LEN, Advice::LinuxNoHugepage) };
    let reserve = std::iter::repeat_n(iovec(memory, LEN), reserve / LEN);
    let all: Vec<_> = buffers.iter().copied().chain(reserve).collect();
    let fits = register(ring, &all) && ring.submitter().unregister_buffers().is_ok();
    // SAFETY: nothing refers to the mapping any more, the kernel included.
    let _ = unsafe { mm::munmap(memory, LEN) };
    fits
}

fn iovec(base: *mut libc::c_void, len: usize) -> libc::iovec {
    libc::iovec { iov_base: base, iov_len: len }
}

fn register(ring: &IoUring, buffers: &[libc::iovec]) -> bool {
    // SAFETY: the mappings outlive the registration: a queue drops its disk before its pool, a pool with buffers out is
    // never unmapped, and the reserve is unregistered before it is unmapped.
    unsafe { ring.submitter().register_buffers(buffers) }.is_ok()
}

#[cfg(test)]
mod tests {
    use io_uring::types;

    use super::*;

    /// What an operation of somebody who has taken over the process would end with.
    fn attempt(ring: &mut IoUring, entry: &squeue::Entry) -> i32 {
        // SAFETY: the entries of these tests name static memory or none.
        unsafe { ring.submission().push(entry) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        ring.completion().next().unwrap().result()
    }

    #[test]
    fn a_ring_opens_no_file_and_makes_no_socket() {
        let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), c"/etc/passwd".as_ptr()).build();
        let socket = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build();
        let mut free = IoUring::new(8).unwrap();
        assert!(attempt(&mut free, &open) >= 0, "the attempt itself is right");
        assert!(attempt(&mut free, &socket) >= 0, "the attempt itself is right");
        let mut restricted = make(Way::Waiting).unwrap();
        restricted.submitter().register_enable_rings().unwrap();
        assert_eq!(attempt(&mut restricted, &open), -libc::EACCES);
        assert_eq!(attempt(&mut restricted, &socket), -libc::EACCES);
        assert!(restricted.submitter().register_files(&[0]).is_err(), "registers another file");
    }

    #[test]
    fn a_limit_of_locked_memory_is_told_with_what_is_needed() {
        let short = || RingError::System(io::Error::from_raw_os_error(libc::ENOMEM));
        let told = short().with_limit(Some(8 << 20), 4).to_string();
        assert!(told.contains("8192 KiB for all of its processes"), "{told}");
        assert!(told.contains("32 KiB more") && told.contains("LimitMEMLOCK="), "{told}");
        let unlimited = short().with_limit(None, 4).to_string();
        assert!(!unlimited.contains("limit"), "{unlimited}");
    }

    #[test]
    fn an_error_of_another_process_is_the_same_here() {
        let eperm = || io::Error::from_raw_os_error(libc::EPERM);
        for error in [
            RingError::Forbidden(eperm()),
            RingError::Missing("FALLOCATE"),
            RingError::Restrict(eperm()),
            RingError::System(eperm()),
        ] {
            let there = RingError::from_numbers(error.numbers()).unwrap();
            assert_eq!(there.to_string(), error.to_string());
        }
    }
}
