//! An image as a file or block device, and its locks.
//!
//! Two locks, for two kinds of neighbour:
//! * `flock`, which stock `cryptsetup` honours: shared while the image is in use, so outsiders can look and not write;
//!   exclusive for the instant of a header update.
//! * an open-file-description lock on the whole file, which outsiders do not know: it excludes a second backend, and
//!   QEMU's own image locks collide with it, so a QEMU that is given the raw file by mistake refuses.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{fcntl, libc};
use rustix::fs::{SeekFrom, major, minor};
use thiserror::Error;

use super::{Storage, remedy::Remedy};
use crate::limits::HEADER_LOCK_WAIT;

/// What an image is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To serve it without writing. Shares the image with other readers.
    ReadOnly,
    /// To serve or change it. Excludes every other user.
    ReadWrite,
    /// To look at its header for a moment, whoever uses it.
    Inspect,
}

/// Why an image could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system refused.
    #[error("cannot open {path}: {source}{remedy}")]
    Open {
        /// The image.
        path: PathBuf,
        /// What opening said.
        source: io::Error,
        /// What has to be done.
        remedy: Remedy,
    },
    /// A directory, a pipe, a socket.
    #[error("{0} is neither a file nor a block device: name the image itself")]
    Kind(PathBuf),
    /// Another backend has it.
    #[error("{path} is in use by another backend{}: stop it, or serve read-only on both sides", holder(*.pid))]
    InUse {
        /// The image.
        path: PathBuf,
        /// Who holds it, where the system tells.
        pid: Option<u32>,
    },
    /// Another program, such as cryptsetup, is changing its header.
    #[error(
        "the header of {0} is being changed by another program: try again when it has finished"
    )]
    HeaderBusy(PathBuf),
    /// The system cannot lock.
    #[error("cannot lock {path}: {source}; images need a file system with locks")]
    Lock {
        /// The image.
        path: PathBuf,
        /// What locking said.
        source: io::Error,
    },
}

impl OpenError {
    /// What the system said of a path, and what has to be done.
    pub(crate) fn of(path: &Path, source: io::Error) -> Self {
        let remedy = Remedy::of(path, &source);
        Self::Open { path: path.to_owned(), source, remedy }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// An open, locked image. The locks go with it.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    path: PathBuf,
    access: Access,
    is_block_device: bool,
}

impl ImageFile {
    /// Opens and locks an image.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, access: Access) -> Result<Self, OpenError> {
        let image = Self::open_unlocked(path, access)?;
        image.exclude_backends()?;
        image.admit_lookers()?;
        Ok(image)
    }

    /// Opens an image that another process may be using: nothing is to be written before [`ImageFile::lock`].
    ///
    /// # Errors
    /// [`OpenError`], but none of a lock.
    pub fn open_unlocked(path: &Path, access: Access) -> Result<Self, OpenError> {
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::ReadWrite)
            // A FIFO must not make us wait for its other end before it is refused.
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|source| OpenError::of(path, source))?;
        Self::of(file, path, access)
    }

    /// A file that was just made for `path` and is not visible there yet; locked.
    pub(crate) fn made(file: File, path: &Path, access: Access) -> Result<Self, OpenError> {
        let image = Self::of(file, path, access)?;
        image.lock()?;
        Ok(image)
    }

    fn of(file: File, path: &Path, access: Access) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let kind = match file.metadata() {
            Ok(metadata) => metadata.file_type(),
            Err(source) => return Err(OpenError::of(&path, source)),
        };
        if !kind.is_file() && !kind.is_block_device() {
            return Err(OpenError::Kind(path));
        }
        Ok(Self { file, path, access, is_block_device: kind.is_block_device() })
    }

    /// Takes the image's locks, without a wait.
    ///
    /// # Errors
    /// [`OpenError::InUse`], [`OpenError::HeaderBusy`], [`OpenError::Lock`].
    pub fn lock(&self) -> Result<(), OpenError> {
        self.exclude_backends()?;
        self.file.try_lock_shared().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::HeaderBusy(self.path.clone()),
            TryLockError::Error(source) => OpenError::Lock { path: self.path.clone(), source },
        })
    }

    /// The image's path, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a block device.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.is_block_device
    }

    /// The same image opened once more, with further open flags such as `O_DIRECT`. The locks stay with `self`,
    /// which must outlive the result's use.
    ///
    /// # Errors
    /// What the system says; `EINVAL` for `O_DIRECT` on a file system without it.
    pub fn reopen(&self, flags: i32) -> io::Result<File> {
        // Through the descriptor, not the path: the path may name another file by now.
        OpenOptions::new()
            .read(true)
            .write(self.is_writable())
            .custom_flags(flags)
            .open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The open file, for metadata and holes.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn exclude_backends(&self) -> Result<(), OpenError> {
        let kind = match self.access {
            Access::ReadOnly => libc::F_RDLCK,
            Access::ReadWrite => libc::F_WRLCK,
            Access::Inspect => return Ok(()),
        };
        match fcntl::fcntl(&self.file, fcntl::FcntlArg::F_OFD_SETLK(&whole_file(kind))) {
            Ok(_) => Ok(()),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => {
                Err(OpenError::InUse { path: self.path.clone(), pid: self.other_holder() })
            }
            Err(errno) => Err(OpenError::Lock { path: self.path.clone(), source: errno.into() }),
        }
    }

    /// Lets go of the locks although the file may stay open for a moment: the kernel takes its time with a ring of
    /// io_uring that holds it.
    ///
    /// # Errors
    /// What the system says; then the locks go with the file.
    pub fn unlock(&self) -> io::Result<()> {
        let unlock = whole_file(libc::F_UNLCK);
        fcntl::fcntl(&self.file, fcntl::FcntlArg::F_OFD_SETLK(&unlock))?;
        self.file.unlock()
    }

    fn admit_lookers(&self) -> Result<(), OpenError> {
        let path = || self.path.clone();
        match wait_for_lock(|| self.file.try_lock_shared()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(OpenError::HeaderBusy(path()))
            }
            Err(source) => Err(OpenError::Lock { path: path(), source }),
        }
    }

    /// The kernel names no owner of an open-file-description lock, but a backend holds a `flock` beside it, and of
    /// that `/proc/locks` names the process.
    fn other_holder(&self) -> Option<u32> {
        let metadata = self.file.metadata().ok()?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        let place = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        locks
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|fields| fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&&*place))
            .and_then(|fields| fields[4].parse().ok())
    }
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: 0, // SEEK_SET
        l_start: 0,
        l_len: 0, // to the end, however far it moves
        l_pid: 0, // must be zero for this kind of lock
    }
}

/// Tries until it works or [`HEADER_LOCK_WAIT`] is over, then `TimedOut`.
fn wait_for_lock(mut attempt: impl FnMut() -> Result<(), TryLockError>) -> io::Result<()> {
    let deadline = Instant::now() + HEADER_LOCK_WAIT;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another program holds the image's header: try again when it has finished",
                ));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

impl Storage for ImageFile {
    fn size(&self) -> io::Result<u64> {
        if self.is_block_device {
            // A block device has no length but an end. Only positioned reads and writes are used: the seek harms none.
            return Ok(rustix::fs::seek(&self.file, SeekFrom::End(0))?);
        }
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn is_writable(&self) -> bool {
        self.access == Access::ReadWrite
    }

    fn exclusively<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let result = wait_for_lock(|| self.file.try_lock()).map(|()| work());
        // A conversion that failed has lost the shared lock too (flock(2)).
        wait_for_lock(|| self.file.try_lock_shared())?;
        result
    }
}

impl AsFd for ImageFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
