//! The disk through io_uring: one ring a queue, with the queue's kick and command descriptors watched in the same ring.
//!
//! One of the files where `unsafe` lives: every entry pushed names memory that the [`Job`] in `jobs` owns until its
//! completion has been taken.

use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use io_uring::{IoUring, Probe, cqueue, opcode, register::Restriction, squeue, types};
use rustix::io::Errno;
use thiserror::Error;

use super::{Disk, Event, Job, Operation, Submitted, Wait, buffer::Pool, way::Way};
use crate::limits::{BARE_OPERATIONS_MAX, BUFFERS, RING_ENTRIES};

/// `user_data` of jobs is their index; watches lie above.
const WATCH_COMMAND: u64 = 1 << 32;
const WATCH_KICK: u64 = 1 << 33;
const IGNORED: u64 = 1 << 34;

const NO_FLAGS: squeue::Flags = squeue::Flags::empty();

/// Index of the image in the ring's file table.
const IMAGE: types::Fixed = types::Fixed(0);

/// Why a ring could not be made.
#[derive(Debug, Error)]
pub enum RingError {
    /// The kernel, or the container's profile, forbids io_uring.
    #[error(
        "io_uring is not available: {0}; allow it (kernel.io_uring_disabled=0, a seccomp profile with io_uring) or use a kernel from 6.0 on"
    )]
    Forbidden(io::Error),
    /// An operation is missing.
    #[error("this kernel's io_uring lacks operation {0}: use Linux 6.0 or later")]
    Missing(&'static str),
    /// Registration failed.
    #[error("registering the image with io_uring: {0}")]
    Register(io::Error),
    /// The ring would do anything.
    #[error("restricting a ring of io_uring: {0}")]
    Restrict(io::Error),
}

/// What a queue asks of its ring. The kernel must have these, and from the ring it takes nothing else: seccomp does not
/// see what goes through a ring.
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

/// One queue's ring.
pub struct Uring {
    ring: IoUring,
    jobs: Vec<Option<Job>>,
    free: Vec<u16>,
    fixed_buffers: bool,
    /// What goes with an operation of the disk.
    flags: squeue::Flags,
    kick: Option<OwnedFd>,
    /// Counts watched kick descriptors: a late event of an earlier one is not this one's.
    kick_number: u32,
    command: OwnedFd,
}

impl Uring {
    /// A ring over `image`, whose buffers come from `pool`, registered with the kernel if by the `way` it is the ring
    /// that reads and writes: that locks their memory. `command` is the eventfd that announces commands.
    ///
    /// `lock` is the descriptor that holds the image's locks. The kernel lets go of a registered file when the ring's
    /// last operation has ended, which may be after a killed process has gone: until then nobody else can have the
    /// image.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn new(
        [image, lock]: [BorrowedFd<'_>; 2],
        (pool, way): (&Pool, Way),
        command: OwnedFd,
    ) -> Result<Self, RingError> {
        let ring = build()?;
        let submitter = ring.submitter();
        submitter
            .register_files(&[image.as_raw_fd(), lock.as_raw_fd()])
            .map_err(RingError::Register)?;
        let slices: Vec<libc::iovec> = pool
            .slices()
            .into_iter()
            .map(|(base, len)| libc::iovec { iov_base: base.cast(), iov_len: len })
            .collect();
        // SAFETY: the pool's mapping outlives the ring: the queue drops its disk before its pool, and a pool with
        // buffers out is never unmapped.
        // Registering may fail for want of lockable memory; plain operations do the same, a little slower.
        let fixed_buffers = way.waits() && unsafe { submitter.register_buffers(&slices) }.is_ok();
        let apart = if way == Way::WaitingApart { squeue::Flags::ASYNC } else { NO_FLAGS };
        restrict(&ring, apart).map_err(RingError::Restrict)?;
        let slots = BUFFERS + BARE_OPERATIONS_MAX;
        let mut uring = Self {
            ring,
            jobs: std::iter::repeat_with(|| None).take(slots).collect(),
            free: (0..slots as u16).rev().collect(),
            fixed_buffers,
            flags: apart,
            kick: None,
            kick_number: 0,
            command,
        };
        uring.watch(uring.command.as_raw_fd(), WATCH_COMMAND);
        Ok(uring)
    }

