//! seccomp: the system calls of a process that serves, each with its reason. Any other ends the process: whoever
//! makes one has taken it over, or it has a fault, and either is better ended than answered. The supervisor starts
//! another, and the guest sees a pause; the kernel's log has the number of the call.
//!
//! A few are refused instead, with EPERM: libraries try them and go on without.

use std::collections::BTreeMap;

use When::{Always, Is, Null, Us, Without};
use libc::{
    AF_UNIX, EPERM, F_ADD_SEALS, F_DUPFD_CLOEXEC, F_GET_SEALS, FIONREAD, PROT_EXEC, SO_DOMAIN,
    SO_RCVTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO, SO_SNDTIMEO_NEW, SO_TYPE,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};
use thiserror::Error;

use crate::disk::engine::Kind;

/// Why system calls could not be given up although the kernel has seccomp.
#[derive(Debug, Error)]
pub enum CallsError {
    /// The list is no list.
    #[error(transparent)]
    List(#[from] BackendError),
    /// The kernel refused.
    #[error(transparent)]
    Install(#[from] seccompiler::Error),
}

/// A system call that may be made.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Its name, with the argument that tells it from others of the same name.
    pub name: &'static str,
    number: i64,
    when: When,
}

/// What its arguments must be.
#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    /// The argument of this index is this number.
    Is(u8, u64),
    /// It has none of these bits.
    Without(u8, u64),
    /// It is a null pointer.
    Null(u8),
    /// It is this process.
    Us(u8),
}

const fn any(name: &'static str, number: i64) -> Allowed {
    Allowed { name, number, when: Always }
}

const fn only(name: &'static str, number: i64, when: When) -> Allowed {
    Allowed { name, number, when }
}

/// The C library of x86-64 has older ways to some calls.
#[cfg(target_arch = "x86_64")]
mod arch {
    pub(super) use libc::{SYS_readlink as READLINK, SYS_unlink as UNLINK};
}
#[cfg(not(target_arch = "x86_64"))]
mod arch {
    pub(super) use libc::{SYS_readlinkat as READLINK, SYS_unlinkat as UNLINK};
}

/// What a process that serves does, by what waits for the device.
#[must_use]
pub fn allowed(kind: Kind) -> Vec<Allowed> {
    let own = match kind {
        Kind::IoUring => OF_IO_URING,
        Kind::Threads => OF_THREADS,
    };
    [own, ALWAYS].concat()
}

/// The queues' disk and their one wait point.
const OF_IO_URING: &[Allowed] = &[any("io_uring_enter", libc::SYS_io_uring_enter)];

/// The queues' one wait point, and kicks watched there; what threads ask of the disk besides reads, writes and flushes.
const OF_THREADS: &[Allowed] = &[
    any("epoll_pwait", libc::SYS_epoll_pwait),
    any("epoll_ctl", libc::SYS_epoll_ctl),
    any("fallocate", libc::SYS_fallocate),
];

