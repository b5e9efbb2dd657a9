//! The system calls of a daemon that serves, each with its reason. A process that makes another ends: disks run on for
//! their lease, and the supervisor starts the next.

use confine::calls::{
    Call,
    When::{Is, Null, Us, With, Without},
    any, only,
};
use libc::{
    AF_UNIX, CLONE_THREAD, F_DUPFD_CLOEXEC, F_GETFL, FIONBIO, PR_SET_NAME, PROT_EXEC, SO_PEERCRED,
    SO_SNDTIMEO, TCP_NODELAY,
};

/// The C library of x86-64 has older ways to some calls.
#[cfg(target_arch = "x86_64")]
mod arch {
    pub(super) use libc::{
        SYS_epoll_wait as EPOLL_WAIT, SYS_readlink as READLINK, SYS_rename as RENAME,
        SYS_unlink as UNLINK,
    };
}
#[cfg(not(target_arch = "x86_64"))]
mod arch {
    pub(super) use libc::{
        SYS_epoll_pwait as EPOLL_WAIT, SYS_readlinkat as READLINK, SYS_renameat as RENAME,
        SYS_unlinkat as UNLINK,
    };
}
use arch::{EPOLL_WAIT, READLINK, RENAME, UNLINK};

/// What a daemon that serves does, by whether its audit log goes to the system's log, too.
#[must_use]
pub fn allowed(syslog: bool) -> Vec<Call> {
    [ALWAYS, if syslog { OF_SYSLOG } else { &[] }].concat()
}

/// A connection to the system's log, made anew when its reader was.
const OF_SYSLOG: &[Call] = &[
    only("socket(AF_UNIX)", libc::SYS_socket, Is(0, AF_UNIX as u64)),
    any("connect", libc::SYS_connect),
];