    /// Whether the buffers are registered with the kernel.
    #[must_use]
    pub fn has_fixed_buffers(&self) -> bool {
        self.fixed_buffers
    }

    /// Watches a descriptor for as long as the ring lives. The eventfd is not read: a multishot poll reports each
    /// write to it once, and its counter of 64 bits does not fill. (A read through the ring would fail with EAGAIN
    /// on the non-blocking eventfds that QEMU hands over.)
    fn watch(&mut self, fd: i32, user_data: u64) {
        let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(user_data);
        self.push(&entry);
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: watches and removals name no memory; the memory of data operations is owned by the job stored in
        // `jobs` before the entry is pushed, and stays there until its completion is taken.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            // The ring has an entry for every job, watch and removal; it can only be full of entries that the kernel
            // has not been shown yet.
            let _ = self.ring.submit();
        }
    }

    fn entry(&self, job: &Job) -> squeue::Entry {
        match &job.operation {
            Operation::Read { into, at, len, done } => {
                let target = into.address().wrapping_add(*done);
                let (left, offset) = ((len - done) as u32, at + *done as u64);
                if self.fixed_buffers {
                    opcode::ReadFixed::new(IMAGE, target, left, into.index()).offset(offset).build()
                } else {
                    opcode::Read::new(IMAGE, target, left).offset(offset).build()
                }
            }
            Operation::Write { from, at, done, durable } => {
                let source = from.address().wrapping_add(*done);
                let (left, offset) = ((from.bytes().len() - done) as u32, at + *done as u64);
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                if self.fixed_buffers {
                    opcode::WriteFixed::new(IMAGE, source, left, from.index())
                        .offset(offset)
                        .rw_flags(flags)
                        .build()
                } else {
                    opcode::Write::new(IMAGE, source, left).offset(offset).rw_flags(flags).build()
                }
            }
            Operation::Sync => opcode::Fsync::new(IMAGE).flags(types::FsyncFlags::DATASYNC).build(),
            Operation::Punch { at, len } => opcode::Fallocate::new(IMAGE, *len)
                .offset(*at)
                .mode(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE)
                .build(),
        }
    }

    fn event(&mut self, entry: &cqueue::Entry) -> Option<Event> {
        // A watch that failed cannot be set up again: the descriptor is none that can be watched.
        let ended = !cqueue::more(entry.flags()) && entry.result() >= 0;
        match entry.user_data() {
            WATCH_COMMAND => {
                if ended {
                    self.watch(self.command.as_raw_fd(), WATCH_COMMAND);
                }
                Some(Event::Command)
            }
            data if data & WATCH_KICK != 0 => self.kick_event(data, ended),
            data if data & IGNORED != 0 => None,
            data => {
                let index = data as usize;
                let job = self.jobs[index].take()?;
                self.free.push(index as u16);
                let result = usize::try_from(entry.result())
                    .map_err(|_| Errno::from_raw_os_error(-entry.result()));
                Some(Event::Done(job, result))
            }
        }
    }

    fn kick_event(&mut self, data: u64, ended: bool) -> Option<Event> {
        let current = WATCH_KICK | u64::from(self.kick_number);
        if data != current {
            return None;
        }
        if let Some(kick) = self.kick.as_ref().filter(|_| ended) {
            self.watch(kick.as_raw_fd(), current);
        }
        self.kick.is_some().then_some(Event::Kick)
    }
}

/// A ring for one thread that runs its completions only when it asks for them; kernels before 6.1 get a plain one.
/// It does nothing until it is [restricted](restrict).
fn build() -> Result<IoUring, RingError> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(2 * RING_ENTRIES)
        .setup_r_disabled()
        .build(RING_ENTRIES)
        .or_else(|_| {
            let mut plain = IoUring::builder();
            plain.setup_cqsize(2 * RING_ENTRIES).setup_r_disabled().build(RING_ENTRIES)
        })
        .map_err(RingError::Forbidden)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(RingError::Forbidden)?;
    match OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(RingError::Missing(name)),
        None => Ok(ring),
    }
}

