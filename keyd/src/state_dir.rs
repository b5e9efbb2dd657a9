//! The state directory: who owns it is administrator, who has it locked is the one daemon on it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, FlockOperation, accessat, flock},
    io::Errno,
    process::geteuid,
};
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
    /// Something else has the name.
    #[error("the state directory {0} is no directory: name another --state-dir")]
    NoDirectory(PathBuf),
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
    /// It is another user's, or something in it is: of a keyd, or a restore, that ran as that user.
    #[error(
        "{path} belongs to uid {owner}, and this keyd runs as uid {user}: 'chown -R {user} {dir}' gives it all of the state directory; or run it as the owner"
    )]
    Owner {
        /// What it may not use.
        path: PathBuf,
        /// The state directory.
        dir: PathBuf,
        /// User id of its owner.
        owner: u32,
        /// This process's.
        user: u32,
    },
    /// No store is in it.
    #[error("{0} is not a state directory of keyd: it has no store")]
    NotOne(PathBuf),
    /// It was in use, and its store is gone.
    #[error(
        "{path} has {beside}, but no store.redb: it was removed or moved away, and none is made in its place; put it back, or restore a backup by 'keyd restore' into another state directory"
    )]
    NoStore {
        /// The directory.
        path: PathBuf,
        /// What shows that there was one.
        beside: String,
    },
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

/// Where the root key lies: one of these.
pub const ROOT_FILES: [&str; 2] = [ROOT_KEY, ROOT_DOCUMENT];
const ROOT_KEY: &str = "root.key";
const ROOT_DOCUMENT: &str = "root.json";

/// Is there from before the root key is made until the first start is done. A root key without a store, and without
/// this, had one.
const FIRST_START: &str = "first-start";

/// The directory, locked while this exists.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    owner: u32,
    _locks: [File; 2],
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
        is_ours(path, path)?;
        let store = path.join(STORE);
        if !store.try_exists().map_err(system(&store))? {
            return Err(StateDirError::NotOne(path.to_owned()));
        }
        Self::claim(path)
    }

    fn claim(path: &Path) -> Result<Self, StateDirError> {
        let about = fs::metadata(path).map_err(system(path))?;
        if !about.is_dir() {
            return Err(StateDirError::NoDirectory(path.to_owned()));
        }
        let mode = about.mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(StateDirError::Mode { path, mode });
        }
        is_ours(path, path)?;
        for entry in fs::read_dir(path).map_err(system(path))? {
            is_ours(&entry.map_err(system(path))?.path(), path)?;
        }
        let locks = lock(path)?;
        Ok(Self { path: path.to_owned(), owner: about.uid(), _locks: locks })
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
        Place { key: self.path.join(ROOT_KEY), document: self.path.join(ROOT_DOCUMENT) }
    }

    /// Begins the first start in a directory with nothing in it, or goes on with one that was interrupted.
    ///
    /// # Errors
    /// [`StateDirError::NoStore`]: it is no first start, and what was there before is gone.
    pub fn begin(&self) -> Result<(), StateDirError> {
        let exists = |name: &str| {
            let path = self.path.join(name);
            path.try_exists().map_err(system(&path))
        };
        if exists(STORE)? {
            return Ok(());
        }
        // The log is begun after the store, the root key before it.
        let mut beside = self.logs()?;
        if beside.is_empty() && !exists(FIRST_START)? {
            for name in ROOT_FILES {
                beside.extend(exists(name)?.then(|| name.to_owned()));
            }
        }
        if !beside.is_empty() {
            let (path, beside) = (self.path.clone(), beside.join(", "));
            return Err(StateDirError::NoStore { path, beside });
        }
        let mark = self.path.join(FIRST_START);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.open(&mark).map_err(system(&mark))?;
        self.sync()
    }

    /// The first start is done; at any other, nothing.
    ///
    /// # Errors
    /// [`StateDirError::System`].
    pub fn begun(&self) -> Result<(), StateDirError> {
        let mark = self.path.join(FIRST_START);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(system(&mark)(error)),
            Ok(()) => self.sync(),
        }
    }

    fn logs(&self) -> Result<Vec<String>, StateDirError> {
        let mut logs = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(system(&self.path))? {
            let name = entry.map_err(system(&self.path))?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("audit") && name.ends_with(".log") {
                logs.push(name.into_owned());
            }
        }
        logs.sort_unstable();
        logs.truncate(1);
        Ok(logs)
    }

    fn sync(&self) -> Result<(), StateDirError> {
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(system(&self.path))
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }
}

/// Told before anything is opened: what the system says of one file by the other names no owner.
fn is_ours(path: &Path, dir: &Path) -> Result<(), StateDirError> {
    let may = match path == dir {
        true => Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
        false => Access::READ_OK,
    };
    match accessat(CWD, path, may, AtFlags::EACCESS) {
        Err(Errno::ACCESS) => {
            let about = fs::symlink_metadata(path).map_err(system(path))?;
            let (path, dir) = (path.to_owned(), dir.to_owned());
            let (owner, user) = (about.uid(), geteuid().as_raw());
            Err(StateDirError::Owner { path, dir, owner, user })
        }
        _ => Ok(()),
    }
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> StateDirError {
    let path = path.to_owned();
    move |source| StateDirError::System { path, source }
}

/// flock(2) ends with the process, however it ends; the file stays and means nothing by itself. The directory is locked
/// as well, where its file system can: a lock file that is removed lets no second daemon in.
fn lock(dir: &Path) -> Result<[File; 2], StateDirError> {
    let path = dir.join("lock");
    let system = |source| StateDirError::System { path: path.clone(), source };
    let directory = File::open(dir).map_err(system)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(system)?;
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    let taken = flock(&file, exclusive).is_err();
    if taken || flock(&directory, exclusive) == Err(Errno::WOULDBLOCK) {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(system)?;
        let pid = if pid.is_empty() { "unknown" } else { pid.trim() };
        return Err(StateDirError::Locked { path: dir.to_owned(), pid: pid.to_owned() });
    }
    file.set_len(0).map_err(system)?;
    file.rewind().map_err(system)?;
    writeln!(file, "{}", std::process::id()).map_err(system)?;
    Ok([file, directory])
}
