//! What makes a process with keys in its memory a worse target. Cheap, and done before the first key is there.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// No core dump, no ptrace by others of the same user, no reading of `/proc/PID/mem` (prctl(2), PR_SET_DUMPABLE). A
/// change of user undoes it.
///
/// # Errors
/// What the system says.
pub fn harden() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

/// Lifts the limit of locked memory, for a process that is about to give up root's right to lock what it likes: keys
/// and buffers that come later are locked, too, and the buffers' lock is counted for all processes of a user together.
///
/// # Errors
/// What the system says.
pub(crate) fn lift_lock_limit() -> io::Result<()> {
    let none = Rlimit { current: None, maximum: None };
    let maximum = getrlimit(Resource::Memlock).maximum;
    // Who may not lift it can still use all of it.
    let all = |_| setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum });
    Ok(setrlimit(Resource::Memlock, none).or_else(all)?)
}
