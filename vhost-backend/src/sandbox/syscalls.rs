//! The system calls of a backend that serves, each with its reason. A process that makes another ends, its supervisor
//! starts the next, and the guest sees a pause.

use confine::calls::{
    Call, Filter,
    When::{Is, Null, Us, With, Without},
    any, only,
};
use libc::{
    AF_UNIX, F_ADD_SEALS, F_DUPFD_CLOEXEC, F_GET_SEALS, FIONREAD, PROT_EXEC, SO_DOMAIN,
    SO_SNDTIMEO, SO_SNDTIMEO_NEW, SO_TYPE,
};

use crate::config::EngineWish;

/// Nothing but these calls.
#[must_use]
pub fn filter(allowed: &[Call]) -> Filter {
    Filter::Only { allowed: allowed.to_vec(), probed: PROBED, absent: ABSENT }
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

/// What a process that serves does, by what is to wait for the device: where there are threads instead of a ring that
/// is not to be had, a queue may have either.
#[must_use]
pub fn allowed(wish: EngineWish) -> Vec<Call> {
    match wish {
        EngineWish::Auto => [OF_IO_URING, OF_THREADS, ALWAYS].concat(),
        EngineWish::IoUring => [OF_IO_URING, ALWAYS].concat(),
        EngineWish::Threads => [OF_THREADS, ALWAYS].concat(),
    }
}

/// The queues' disk and their one wait point. Rings are made by another process (`disk/ring_maker.rs`); here each gets
/// its files and buffers, is enabled, and lets go of the files at an orderly end.
const OF_IO_URING: &[Call] = &[
    any("io_uring_enter", libc::SYS_io_uring_enter),
    only("io_uring_register(BUFFERS)", libc::SYS_io_uring_register, Is(1, 0)),
    only("io_uring_register(UNREGISTER_BUFFERS)", libc::SYS_io_uring_register, Is(1, 1)),
    only("io_uring_register(FILES)", libc::SYS_io_uring_register, Is(1, 2)),
    only("io_uring_register(UNREGISTER_FILES)", libc::SYS_io_uring_register, Is(1, 3)),
    only("io_uring_register(ENABLE_RINGS)", libc::SYS_io_uring_register, Is(1, 12)),
];

/// The queues' one wait point, and kicks watched there; what threads ask of the disk besides reads, writes and flushes.
const OF_THREADS: &[Call] = &[
    any("epoll_create1", libc::SYS_epoll_create1),
    any("epoll_pwait", libc::SYS_epoll_pwait),
    any("epoll_ctl", libc::SYS_epoll_ctl),
    any("fallocate", libc::SYS_fallocate),
];

/// What it does whatever waits for the device.
const ALWAYS: &[Call] = &[
    // The queues: calls where they serve better than the ring, with and without a wait, or instead of it; interrupts
    // (as standard error, and doorbells between threads).
    any("pread64", libc::SYS_pread64),
    any("pwrite64", libc::SYS_pwrite64),
    any("fdatasync", libc::SYS_fdatasync),
    any("preadv2", libc::SYS_preadv2),
    any("pwritev2", libc::SYS_pwritev2),
    any("write", libc::SYS_write),
    // A queue whose ring is started for the first time: its thread, and its doorbell.
    only("clone(CLONE_THREAD)", libc::SYS_clone, With(0, libc::CLONE_THREAD as u64)),
    any("set_robust_list", libc::SYS_set_robust_list),
    any("rseq", libc::SYS_rseq),
    only("prctl(PR_SET_NAME)", libc::SYS_prctl, Is(0, libc::PR_SET_NAME as u64)),
    any("eventfd2", libc::SYS_eventfd2),
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
    // Which process it is that finds the disk in use.
    only("getsockopt(SO_PEERCRED)", libc::SYS_getsockopt, Is(2, libc::SO_PEERCRED as u64)),
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
    only("setsockopt(SO_SNDTIMEO_NEW)", libc::SYS_setsockopt, Is(2, SO_SNDTIMEO_NEW as u64)),
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
pub const PROBED: &[Call] = &[
    any("openat", libc::SYS_openat),
    any("sched_getaffinity", libc::SYS_sched_getaffinity),
    any("getcwd", libc::SYS_getcwd),
];

/// A thread is made by this call with its flags in memory, which no filter reads, or by an older one with its flags in
/// a register.
pub const ABSENT: &[Call] = &[any("clone3", libc::SYS_clone3)];
