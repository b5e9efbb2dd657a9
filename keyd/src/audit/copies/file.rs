//! A file that is only ever appended to, best on another host's disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use confine::paths::directory;
use keyd_client::message::AuditRecord;
use thiserror::Error;

use super::{Anchor, Sink};
use crate::{
    audit::{
        chain,
        lines::{self, Lines},
        tail,
    },
    files::{FileAt, Found, Loss, Stream},
};

/// Digits of a row's number in the name of a copy that was closed: names sort as rows do.
const DIGITS: usize = 20;

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
    /// The file as it was left: only keyd appends to it.
    left: Found,
    /// The newest row that was put there.
    newest: Option<Anchor>,
    /// Length at which it is closed and the next is begun, bytes.
    segment: Option<u64>,
}

impl CopyFile {
    /// Opens it, or makes it for the owner alone. What a crash left of a line is ended. At a length of `segment` bytes
    /// it is closed, under a name with the number of its first row, and the next is begun.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn open(path: &Path, segment: Option<u64>) -> Result<Self, CopyError> {
        let system = |source| CopyError::System { path: path.to_owned(), source };
        let file = append(path, true).map_err(system)?;
        let about = file.metadata().map_err(system)?;
        if !about.is_file() {
            return Err(CopyError::NotRegular(path.to_owned()));
        }
        let left = Found::from(&about);
        let mut copy = Self { path: path.to_owned(), file, left, newest: None, segment };
        copy.end_line().map_err(system)?;
        copy.newest = copy.anchor()?;
        Ok(copy)
    }

    /// Where it ends: with the newest row of its file, or of the one that was closed last if that has none yet; none if
    /// there is no row.
    ///
    /// # Errors
    /// [`CopyError::System`].
    pub fn anchor(&self) -> Result<Option<Anchor>, CopyError> {
        let system = |source| CopyError::System { path: self.path.clone(), source };
        let own = end_of(&self.path).map_err(system)?;
        match self.closed_last().map_err(system)? {
            Some(closed) if own.is_none() => end_of(&closed).map_err(system),
            _ => Ok(own),
        }
    }

    /// The file that was closed last.
    fn closed_last(&self) -> io::Result<Option<PathBuf>> {
        let mut found: Option<PathBuf> = None;
        for entry in fs::read_dir(directory(&self.path))? {
            let path = entry?.path();
            if self.is_closed(&path) && found.as_ref().is_none_or(|found| *found < path) {
                found = Some(path);
            }
        }
        Ok(found)
    }

    fn is_closed(&self, path: &Path) -> bool {
        let digits = path.extension().and_then(|digits| digits.to_str());
        let digits = digits.is_some_and(|digits| {
            digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        digits && path.file_stem() == self.path.file_name()
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
    fn end_line(&mut self) -> io::Result<()> {
        let (mut last, len) = ([b'\n'], self.file.end()?);
        if len > 0 {
            self.reader()?.read_at(len - 1, &mut last)?;
        }
        if last != [b'\n'] {
            self.file.write_all(b"\n")?;
        }
        self.left = self.file.look()?;
        Ok(())
    }

    /// What its name leads to.
    fn found(&self) -> io::Result<Option<Found>> {
        match fs::metadata(&self.path) {
            Ok(about) => Ok(Some(Found::from(&about))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Goes on in another file, which must end where this one was left, or have nothing in it.
    fn go_on_in(&mut self, file: File) -> io::Result<()> {
        let found = file.look()?;
        let there = tail_of(&file)?;
        if found.len > 0 && there != self.newest {
            return Err(lost(&Loss::Replaced(self.name())));
        }
        (self.file, self.left) = (file, found);
        self.end_line()
    }

    /// Closes the file if another line makes it too long.
    fn close_before(&mut self, line: usize) -> io::Result<()> {
        let Some(segment) = self.segment else { return Ok(()) };
        if self.left.len == 0 || self.left.len + line as u64 <= segment {
            return Ok(());
        }
        let mut rows = Lines::new(Stream::new(self.reader()?, 0));
        let mut first = None;
        while first.is_none()
            && let Some(row) = rows.read()?
        {
            first = lines::parse(&row).map(|(record, _)| record.seq);
        }
        let mut closed = self.path.clone().into_os_string();
        closed.push(format!(".{:0DIGITS$}", first.unwrap_or_default()));
        if fs::exists(&closed)? {
            let text = format!("{} is there already: move it away", closed.display());
            return Err(io::Error::other(text));
        }
        self.file.sync_all()?;
        fs::rename(&self.path, &closed)?;
        let next = append(&self.path, true)?;
        (self.left, self.file) = (next.look()?, next);
        File::open(directory(&self.path))?.sync_all()
    }
}

fn append(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().append(true).read(true).create(create).mode(0o600).open(path)
}

/// The newest row of a file.
fn end_of(path: &Path) -> io::Result<Option<Anchor>> {
    tail_of(&File::open(path)?)
}

fn tail_of(file: &File) -> io::Result<Option<Anchor>> {
    let line = tail::last_line(file, file.end()?)?;
    Ok(line.and_then(|line| {
        let (record, body) = lines::parse(&line)?;
        Some(Anchor { seq: record.seq, hash: chain::hash(body) })
    }))
}

/// With the ways back: a copy that was lost is not made good by an empty one that nobody asked for.
fn lost(loss: &Loss) -> io::Error {
    io::Error::other(format!(
        "{loss}; put the file back, or send keyd SIGHUP ('systemctl reload keyd') and it goes on with the next row in a new one"
    ))
}

impl Sink for CopyFile {
    fn path(&self) -> String {
        self.name()
    }

    fn put(&mut self, line: &[u8], _refused: bool) -> io::Result<()> {
        self.close_before(line.len() + 1)?;
        self.file.write_all(&[line, b"\n"].concat())?;
        self.left.len += line.len() as u64 + 1;
        let record: AuditRecord = serde_json::from_slice(line)?;
        self.newest = Some(Anchor { seq: record.seq, hash: chain::hash(line) });
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn look(&mut self) -> io::Result<()> {
        match Loss::of_whole(&self.name(), self.left, &self.found()) {
            Some(loss) => Err(lost(&loss)),
            None => Ok(()),
        }
    }

    /// Its file system may have been mounted anew; or a write failed, of which something may be there.
    fn renew(&mut self) -> io::Result<()> {
        let found = self.found();
        match found {
            Ok(None) => return Err(lost(&Loss::Gone(self.name()))),
            Ok(Some(found)) if found.id == self.left.id && found.len < self.left.len => {
                let (name, is, was) = (self.name(), found.len, self.left.len);
                return Err(lost(&Loss::Length { name, is, was }));
            }
            _ => {}
        }
        self.go_on_in(append(&self.path, false)?)
    }

    /// Moved away, or emptied after it was copied elsewhere: by whoever asks for this.
    fn rotate(&mut self) -> io::Result<()> {
        self.go_on_in(append(&self.path, true)?)
    }
}
