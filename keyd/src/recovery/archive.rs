//! The archive: files one behind the other, each counted and hashed as it goes by.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use keyd_client::dek::page::scrub_stack;
use tar::{EntryType, Header};

use super::{Entry, RecoveryError};
use crate::audit::chain::hexadecimal;

/// Tar's unit, bytes.
const BLOCK: u64 = 512;

/// An archive that is written. Its files go straight through: a file's plaintext is never buffered here.
pub(super) struct Writer<W> {
    to: W,
    /// Seconds since 1970.
    time: u64,
    files: Vec<Entry>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W, time: u64) -> Self {
        Self { to, time, files: Vec::new() }
    }

    /// What was written so far.
    pub(super) fn files(&self) -> &[Entry] {
        &self.files
    }

    /// A file of so many bytes, which `fill` writes.
    pub(super) fn add(
        &mut self,
        name: &str,
        len: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), RecoveryError>,
    ) -> Result<(), RecoveryError> {
        let mut header = Header::new_ustar();
        header.set_path(name).map_err(RecoveryError::Write)?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        header.set_size(len);
        header.set_cksum();
        self.to.write_all(header.as_bytes()).map_err(RecoveryError::Write)?;
        let mut hashed = Hashed::new(&mut self.to);
        fill(&mut hashed)?;
        scrub_stack();
        let entry = hashed.entry(name);
        if entry.len != len {
            return Err(RecoveryError::Changed(name.to_owned()));
        }
        self.files.push(entry);
        let padding = len.next_multiple_of(BLOCK) - len;
        io::copy(&mut io::repeat(0).take(padding), &mut self.to).map_err(RecoveryError::Write)?;
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK as usize])?;
        Ok(self.to)
    }
}

/// Counts and hashes what goes through it, on either way.
pub(super) struct Hashed<T> {
    inner: T,
    context: Context,
    len: u64,
}

impl<T> Hashed<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, context: Context::new(&SHA256), len: 0 }
    }

    /// What went through.
    pub(super) fn entry(self, name: &str) -> Entry {
        let sha256 = hexadecimal(self.context.finish().as_ref());
        Entry { name: name.to_owned(), len: self.len, sha256 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.context.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.context.update(&bytes[..read]);
        self.len += read as u64;
        Ok(read)
    }
}
