//! A file that is only ever appended to, best on another host's disk.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use super::{Anchor, Sink};
use crate::{
    audit::{
        chain,
        lines::{self, Lines},
        tail,
    },
    files::{FileAt, Stream},
};

/// Why a file cannot be a copy.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The system's.
    #[error("the audit copy {path}: {source}; does its directory exist, and may keyd write there?")]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A pipe or a device would hold the daemon up.
    #[error("the audit copy {0} is no regular file: give a path on a file system")]
    NotRegular(PathBuf),
    /// Its newest row is not the log's of that number.
    #[error(
        "{path} ends with row {row}, which is not row {row} of this audit log: it is another log's copy, or an old store was put back here and went on; give another path, or put the newer store back"
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Its newest row.
        row: u64,
    },
}

/// A copy in a file.
#[derive(Debug)]
pub struct CopyFile {
    path: PathBuf,
    file: File,
}

impl CopyFile {
    /// Opens it, or makes it for the owner alone. What a crash left of a line is ended.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn open(path: &Path) -> Result<Self, CopyError> {
        let system = |source| CopyError::System { path: path.to_owned(), source };
        let file = append(path).map_err(system)?;
        let about = file.metadata().map_err(system)?;
        if !about.is_file() {
            return Err(CopyError::NotRegular(path.to_owned()));
        }
        let mut copy = Self { path: path.to_owned(), file };
        copy.end_line(about.size()).map_err(system)?;
        Ok(copy)
    }

    /// Where it ends; none if it has no row yet.
    ///
    /// # Errors
    /// [`CopyError::System`].
    pub fn anchor(&self) -> Result<Option<Anchor>, CopyError> {
        let system = |source| CopyError::System { path: self.path.clone(), source };
        let file = self.reader().map_err(system)?;
        let end = file.end().map_err(system)?;
        let line = tail::last_line(&*file, end).map_err(system)?;
        Ok(line.and_then(|line| {
            let (record, body) = lines::parse(&line)?;
            Some(Anchor { seq: record.seq, hash: chain::hash(body) })
        }))
    }

    /// SHA-256 of a row it has; none if it has not.
    ///
    /// # Errors
    /// [`CopyError::System`].
    pub fn hash_of(&self, row: u64) -> Result<Option<String>, CopyError> {
        let system = |source| CopyError::System { path: self.path.clone(), source };
        let mut lines = Lines::new(Stream::new(self.reader().map_err(system)?, 0));
        while let Some(line) = lines.read().map_err(system)? {
            match lines::parse(&line) {
                Some((record, body)) if record.seq == row => return Ok(Some(chain::hash(body))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The refusal of a file that is another log's.
    #[must_use]
    pub fn other(&self, row: u64) -> CopyError {
        CopyError::Other { path: self.path.clone(), row }
    }

    fn reader(&self) -> io::Result<Arc<dyn FileAt>> {
        Ok(Arc::new(File::open(&self.path)?))
    }

    /// A torn line stays, with an end: nothing is ever cut from a copy.
    fn end_line(&mut self, len: u64) -> io::Result<()> {
        let mut last = [b'\n'];
        if len > 0 {
            self.reader()?.read_at(len - 1, &mut last)?;
        }
        if last == [b'\n'] { Ok(()) } else { self.file.write_all(b"\n") }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

impl Sink for CopyFile {
    fn path(&self) -> String {
        self.path.display().to_string()
    }

    fn put(&mut self, line: &[u8], _refused: bool) -> io::Result<()> {
        self.file.write_all(&[line, b"\n"].concat())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Its file system may have been mounted anew, or the file moved away by a rotation.
    fn renew(&mut self) -> io::Result<()> {
        let file = append(&self.path)?;
        let len = file.metadata()?.size();
        self.file = file;
        self.end_line(len)
    }
}
