//! The state directory: who owns it is administrator, who has it locked is the one daemon on it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::root::Place;

/// Why the directory cannot be used.
#[derive(Debug, Error)]
pub enum StateDirError {
    /// The system's.
    #[error("the state directory: {path}: {source}")]
    System {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may look in.
    #[error(
        "the state directory {path} has mode {mode:04o}, so others may look in: 'chmod 700' it"
    )]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No store is in it.
    #[error("{0} is not a state directory of keyd: it has no store")]
    NotOne(PathBuf),
    /// Another daemon is on it.
    #[error("a keyd with process id {pid} runs on the state directory {path}: stop it first")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// As the other one wrote it down.
        pid: String,
    },
}

const STORE: &str = "store.redb";

/// The directory, locked while this exists.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    owner: u32,
    _lock: File,
}

impl StateDir {
    /// Makes one where nothing is (mode 0700), and tells whether it did.
    ///
    /// # Errors
    /// [`StateDirError::System`].
    pub fn make(path: &Path) -> Result<bool, StateDirError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(system(path)(error)),
        }
    }

    /// Makes it at the first start, and locks it.
    ///
    /// # Errors
    /// [`StateDirError`].
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        Self::make(path)?;
        Self::claim(path)
    }

    /// Locks one that a daemon has used before.
    ///
    /// # Errors
    /// [`StateDirError`].
    pub fn open_existing(path: &Path) -> Result<Self, StateDirError> {
        let store = path.join(STORE);
        if !store.try_exists().map_err(system(&store))? {
            return Err(StateDirError::NotOne(path.to_owned()));
        }
        Self::claim(path)
    }

    fn claim(path: &Path) -> Result<Self, StateDirError> {
        let about = fs::metadata(path).map_err(system(path))?;
        let mode = about.mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(StateDirError::Mode { path, mode });
        }
        let lock = lock(path)?;
        Ok(Self { path: path.to_owned(), owner: about.uid(), _lock: lock })
    }

    /// User id of its owner, the administrator.
    #[must_use]
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root key, which seals private keys.
    #[must_use]
    pub fn root(&self) -> Place {
        Place { key: self.path.join("root.key"), document: self.path.join("root.json") }
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> StateDirError {
    let path = path.to_owned();
    move |source| StateDirError::System { path, source }
}

/// flock(2) ends with the process, however it ends; the file stays and means nothing by itself.
fn lock(dir: &Path) -> Result<File, StateDirError> {
    let path = dir.join("lock");
    let system = |source| StateDirError::System { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(system)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(system)?;
        return Err(StateDirError::Locked { path: dir.to_owned(), pid: pid.trim().to_owned() });
    }
    file.set_len(0).map_err(system)?;
    file.rewind().map_err(system)?;
    writeln!(file, "{}", std::process::id()).map_err(system)?;
    Ok(file)
}