/// Whether rings like a queue's can be made here.
///
/// # Errors
/// [`RingError`] says why not.
pub fn probe() -> Result<(), RingError> {
    restrict(&build()?, NO_FLAGS).map_err(RingError::Restrict)
}

/// From here on the ring takes [`OPERATIONS`] with some flags, and no registrations.
fn restrict(ring: &IoUring, flags: squeue::Flags) -> io::Result<()> {
    let operations = OPERATIONS.iter().map(|(code, _)| Restriction::sqe_op(*code));
    let flags = squeue::Flags::FIXED_FILE.union(flags);
    let flags = Restriction::sqe_flags_allowed(flags.bits());
    let mut all: Vec<Restriction> = operations.chain([flags]).collect();
    ring.submitter().register_restrictions(&mut all)?;
    ring.submitter().register_enable_rings()
}

impl Disk for Uring {
    fn submit(&mut self, job: Job) -> Submitted {
        let Some(index) = self.free.pop() else { return Submitted::Full(job) };
        let entry = self.entry(&job).flags(self.flags).user_data(u64::from(index));
        // The job, and with it the buffer, is in our keeping before the kernel can see its address.
        self.jobs[usize::from(index)] = Some(job);
        self.push(&entry);
        Submitted::Queued
    }

    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        let result = match wait {
            Wait::No => {
                let submission = self.ring.submission();
                if submission.is_empty() && !submission.taskrun() && !submission.cq_overflow() {
                    return Ok(());
                }
                drop(submission);
                self.ring.submit()
            }
            Wait::Sleep(None) => self.ring.submit_and_wait(1),
            Wait::Sleep(Some(time)) => {
                let time = types::Timespec::from(time);
                self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&time))
            }
        };
        match result {
            Ok(_) => Ok(()),
            // Time is up, a signal, or completions that must be taken first: the loop comes round again.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn next(&mut self) -> Option<Event> {
        loop {
            let entry = self.ring.completion().next()?;
            if let Some(event) = self.event(&entry) {
                return Some(event);
            }
        }
    }

    fn watch_kicks(&mut self, kick: Option<OwnedFd>) {
        if self.kick.is_some() {
            let old = WATCH_KICK | u64::from(self.kick_number);
            self.push(&opcode::PollRemove::new(old).build().user_data(IGNORED));
        }
        self.kick_number = self.kick_number.wrapping_add(1);
        if let Some(fd) = &kick {
            self.watch(fd.as_raw_fd(), WATCH_KICK | u64::from(self.kick_number));
        }
        self.kick = kick;
        // The old descriptor is closed at the end of this call: its poll must be on its way out of the kernel by then.
        let _ = self.ring.submit();
    }

    fn has_durable_writes(&self) -> bool {
        true
    }

    fn in_flight(&self) -> usize {
        self.jobs.len() - self.free.len()
    }
}

impl Drop for Uring {
    /// Waits for what is in flight: closing a ring does not stop the kernel from writing to its buffers. If
    /// waiting fails the jobs are leaked, and with them the pool's memory.
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            if self.wait(Wait::Sleep(None)).is_err() {
                std::mem::forget(std::mem::take(&mut self.jobs));
                return;
            }
            while self.next().is_some() {}
        }
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uring({} in flight)", self.in_flight())
    }
}

#[cfg(test)]
mod tests {
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
        let mut restricted = build().unwrap();
        restrict(&restricted, NO_FLAGS).unwrap();
        assert_eq!(attempt(&mut restricted, &open), -libc::EACCES);
        assert_eq!(attempt(&mut restricted, &socket), -libc::EACCES);
        assert!(restricted.submitter().register_files(&[0]).is_err(), "registers another file");
    }
}
