//! The process that makes rings. A queue is made when its ring is started, and by then the sandbox is closed: a process
//! that can make rings can make one that is held to nothing. So a child does, which has nothing else: no image, no key,
//! no socket but the one to its parent. What it makes is [restricted](super::ring) already. The kernel lets no socket
//! carry a ring (since Linux 6.7): the parent takes it out of the child's table of descriptors (pidfd_getfd(2)). That
//! is tracing: where even a child cannot be traced (kernel.yama.ptrace_scope from 2 on) rings are made in advance
//! instead.
//!
//! The child ends when its parent does, by the end of their connection, or by a signal that is meant for both.
//!
//! One of the files where `unsafe` lives: `fork`, and a ring by its descriptor.

use std::{
    fmt, io,
    os::{
        fd::{AsRawFd, IntoRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Mutex, PoisonError},
};

use confine::calls::{
    self, Call, Filter,
    When::{Is, Without},
    any, only,
};
use io_uring::{IoUring, Parameters};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    process::{
        DumpableBehavior, Pid, PidfdFlags, PidfdGetfdFlags, Resource, chdir, getrlimit,
        pidfd_getfd, pidfd_open, set_dumpable_behavior,
    },
    thread::{CapabilitySet, capabilities, set_name},
};

use super::{
    ring::{RingError, make},
    way::Way,
};
use crate::limits::{LOCK_RESERVE_MAX, RING_TIME, RINGS_IN_ADVANCE};

/// Bytes of an answer: two numbers.
const ANSWER_LEN: usize = 8;

/// What the child is asked for: a ring, or to let go of the last one.
const MAKE: u8 = 1;
const LET_GO: u8 = 0;

/// The parent's end of it.
pub struct RingMaker {
    /// None when it has failed once: what it may still answer is nobody's.
    child: Mutex<Option<Child>>,
    /// Rings that are there already.
    ready: Mutex<Vec<IoUring>>,
    /// What every ring of this kernel is like.
    parameters: Parameters,
    /// Bytes that this user's processes may lock together; none: as many as they like.
    limit: Option<u64>,
    queues: u16,
}

struct Child {
    stream: UnixStream,
    process: OwnedFd,
}

impl RingMaker {
    /// Makes a ring for `way`, to see that it can be done, and the process that makes more. This process must not have
    /// made a thread yet.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn start(way: Way, queues: u16) -> Result<Self, RingError> {
        let limit = lock_limit();
        let first = make(way).map_err(|error| error.with_limit(limit, queues))?;
        let parameters = first.params().clone();
        let child = Child::start(way).ok().filter(|child| {
            // Refused for want of memory: the child can be traced all the same. Later there may be memory; if not, the
            // limit is what is told.
            matches!(child.ring(), Ok(_) | Err(RingError::System(_)))
        });
        let mut ready = vec![first];
        if child.is_none() {
            let most = if limit.is_some() { queues.min(RINGS_IN_ADVANCE) } else { queues };
            ready.extend((1..most).map_while(|_| make(way).ok()));
        }
        let (child, ready) = (Mutex::new(child), Mutex::new(ready));
        Ok(Self { child, ready, parameters, limit, queues })
    }

    /// A ring, restricted and not enabled yet.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn ring(&self) -> Result<IoUring, RingError> {
        if let Some(ring) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(ring);
        }
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || RingError::Maker(io::ErrorKind::BrokenPipe.into());
        let ring = match child.as_ref().ok_or_else(gone)?.ring() {
            // SAFETY: the descriptor is a ring's and ours; every ring is made with the same parameters.
            Ok(ring) => unsafe { IoUring::from_fd(ring.into_raw_fd(), self.parameters.clone()) }
                .map_err(RingError::System),
            Err(error) => Err(error),
        };
        if matches!(ring, Err(RingError::Maker(_))) {
            *child = None;
        }
        ring.map_err(|error| error.with_limit(self.limit, self.queues))
    }

    /// Bytes that registered buffers must leave of what may be locked; none where that is not limited.
    #[must_use]
    pub fn reserve(&self) -> Option<u64> {
        self.limit.map(|limit| (limit / 2).min(LOCK_RESERVE_MAX))
    }

    /// The system call by which rings are taken from the child, and from no other process.
    #[must_use]
    pub fn call(&self) -> Option<Call> {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let number = child.as_ref().map(|child| child.process.as_raw_fd() as u64);
        number.map(|number| only("pidfd_getfd", libc::SYS_pidfd_getfd, Is(0, number)))
    }
}

impl fmt::Debug for RingMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingMaker({:?})", self.limit)
    }
}

impl Child {
    fn start(way: Way) -> Result<Self, RingError> {
        let (stream, theirs) = UnixStream::pair().map_err(RingError::Maker)?;
        stream.set_read_timeout(Some(RING_TIME)).map_err(RingError::Maker)?;
        // SAFETY: there is one thread; the child does not return.
        let pid = match unsafe { libc::fork() } {
            0 => serve(&theirs, way),
            pid => Pid::from_raw(pid).filter(|_| pid > 0),
        };
        let pid = pid.ok_or_else(|| RingError::Maker(io::Error::last_os_error()))?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(of_maker)?;
        Ok(Self { stream, process })
    }

