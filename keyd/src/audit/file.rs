//! Where the lines lie: a file, or a twin that fails on command in tests.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

/// A file that grows at its end.
pub trait LogFile: Send + Sync {
    /// Where it ends: its length, bytes.
    ///
    /// # Errors
    /// The system's.
    fn end(&self) -> io::Result<u64>;

    /// Reads at an offset; fewer bytes than asked, or none, at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes at an offset, which is the end.
    ///
    /// # Errors
    /// The system's; how much was written is then unknown.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it.
    ///
    /// # Errors
    /// The system's.
    fn cut(&self, len: u64) -> io::Result<()>;

    /// Makes all before durable.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;
}

impl LogFile for File {
    fn end(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A log as a stream from an offset on.
#[derive(Clone, Copy)]
pub struct Stream<'log> {
    log: &'log dyn LogFile,
    offset: u64,
}

impl<'log> Stream<'log> {
    /// From `offset` to the end.
    #[must_use]
    pub fn new(log: &'log dyn LogFile, offset: u64) -> Self {
        Self { log, offset }
    }
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream(at {})", self.offset)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.log.read_at(self.offset, bytes)?;
        self.offset += read as u64;
        Ok(read)
    }
}
