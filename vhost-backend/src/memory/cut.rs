//! Guest memory whose file is cut off under its mapping. Touching what is gone is SIGBUS, the end of the process and
//! with it of every queue: a front end must not be able to do that.
//!
//! One of the files where `unsafe` lives: a signal handler. Nothing else of this process is mapped from a file that
//! others can shorten: in-flight memory and the log of a move [cannot be cut](cannot_be), images are not mapped, and a
//! program whose own file is cut has no code to come back to (what is put in its place cannot be executed).

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
};

use libc::{c_int, c_void, siginfo_t};
use rustix::fs::{SealFlags, fcntl_get_seals};

/// A page was put in the place of one that had gone.
static CUT: AtomicBool = AtomicBool::new(false);

/// Smallest page.
const PAGE: usize = 4096;

/// From now on this process survives the loss of pages: each is replaced by zeros, and [`was_cut`] tells.
///
/// # Errors
/// What the system says.
pub fn survive() -> io::Result<()> {
    // SAFETY: all zeros is a valid `sigaction`; the handler has the signature that SA_SIGINFO asks for, and calls only
    // what a signal handler may call.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = replace as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether guest memory has lost a page since it was last [`forget`]ten. What was read there since is zeros.
#[must_use]
pub fn was_cut() -> bool {
    CUT.load(Ordering::Relaxed)
}

/// That memory is no longer mapped.
pub fn forget() {
    CUT.store(false, Ordering::Relaxed);
}

/// Whether a file is sealed against shrinking. Its length is to be looked at afterwards: before, it is anyone's.
#[must_use]
pub fn cannot_be(file: impl AsFd) -> bool {
    fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
}

extern "C" fn replace(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid record, whose address is the faulting one. Mapping and signal(2) are allowed in
    // a handler. The page that is replaced belongs to a mapping whose file does not reach so far: nobody has data
    // there.
    unsafe {
        let page = (*info).si_addr() as usize & !(PAGE - 1);
        let mapped = (*info).si_code == libc::BUS_ADRERR
            && libc::mmap(
                page as *mut c_void,
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            ) != libc::MAP_FAILED;
        if !mapped {
            // Broken memory, or a huge page, which cannot be replaced in part: what is touched again ends the process.
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    CUT.store(true, Ordering::Relaxed);
}