/// What it does whatever waits for the device.
const ALWAYS: &[Allowed] = &[
    // The queues: calls where they serve better than the ring, with and without a wait, or instead of it; interrupts
    // (as standard error, and doorbells between threads).
    any("pread64", libc::SYS_pread64),
    any("pwrite64", libc::SYS_pwrite64),
    any("fdatasync", libc::SYS_fdatasync),
    any("preadv2", libc::SYS_preadv2),
    any("pwritev2", libc::SYS_pwritev2),
    any("write", libc::SYS_write),
    // The front end: one after the other, each message once it is there as a whole, with its descriptors; what is
    // watched here is keyd's and the end's descriptor, too.
    any("accept4", libc::SYS_accept4),
    any("ppoll", libc::SYS_ppoll),
    only("ioctl(FIONREAD)", libc::SYS_ioctl, Is(1, FIONREAD)),
    any("recvfrom", libc::SYS_recvfrom),
    any("recvmsg", libc::SYS_recvmsg),
    any("sendmsg", libc::SYS_sendmsg),
    // Whether a kick is an eventfd and a region's file as long as told; copies of descriptors for a queue, and that
    // writing to one does not block it.
    any("readlink", arch::READLINK),
    any("statx", libc::SYS_statx),
    only("fcntl(F_DUPFD_CLOEXEC)", libc::SYS_fcntl, Is(1, F_DUPFD_CLOEXEC as u64)),
    only("fcntl(F_GETFL)", libc::SYS_fcntl, Is(1, libc::F_GETFL as u64)),
    only("fcntl(F_SETFL)", libc::SYS_fcntl, Is(1, libc::F_SETFL as u64)),
    any("close", libc::SYS_close),
    // What the vhost crate asks of a descriptor that is to be a socket, before we refuse it.
    only("getsockopt(SO_DOMAIN)", libc::SYS_getsockopt, Is(2, SO_DOMAIN as u64)),
    only("getsockopt(SO_TYPE)", libc::SYS_getsockopt, Is(2, SO_TYPE as u64)),
    // In-flight memory: made with a length that stays, or another's looked at.
    any("memfd_create", libc::SYS_memfd_create),
    any("ftruncate", libc::SYS_ftruncate),
    any("fstat", libc::SYS_fstat),
    only("fcntl(F_ADD_SEALS)", libc::SYS_fcntl, Is(1, F_ADD_SEALS as u64)),
    only("fcntl(F_GET_SEALS)", libc::SYS_fcntl, Is(1, F_GET_SEALS as u64)),
    // keyd: a connection anew, which may hang, by the two ways to say for how long; a signal is passed on by sendto,
    // too.
    only("socket(AF_UNIX)", libc::SYS_socket, Is(0, AF_UNIX as u64)),
    any("connect", libc::SYS_connect),
    only("setsockopt(SO_SNDTIMEO)", libc::SYS_setsockopt, Is(2, SO_SNDTIMEO as u64)),
    only("setsockopt(SO_RCVTIMEO)", libc::SYS_setsockopt, Is(2, SO_RCVTIMEO as u64)),
    only("setsockopt(SO_SNDTIMEO_NEW)", libc::SYS_setsockopt, Is(2, SO_SNDTIMEO_NEW as u64)),
    only("setsockopt(SO_RCVTIMEO_NEW)", libc::SYS_setsockopt, Is(2, SO_RCVTIMEO_NEW as u64)),
    only("sendto", libc::SYS_sendto, Null(4)),
    // The pages of a key that comes back: locked, in no dump, in no child.
    any("mlock", libc::SYS_mlock),
    any("madvise", libc::SYS_madvise),
    // Guests' memory, and the allocator's: never code.
    only("mmap", libc::SYS_mmap, Without(2, PROT_EXEC as u64)),
    only("mprotect", libc::SYS_mprotect, Without(2, PROT_EXEC as u64)),
    any("munmap", libc::SYS_munmap),
    any("mremap", libc::SYS_mremap),
    any("brk", libc::SYS_brk),
    // Channels between threads.
    any("futex", libc::SYS_futex),
    any("sched_yield", libc::SYS_sched_yield),
    // The image's locks, at an orderly end.
    any("flock", libc::SYS_flock),
    only("fcntl(F_OFD_SETLK)", libc::SYS_fcntl, Is(1, libc::F_OFD_SETLK as u64)),
    // The end of a signal's handler, of a wait that was stopped, of a thread, of our socket, of the process.
    any("rt_sigreturn", libc::SYS_rt_sigreturn),
    any("restart_syscall", libc::SYS_restart_syscall),
    any("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    any("sigaltstack", libc::SYS_sigaltstack),
    any("exit", libc::SYS_exit),
    any("unlink", arch::UNLINK),
    any("exit_group", libc::SYS_exit_group),
    // An end by a fault: it must be seen as what it is.
    any("rt_sigaction", libc::SYS_rt_sigaction),
    any("gettid", libc::SYS_gettid),
    any("getpid", libc::SYS_getpid),
    only("tgkill", libc::SYS_tgkill, Us(0)),
    // Clocks that only the kernel can read, seeds of hash maps, and what builds with debug assertions ask of a
    // descriptor before they close it.
    any("clock_gettime", libc::SYS_clock_gettime),
    any("getrandom", libc::SYS_getrandom),
    #[cfg(debug_assertions)]
    only("fcntl(F_GETFD)", libc::SYS_fcntl, Is(1, libc::F_GETFD as u64)),
];

/// What libraries try and go on without: the allocator asks how much memory may be promised and how many processors
/// there are, and a panic looks for the names of its frames.
pub const PROBED: &[Allowed] = &[
    any("openat", libc::SYS_openat),
    any("sched_getaffinity", libc::SYS_sched_getaffinity),
    any("getcwd", libc::SYS_getcwd),
];

/// Gives up, on every thread, what is neither allowed nor probed. If the kernel has no seccomp, says so.
///
/// # Errors
/// [`CallsError`].
pub fn restrict(allowed: &[Allowed]) -> Result<Option<&'static str>, CallsError> {
    let or_dies: Vec<_> = [allowed, PROBED].concat();
    let refusal = SeccompAction::Errno(EPERM as u32);
    // Of two filters' verdicts the stricter counts. The strict one is last: it forbids to install another.
    let filters = [
        program(PROBED, SeccompAction::Allow, refusal)?,
        program(&or_dies, SeccompAction::KillProcess, SeccompAction::Allow)?,
    ];
    for filter in &filters {
        match apply_filter_all_threads(filter) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
                if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | EPERM)) =>
            {
                return Ok(Some("not in this kernel or container"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn program(
    list: &[Allowed],
    others: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, CallsError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for entry in list {
        // A number without rules always matches.
        let of_number = rules.entry(entry.number).or_default();
        if let Some(condition) = entry.when.condition()? {
            of_number.push(SeccompRule::new(vec![condition])?);
        }
    }
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, others, listed, arch)?.try_into()?)
}

impl When {
    fn condition(self) -> Result<Option<SeccompCondition>, BackendError> {
        let (index, len, how, value) = match self {
            Self::Always => return Ok(None),
            Self::Is(index, value) => (index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value),
            Self::Without(index, bits) => {
                (index, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), 0)
            }
            Self::Null(index) => (index, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
            Self::Us(index) => {
                let process = u64::from(std::process::id());
                (index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, process)
            }
        };
        SeccompCondition::new(index, len, how, value).map(Some)
    }
}
