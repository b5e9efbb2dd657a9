//! What has been given up so far, and what could not be.

use std::{fmt, io, path::Path};

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};
use thiserror::Error;

use crate::{
    calls::{self, CallsError, Filter},
    harden::{harden, lift_lock_limit},
    paths::{self, Restricted, Rule},
    user::Account,
};

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
    Calls(#[from] CallsError),
    /// A part is not to be had, and none may be missing.
    #[error(
        "--require-sandbox: there is no {0}: use Linux 6.12 or later, and a container that allows it"
    )]
    Missing(String),
}

/// A sandbox in the making. Its parts are entered in the order of its functions: namespaces first, where a right to
/// them is there (who has to be the user before, as keyd has for its files and its doors, has none); then the user,
/// as a change of user undoes what comes next; paths before there are threads, as Landlock is a thread's own, and
/// inherited (Linux has a call for all threads only since 7.0); system calls last, on all threads at once.
#[derive(Debug)]
pub struct Sandbox {
    required: bool,
    has: Vec<String>,
    lacks: Vec<String>,
}

impl Sandbox {
    /// Nothing is given up yet, and what is given up later is made use of once more: the limit of locked memory goes.
    /// With `required`, a part that the kernel does not have is an error.
    ///
    /// # Errors
    /// [`SandboxError::System`].
    pub fn begin(required: bool) -> Result<Self, SandboxError> {
        lift_lock_limit()?;
        Ok(Self { required, has: Vec::new(), lacks: Vec::new() })
    }

    /// Gives up the host's network, its System V IPC and its names for empty ones. What is open stays where it was
    /// made, and sockets in the file system are in none of them. That takes CAP_SYS_ADMIN, and is done where it is
    /// allowed: everybody else could have it by a user namespace only, in which no user is who they are outside, and
    /// the peers of a socket are judged by that.
    pub fn give_up_namespaces(&mut self) {
        let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        self.has.push(match unshare(flags) {
            Ok(()) => "namespaces of its own (network, IPC, names)".to_owned(),
            // Who started it may have given it others: a unit with PrivateNetwork= does.
            Err(nix::Error::EPERM) => {
                "the namespaces it was started in (only root can leave them)".to_owned()
            }
            Err(errno) => {
                format!("the namespaces it was started in ({})", io::Error::from(errno))
            }
        });
    }

    /// Becomes somebody else, who gets what was `made` for them. A change of user lets a process be dumped and traced
    /// as fs.suid_dumpable says (prctl(2), PR_SET_DUMPABLE): that is given up anew before anything secret is read.
    ///
    /// # Errors
    /// [`SandboxError::User`], [`SandboxError::System`].
    pub fn become_user(&mut self, account: &Account, made: &[&Path]) -> Result<(), SandboxError> {
        account.take_over(made).map_err(SandboxError::User)?;
        harden()?;
        self.has.push(account.to_string());
        Ok(())
    }

    /// Gives up capabilities but those `kept`, new privileges, dumps and being traced.
    ///
    /// # Errors
    /// [`SandboxError::System`].
    pub fn give_up_privileges(&mut self, kept: CapabilitySet) -> Result<(), SandboxError> {
        harden()?;
        let kept = capabilities(None).map_err(io::Error::from)?.permitted & kept;
        let inheritable = CapabilitySet::empty();
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable };
        set_capabilities(None, sets).map_err(io::Error::from)?;
        // Without this a user who is not root gets neither Landlock nor seccomp.
        set_no_new_privs(true).map_err(io::Error::from)?;
        self.has.push("no new privileges".to_owned());
        Ok(())
    }

    /// Gives up, for this thread and those it makes, every path that no rule names.
    ///
    /// # Errors
    /// [`SandboxError::Paths`], [`SandboxError::Missing`].
    pub fn give_up_paths(&mut self, rules: &[Rule]) -> Result<(), SandboxError> {
        match paths::restrict(rules)? {
            Restricted::All(abi) => self.has.push(format!("landlock (ABI {abi})")),
            Restricted::Partly(abi) => {
                self.has.push(format!("some of landlock (ABI {abi})"));
                self.lacks.push(format!("landlock of ABI {}", paths::ASKED as i32));
            }
            Restricted::Not(why) => self.lacks.push(format!("landlock ({why})")),
        }
        self.check()
    }

    /// Gives up, on every thread, the system calls that the filter does not let through.
    ///
    /// # Errors
    /// [`SandboxError::Calls`], [`SandboxError::Missing`].
    pub fn give_up_calls(&mut self, filter: &Filter) -> Result<(), SandboxError> {
        match calls::restrict(filter)? {
            None => self.has.push(format!("seccomp ({filter})")),
            Some(why) => self.lacks.push(format!("seccomp ({why})")),
        }
        self.check()
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
