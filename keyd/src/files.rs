//! The files that are written while the daemon runs, behind two traits: the system's, or a twin in tests that tears,
//! loses and reorders what was not synced, and that fills up.

mod found;
mod system;

use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

pub use found::{FileId, Found, Loss};
pub use system::SystemDir;

/// A directory of plain files, by name.
pub trait Dir: Send + Sync {
    /// Opens a file, if it is there.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn FileAt>>>;

    /// Makes an empty file for the owner alone, in place of one of that name.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, name: &str) -> io::Result<Arc<dyn FileAt>>;

    /// Names of what is there, in any order.
    ///
    /// # Errors
    /// The system's.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name; one that had it is gone.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;

    /// What its path leads to now.
    ///
    /// # Errors
    /// The system's.
    fn identity(&self) -> io::Result<FileId>;

    /// What a name in it leads to now, if it leads anywhere.
    ///
    /// # Errors
    /// The system's.
    fn look(&self, name: &str) -> io::Result<Option<Found>>;
}

/// A file, read and written at offsets, bytes.
pub trait FileAt: Send + Sync {
    /// Its length.
    ///
    /// # Errors
    /// The system's.
    fn end(&self) -> io::Result<u64>;

    /// Which file it is, and how long.
    ///
    /// # Errors
    /// The system's.
    fn look(&self) -> io::Result<Found>;

    /// Reads at an offset; fewer bytes than asked, or none, at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// The system's; how much was written is then unknown.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Gives it a length. Blocks behind its end that were reserved are given back.
    ///
    /// # Errors
    /// The system's.
    fn resize(&self, len: u64) -> io::Result<()>;

    /// Reserves blocks for its first `len` bytes; its length stays. Writes there need no more space.
    ///
    /// # Errors
    /// The system's: [`is_full`], and [`io::ErrorKind::Unsupported`] where a file system cannot reserve.
    fn reserve(&self, len: u64) -> io::Result<()>;

    /// Makes all before durable.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;

    /// Has what is read next come from the disk, as far as the system does it.
    ///
    /// # Errors
    /// The system's.
    fn forget_cached(&self) -> io::Result<()>;
}

/// Whether there was no space: ENOSPC or EDQUOT.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file as a stream from an offset on.
#[derive(Clone)]
pub struct Stream {
    file: Arc<dyn FileAt>,
    offset: u64,
}

impl Stream {
    /// From `offset` to the end.
    #[must_use]
    pub fn new(file: Arc<dyn FileAt>, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream(at {})", self.offset)
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(self.offset, bytes)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Reads from `from` to `to`, or to the end if that comes first.
///
/// # Errors
/// The system's.
pub fn read_range(file: &dyn FileAt, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let filled = fill(file, from, &mut bytes)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Fills a buffer from an offset on, as far as the file goes; how far that was.
///
/// # Errors
/// The system's.
pub fn fill(file: &dyn FileAt, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(offset + filled as u64, &mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
pub(crate) mod tests;
