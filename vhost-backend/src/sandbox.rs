//! What the process gives up between what it opens at its start and the first message of a front end. Whoever takes it
//! over by a crafted request has its disk, its key, and the Unix sockets that its user may connect to: nothing more.
//!
//! The order is the matter:
//! 1. *Namespaces*, where that is allowed: network, IPC, names.
//! 2. *The user*, before the key daemon is asked: it knows a holder by its user, at the first attach as at every later
//!    one.
//! 3. *Capabilities and new privileges.*
//! 4. *Landlock*, before the first thread is made. One thing is left: names in the directory of our own socket can be
//!    removed, as that socket is at the end. The key daemon's socket needs no rule, which would stand on a directory
//!    that may be made anew while we wait for the daemon's return.
//! 5. *io_uring*: each ring takes the operations of a queue and no others (`disk/ring.rs`), as what goes through a
//!    ring does not pass seccomp. From here on a child makes them (`disk/ring_maker.rs`), which is in 1 to 4, too.
//! 6. *seccomp* ([`syscalls`]), last. Threads of queues are made behind it, and are in all of it.

pub mod syscalls;

use std::path::Path;

use confine::{
    Sandbox, SandboxError,
    paths::{Rule, directory},
    user::Account,
};
use rustix::thread::CapabilitySet;

/// What is wanted of a sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Wishes<'a> {
    /// Whom root is to become.
    pub user: Option<&'a Account>,
    /// Our own socket, which is removed at the end.
    pub socket: Option<&'a Path>,
    /// A part that the kernel does not have is an error.
    pub required: bool,
}

/// Gives up what threads inherit. Root without another user to become keeps its user id, by which the key daemon knows
/// it, and the right to that daemon's socket, which may be another user's.
///
/// # Errors
/// [`SandboxError`].
pub fn enter(wishes: Wishes<'_>) -> Result<Sandbox, SandboxError> {
    let Wishes { user, socket, required } = wishes;
    let mut sandbox = Sandbox::begin(required)?;
    sandbox.give_up_namespaces();
    if let Some(account) = user {
        sandbox.become_user(account, &Vec::from_iter(socket))?;
    }
    sandbox.give_up_privileges(CapabilitySet::DAC_OVERRIDE)?;
    sandbox.give_up_paths(&rules(socket))?;
    Ok(sandbox)
}

/// What stays allowed of paths.
#[must_use]
pub fn rules(socket: Option<&Path>) -> Vec<Rule> {
    socket.map(directory).map(Rule::Remove).into_iter().collect()
}
