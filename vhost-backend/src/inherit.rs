//! A descriptor that the parent left open. One of the files where `unsafe` lives: there is no safe way to own a number.

use std::os::fd::{FromRawFd, OwnedFd};

/// Takes the descriptor that the command line names; `None` if it is not open or is a standard one.
#[must_use]
pub fn inherited(number: i32) -> Option<OwnedFd> {
    let open = std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    if number <= 2 || !open {
        return None;
    }
    // SAFETY: it is open; it is none of the standard ones; the command line gives it to us, once, at the start,
    // when this process has opened nothing else by a number it could know.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
