//! What the process gives up between what it opens at its start and the first message of a front end. Whoever takes it
//! over by a crafted request has its disk, its key, and the Unix sockets that its user may connect to: nothing more.
//!
//! The order is the matter:
//! 1. *The user* ([`user`]), before the key daemon is asked: it knows a holder by its user, at the first attach as
//!    at every later one.
//! 2. *Capabilities and new privileges.* Without the latter a user gets neither of the next two.
//! 3. *Landlock* ([`paths`]), before the first thread is made: it is a thread's own, and inherited. (Linux has a
//!    call for all threads only since 7.0.)
//! 4. *io_uring*: each ring takes the operations of a queue and no others (`disk/uring.rs`), as what goes through a
//!    ring does not pass seccomp.
//! 5. *seccomp* ([`syscalls`]), last and on all threads at once: to make threads and rings takes calls that are
//!    never needed again.

pub mod paths;
pub mod syscalls;
pub mod user;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs},
};
use thiserror::Error;

use crate::harden::harden;
use paths::Restricted;
use syscalls::Allowed;
use user::Account;

/// Why the process does not start.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// Only root becomes somebody else.
    #[error("--user: {0}; only root can become another user")]
    User(io::Error),
    /// The system refused what every kernel has.
    #[error("giving up privileges: {0}")]
    System(#[from] io::Error),
    /// Landlock is there, and refused.
    #[error("giving up paths: {0}")]
    Paths(#[from] landlock::RulesetError),
    /// seccomp is there, and the list is no list.
    #[error("giving up system calls: {0}")]
    Calls(#[from] syscalls::CallsError),
    /// A part is not to be had, and none may be missing.
    #[error(
        "--require-sandbox: there is no {0}: use Linux 6.12 or later, and a container that allows it"
    )]
    Missing(String),
}

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

/// What has been given up so far.
#[derive(Debug)]
pub struct Sandbox {
    required: bool,
    has: Vec<String>,
    lacks: Vec<String>,
}

impl Sandbox {
    /// Gives up what threads inherit.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn enter(wishes: Wishes<'_>) -> Result<Self, SandboxError> {
        let Wishes { user, socket, required } = wishes;
        let mut sandbox = Self { required, has: Vec::new(), lacks: Vec::new() };
        lift_lock_limit()?;
        if let Some(account) = user {
            account.take_over(socket).map_err(SandboxError::User)?;
            sandbox.has.push(account.to_string());
        }
        // After the change of user, which undoes it.
        harden()?;
        give_up_capabilities()?;
        set_no_new_privs(true).map_err(io::Error::from)?;
        sandbox.has.push("no new privileges".to_owned());
        match paths::restrict(socket.map(directory).as_deref())? {
            Restricted::All(abi) => sandbox.has.push(format!("landlock (ABI {abi})")),
            Restricted::Partly(abi) => {
                sandbox.has.push(format!("some of landlock (ABI {abi})"));
                sandbox.lacks.push(format!("landlock of ABI {}", paths::ASKED as i32));
            }
            Restricted::Not(why) => sandbox.lacks.push(format!("landlock ({why})")),
        }
        sandbox.check()?;
        Ok(sandbox)
    }

    /// Gives up, on every thread, the system calls that are not `allowed`.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn close(mut self, allowed: &[Allowed]) -> Result<Self, SandboxError> {
        match syscalls::restrict(allowed)? {
            None => self.has.push(format!("seccomp ({} calls)", allowed.len())),
            Some(why) => self.lacks.push(format!("seccomp ({why})")),
        }
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), SandboxError> {
        match self.required && !self.lacks.is_empty() {
            true => Err(SandboxError::Missing(self.lacks.join(", no "))),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.has.join(", "))?;
        self.lacks.iter().try_for_each(|part| write!(f, "; WITHOUT {part}"))
    }
}

/// The directory that a path's last name is in.
fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
}

/// To lock memory was root's right until now. Buffers and keys that come later are locked, too, and the buffers'
/// lock is counted for all processes of a user together.
fn lift_lock_limit() -> io::Result<()> {
    let none = Rlimit { current: None, maximum: None };
    let maximum = getrlimit(Resource::Memlock).maximum;
    // Who may not lift it can still use all of it.
    let all = |_| setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum });
    Ok(setrlimit(Resource::Memlock, none).or_else(all)?)
}

/// Root without `--user` keeps its user id, by which the key daemon knows it, and the right to that daemon's socket,
/// which may be another user's.
fn give_up_capabilities() -> io::Result<()> {
    let kept = capabilities(None)?.permitted & CapabilitySet::DAC_OVERRIDE;
    let inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?)
}
