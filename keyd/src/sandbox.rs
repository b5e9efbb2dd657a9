//! What the daemon gives up between what it opens at its start and its first client. Whoever takes it over by a crafted
//! request has every key that is open; they can write into the state directory and where backups go, and answer who is
//! connected: nothing more. No other file, no connection to anywhere, no program, no other process.
//!
//! 1. *The user*, before anything of the state directory is opened: what is made there is that user's.
//! 2. *Namespaces*, where that is allowed, and no PKCS#11 module wants the network: its own doors are open by then.
//!    Behind a change of user it is not allowed.
//! 3. *Capabilities and new privileges*.
//! 4. *Landlock*, before the first thread is made.
//! 5. *seccomp* ([`calls`]), before the first connection is taken. Connections have threads, so threads can be made.
//!
//! A PKCS#11 module is a vendor's library in this process: where its token is, and what it takes to talk to it, it
//! alone knows. With one the daemon may read every file and connect by TCP, and instead of a list of calls that are
//! made there is one of calls that no module has a reason for.

pub mod calls;

use std::{
    io,
    path::{Path, PathBuf},
};

use confine::{
    Sandbox, SandboxError,
    calls::{Call, Filter},
    paths::{Rule, directory},
    user::Account,
};
use rustix::thread::CapabilitySet;
use thiserror::Error;

use calls::{ABSENT, NEVER, PROBED};

/// What is wanted of a sandbox.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Whom root is to become.
    pub user: Option<Account>,
    /// Directories for backups and archives.
    pub writable: Vec<PathBuf>,
    /// A part that the kernel does not have is an error.
    pub required: bool,
}

/// What the daemon goes on to use by a path.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The state directory.
    pub state: &'a Path,
    /// The socket, made and removed.
    pub socket: &'a Path,
    /// The audit log's copy, which may be moved away.
    pub copy: Option<&'a Path>,
    /// A certificate and its key, which are renewed.
    pub certificate: Option<&'a (PathBuf, PathBuf)>,
    /// Whether a PKCS#11 module was loaded.
    pub module: bool,
}

/// A directory that is to be writable, and cannot be.
#[derive(Debug, Error)]
#[error("--writable {path}: {source}; name a directory that is there")]
pub struct NotWritable {
    path: PathBuf,
    source: io::Error,
}

impl Wishes {
    /// Whether the directories are there: a rule for what is not would allow nothing, without a word.
    ///
    /// # Errors
    /// [`NotWritable`].
    pub fn check(&self) -> Result<(), NotWritable> {
        self.writable.iter().try_for_each(|path| match path.read_dir() {
            Ok(_) => Ok(()),
            Err(source) => Err(NotWritable { path: path.clone(), source }),
        })
    }
}

/// Gives up what threads inherit. Root keeps the right to files of others, in the places that stay.
///
/// # Errors
/// [`SandboxError`].
pub fn enter(
    sandbox: &mut Sandbox,
    wishes: &Wishes,
    places: Places<'_>,
) -> Result<(), SandboxError> {
    if !places.module {
        sandbox.give_up_namespaces();
    }
    sandbox.give_up_privileges(CapabilitySet::DAC_OVERRIDE)?;
    sandbox.give_up_paths(&rules(wishes, places))
}

/// What stays allowed of paths.
#[must_use]
pub fn rules(wishes: &Wishes, places: Places<'_>) -> Vec<Rule> {
    let mut rules = vec![Rule::Files(places.state.to_owned())];
    rules.push(Rule::Sockets(directory(places.socket)));
    rules.extend(places.copy.map(directory).map(Rule::Files));
    rules.extend(wishes.writable.iter().cloned().map(Rule::Files));
    let certificates = places.certificate.map_or_else(Vec::new, certificate_directories);
    rules.extend(certificates.into_iter().map(Rule::Read));
    if places.module {
        rules.extend([Rule::Read("/".into()), Rule::Connect]);
    }
    rules
}

/// Where they are named, and where they lie: what renews certificates often leaves links to them.
fn certificate_directories((chain, key): &(PathBuf, PathBuf)) -> Vec<PathBuf> {
    let lies = [chain, key].into_iter().filter_map(|path| path.canonicalize().ok());
    let named = [chain, key].into_iter().cloned();
    lies.chain(named).map(|path| directory(&path)).collect()
}

/// What is let through of system calls.
#[must_use]
pub fn filter(allowed: &[Call], module: bool) -> Filter {
    match module {
        true => Filter::Without { never: NEVER, absent: ABSENT },
        false => Filter::Only { allowed: allowed.to_vec(), probed: PROBED, absent: ABSENT },
    }
}