/// What it does in any case.
const ALWAYS: &[Call] = &[
    // The Unix socket: who is there, requests with a time to come in, answers with a time to go out.
    any("accept4", libc::SYS_accept4),
    any("ppoll", libc::SYS_ppoll),
    only("getsockopt(SO_PEERCRED)", libc::SYS_getsockopt, Is(2, SO_PEERCRED as u64)),
    only("ioctl(FIONBIO)", libc::SYS_ioctl, Is(1, FIONBIO)),
    only("setsockopt(SO_SNDTIMEO)", libc::SYS_setsockopt, Is(2, SO_SNDTIMEO as u64)),
    any("recvfrom", libc::SYS_recvfrom),
    only("sendto", libc::SYS_sendto, Null(4)),
    any("shutdown", libc::SYS_shutdown),
    any("close", libc::SYS_close),
    // HTTP: one wait point, made before the first connection; who is there, who is asked, no delay of small answers.
    any("epoll_create1", libc::SYS_epoll_create1),
    any("epoll_ctl", libc::SYS_epoll_ctl),
    any("epoll_wait", EPOLL_WAIT),
    any("eventfd2", libc::SYS_eventfd2),
    any("getpeername", libc::SYS_getpeername),
    any("getsockname", libc::SYS_getsockname),
    only("setsockopt(TCP_NODELAY)", libc::SYS_setsockopt, Is(2, TCP_NODELAY as u64)),
    only("fcntl(F_GETFL)", libc::SYS_fcntl, Is(1, F_GETFL as u64)),
    only("fcntl(F_DUPFD_CLOEXEC)", libc::SYS_fcntl, Is(1, F_DUPFD_CLOEXEC as u64)),
    // The state directory: the store, the audit log's files, a certificate that was renewed, a backup. Paths are
    // Landlock's matter.
    any("openat", libc::SYS_openat),
    any("pread64", libc::SYS_pread64),
    any("pwrite64", libc::SYS_pwrite64),
    any("read", libc::SYS_read),
    any("write", libc::SYS_write),
    any("ftruncate", libc::SYS_ftruncate),
    any("fallocate", libc::SYS_fallocate),
    any("fdatasync", libc::SYS_fdatasync),
    any("fsync", libc::SYS_fsync),
    any("fadvise64", libc::SYS_fadvise64),
    any("statx", libc::SYS_statx),
    any("newfstatat", libc::SYS_newfstatat),
    any("getdents64", libc::SYS_getdents64),
    any("rename", RENAME),
    any("unlink", UNLINK),
    // Threads: one a connection, and those that do an HTTP request's work.
    only("clone(CLONE_THREAD)", libc::SYS_clone, With(0, CLONE_THREAD as u64)),
    any("set_robust_list", libc::SYS_set_robust_list),
    any("rseq", libc::SYS_rseq),
    only("prctl(PR_SET_NAME)", libc::SYS_prctl, Is(0, PR_SET_NAME as u64)),
    any("sched_getaffinity", libc::SYS_sched_getaffinity),
    any("sigaltstack", libc::SYS_sigaltstack),
    any("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    any("gettid", libc::SYS_gettid),
    any("exit", libc::SYS_exit),
    any("futex", libc::SYS_futex),
    any("sched_yield", libc::SYS_sched_yield),
    any("clock_nanosleep", libc::SYS_clock_nanosleep),
    any("clock_gettime", libc::SYS_clock_gettime),
    // Memory, never code; pages of keys, locked, in no dump, in no child.
    only("mmap", libc::SYS_mmap, Without(2, PROT_EXEC as u64)),
    only("mprotect", libc::SYS_mprotect, Without(2, PROT_EXEC as u64)),
    any("munmap", libc::SYS_munmap),
    any("mremap", libc::SYS_mremap),
    any("brk", libc::SYS_brk),
    any("mlock", libc::SYS_mlock),
    any("madvise", libc::SYS_madvise),
    // Keys, nonces, ids.
    any("getrandom", libc::SYS_getrandom),
    any("getpid", libc::SYS_getpid),
    // A signal, the end it asks for, and an end by a fault, which must be seen as what it is.
    any("rt_sigreturn", libc::SYS_rt_sigreturn),
    any("restart_syscall", libc::SYS_restart_syscall),
    any("rt_sigaction", libc::SYS_rt_sigaction),
    only("tgkill", libc::SYS_tgkill, Us(0)),
    any("exit_group", libc::SYS_exit_group),
    // What builds with debug assertions ask of a descriptor before they close it.
    #[cfg(debug_assertions)]
    only("fcntl(F_GETFD)", libc::SYS_fcntl, Is(1, libc::F_GETFD as u64)),
];

/// What libraries try and go on without: a panic that is to tell its frames looks for their names, in debug information
/// that may lie beside the program.
pub const PROBED: &[Call] = &[any("getcwd", libc::SYS_getcwd), any("readlink", READLINK)];

/// A thread is made by this call with its flags in memory, which no filter reads, or by an older one with its flags in
/// a register. With a module, too: else a user namespace could be asked for by it.
pub const ABSENT: &[Call] = &[any("clone3", libc::SYS_clone3)];

/// What no code in this process has a reason for: to become or to make another program, to look into other processes,
/// to change the system, or to do any of it by a way that this list does not see.
pub const NEVER: &[Call] = &[
    any("execve", libc::SYS_execve),
    any("execveat", libc::SYS_execveat),
    any("ptrace", libc::SYS_ptrace),
    any("process_vm_readv", libc::SYS_process_vm_readv),
    any("process_vm_writev", libc::SYS_process_vm_writev),
    any("process_madvise", libc::SYS_process_madvise),
    any("pidfd_open", libc::SYS_pidfd_open),
    any("pidfd_getfd", libc::SYS_pidfd_getfd),
    any("kcmp", libc::SYS_kcmp),
    any("io_uring_setup", libc::SYS_io_uring_setup),
    any("userfaultfd", libc::SYS_userfaultfd),
    any("bpf", libc::SYS_bpf),
    any("perf_event_open", libc::SYS_perf_event_open),
    any("add_key", libc::SYS_add_key),
    any("request_key", libc::SYS_request_key),
    any("keyctl", libc::SYS_keyctl),
    any("mount", libc::SYS_mount),
    any("umount2", libc::SYS_umount2),
    any("move_mount", libc::SYS_move_mount),
    any("open_tree", libc::SYS_open_tree),
    any("fsopen", libc::SYS_fsopen),
    any("fsconfig", libc::SYS_fsconfig),
    any("fsmount", libc::SYS_fsmount),
    any("mount_setattr", libc::SYS_mount_setattr),
    any("pivot_root", libc::SYS_pivot_root),
    any("chroot", libc::SYS_chroot),
    any("unshare", libc::SYS_unshare),
    any("setns", libc::SYS_setns),
    only("clone(CLONE_NEWUSER)", libc::SYS_clone, With(0, libc::CLONE_NEWUSER as u64)),
    any("open_by_handle_at", libc::SYS_open_by_handle_at),
    any("init_module", libc::SYS_init_module),
    any("finit_module", libc::SYS_finit_module),
    any("delete_module", libc::SYS_delete_module),
    any("kexec_load", libc::SYS_kexec_load),
    any("kexec_file_load", libc::SYS_kexec_file_load),
    any("reboot", libc::SYS_reboot),
    any("swapon", libc::SYS_swapon),
    any("swapoff", libc::SYS_swapoff),
    any("personality", libc::SYS_personality),
    any("settimeofday", libc::SYS_settimeofday),
    any("clock_settime", libc::SYS_clock_settime),
    any("clock_adjtime", libc::SYS_clock_adjtime),
    any("adjtimex", libc::SYS_adjtimex),
];