    /// Asks for a ring, and takes it.
    fn ring(&self) -> Result<OwnedFd, RingError> {
        send(&self.stream, &[MAKE], SendFlags::NOSIGNAL).map_err(of_maker)?;
        let mut answer = [0; ANSWER_LEN];
        let heard = loop {
            match recv(&self.stream, &mut answer, RecvFlags::WAITALL) {
                // The kernel wakes it for a ring that it takes apart.
                Err(Errno::INTR) => {}
                heard => break heard.map_err(of_maker)?.0,
            }
        };
        if heard < ANSWER_LEN {
            return Err(RingError::Maker(io::ErrorKind::UnexpectedEof.into()));
        }
        let [a, b, c, d, e, f, g, h] = answer;
        let [kind, detail] = [[a, b, c, d], [e, f, g, h]].map(i32::from_ne_bytes);
        if let Some(error) = RingError::from_numbers([kind, detail]) {
            return Err(error);
        }
        let ring = pidfd_getfd(&self.process, detail, PidfdGetfdFlags::empty());
        send(&self.stream, &[LET_GO], SendFlags::NOSIGNAL).map_err(of_maker)?;
        ring.map_err(of_maker)
    }
}

fn of_maker(errno: Errno) -> RingError {
    RingError::Maker(errno.into())
}

/// What the user may lock. Who has CAP_IPC_LOCK is not counted.
fn lock_limit() -> Option<u64> {
    let has = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    getrlimit(Resource::Memlock).current.filter(|_| !has)
}

/// What the child does, all its life.
const CALLS: &[Call] = &[
    any("recvfrom", libc::SYS_recvfrom),
    any("sendto", libc::SYS_sendto),
    any("io_uring_setup", libc::SYS_io_uring_setup),
    any("io_uring_register", libc::SYS_io_uring_register),
    any("close", libc::SYS_close),
    only("mmap", libc::SYS_mmap, Without(2, libc::PROT_EXEC as u64)),
    any("munmap", libc::SYS_munmap),
    any("mremap", libc::SYS_mremap),
    any("madvise", libc::SYS_madvise),
    any("brk", libc::SYS_brk),
    any("futex", libc::SYS_futex),
    any("restart_syscall", libc::SYS_restart_syscall),
    any("rt_sigreturn", libc::SYS_rt_sigreturn),
    any("exit_group", libc::SYS_exit_group),
    only("fcntl(F_GETFD)", libc::SYS_fcntl, Is(1, libc::F_GETFD as u64)),
];

/// The child's life. It keeps nothing of what its parent has open: not the image, whose file system must be free when
/// its parent has ended, nor standard output, at whose end somebody may be waiting.
fn serve(parent: &UnixStream, way: Way) -> ! {
    let own = parent.as_raw_fd() as u32;
    // SAFETY: nothing that is closed is used below, or dropped; signals are as they are at a program's start.
    unsafe {
        if own > 0 {
            libc::close_range(0, own - 1, 0);
        }
        libc::close_range(own + 1, u32::MAX, 0);
        for signal in [libc::SIGTERM, libc::SIGINT] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    let _ = (chdir("/"), set_name(c"ring-maker"));
    // Its parent takes from it what it makes; nothing else is there to be taken.
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    let filter = Filter::Only { allowed: CALLS.to_vec(), probed: &[], absent: &[] };
    let closed = calls::restrict(&filter);
    let mut last = None;
    while closed.is_ok() && answer(parent, way, &mut last).is_ok() {}
    // SAFETY: ends the process without what its parent has to do at its end.
    unsafe { libc::_exit(0) }
}

/// Does what it is asked next. The ring of before goes: it has been taken, or never will be.
fn answer(parent: &UnixStream, way: Way, last: &mut Option<IoUring>) -> Result<(), Errno> {
    let mut asked = [LET_GO];
    match recv(parent, &mut asked, RecvFlags::empty()) {
        Ok((0, _)) => return Err(Errno::PIPE),
        Err(Errno::INTR) => return Ok(()),
        other => other?,
    };
    *last = None;
    if asked == [LET_GO] {
        return Ok(());
    }
    let numbers = match make(way) {
        Ok(ring) => [0, last.insert(ring).as_raw_fd()],
        Err(error) => error.numbers(),
    };
    send(parent, &numbers.map(i32::to_ne_bytes).concat(), SendFlags::NOSIGNAL).map(|_| ())
}

#[cfg(test)]
mod tests {
    use io_uring::{opcode, types};

    use super::*;

    /// What an operation of a ring ends with.
    fn attempt(ring: &mut IoUring, entry: &io_uring::squeue::Entry) -> i32 {
        // SAFETY: the entries of these tests name static memory or none.
        unsafe { ring.submission().push(entry) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        ring.completion().next().unwrap().result()
    }

    #[test]
    fn rings_of_another_process_do_what_a_queue_does_and_nothing_else() {
        let maker = RingMaker::start(Way::Waiting, 3).unwrap();
        let file = tempfile::tempfile().unwrap();
        let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), c"/etc/passwd".as_ptr()).build();
        for number in 0..3 {
            let mut ring = maker.ring().unwrap();
            ring.submitter().register_files(&[file.as_raw_fd()]).unwrap();
            ring.submitter().register_enable_rings().unwrap();
            let sync = opcode::Fsync::new(types::Fixed(0)).build();
            assert_eq!(attempt(&mut ring, &sync), 0, "ring {number}");
            assert_eq!(attempt(&mut ring, &open), -libc::EACCES, "ring {number}");
            assert!(ring.submitter().register_files(&[0]).is_err(), "ring {number}");
        }
    }

    #[test]
    fn that_it_is_gone_is_an_error_and_not_a_wait() {
        let maker = RingMaker::start(Way::Waiting, 2).unwrap();
        assert!(maker.ring().is_ok(), "made before");
        let gone = |child: &Option<Child>| {
            child.as_ref().unwrap().stream.shutdown(std::net::Shutdown::Both).unwrap();
        };
        gone(&maker.child.lock().unwrap());
        for _ in 0..2 {
            assert!(matches!(maker.ring(), Err(RingError::Maker(_))));
        }
    }
}
