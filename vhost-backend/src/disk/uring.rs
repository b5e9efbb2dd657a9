//! The disk through io_uring: one ring a queue, with the queue's kick and command descriptors watched in the same ring.
//!
//! One of the files where `unsafe` lives: every entry pushed names memory that the [`Job`] in `jobs` owns until its
//! completion has been taken.

use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::Errno;

use super::{
    Disk, Event, Job, Operation, Submitted, Wait,
    buffer::Pool,
    ring::{RingError, flags_of, register_buffers},
    way::Way,
};
use crate::limits::{BARE_OPERATIONS_MAX, BUFFERS};

/// `user_data` of jobs is their index; watches lie above.
const WATCH_COMMAND: u64 = 1 << 32;
const WATCH_KICK: u64 = 1 << 33;
const IGNORED: u64 = 1 << 34;

/// Index of the image in the ring's file table.
const IMAGE: types::Fixed = types::Fixed(0);

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
    /// Puts `ring`, which is [restricted and not enabled yet](super::ring::make), over `image`. Its buffers come from
    /// `pool`, and are registered with the kernel if by the `way` it is the ring that reads and writes, and if that
    /// leaves `reserve` bytes of a memory lock limit to others. `command` is the eventfd that announces commands.
    /// Only the calling thread can use it from here on.
    ///
    /// `lock` is the descriptor that holds the image's locks. The kernel lets go of a registered file when the ring's
    /// last operation has ended, which may be after a killed process has gone: until then nobody else can have the
    /// image.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn new(
        ring: IoUring,
        [image, lock]: [BorrowedFd<'_>; 2],
        (pool, way, reserve): (&Pool, Way, Option<u64>),
        command: OwnedFd,
    ) -> Result<Self, RingError> {
        ring.submitter()
            .register_files(&[image.as_raw_fd(), lock.as_raw_fd()])
            .map_err(RingError::Register)?;
        let fixed_buffers = way.waits() && register_buffers(&ring, pool, reserve);
        ring.submitter().register_enable_rings().map_err(RingError::Register)?;
        let slots = BUFFERS + BARE_OPERATIONS_MAX;
        let mut uring = Self {
            ring,
            jobs: std::iter::repeat_with(|| None).take(slots).collect(),
            free: (0..slots as u16).rev().collect(),
            fixed_buffers,
            flags: flags_of(way),
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
            // It is full of entries that the kernel has not been shown yet.
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
        // The kernel takes a ring apart when it finds the time, which may be after this process has ended: the image's
        // file system is to be free by then.
        let _ = self.ring.submitter().unregister_files();
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uring({} in flight)", self.in_flight())
    }
}
