//! Whether a name still leads to the file that is open under it.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt};

use thiserror::Error;

/// What tells a file or a directory from every other, whatever name leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The file system's device.
    pub device: u64,
    /// The number on it.
    pub inode: u64,
}

/// What is found under a name, or behind a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which file.
    pub id: FileId,
    /// Its length, bytes.
    pub len: u64,
}

impl From<&Metadata> for Found {
    fn from(about: &Metadata) -> Self {
        Self { id: FileId { device: about.dev(), inode: about.ino() }, len: about.len() }
    }
}

/// A file that was taken away from the program that has it open. What it goes on to write is gone when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Loss {
    /// Nothing has its name.
    #[error("{0} was removed or moved away while keyd had it open")]
    Gone(String),
    /// Something else has its name.
    #[error("something else lies in the place of {0}, which keyd has open")]
    Replaced(String),
    /// It is not as long as it was written.
    #[error("{name} has {is} bytes, and keyd had written {was}: something else wrote to it")]
    Length {
        /// Its name.
        name: String,
        /// Bytes now.
        is: u64,
        /// Bytes that were written.
        was: u64,
    },
    /// Its name cannot be looked up.
    #[error("{name} cannot be looked at: {why}")]
    Unseen {
        /// Its name.
        name: String,
        /// What the system said.
        why: String,
    },
}

impl Loss {
    /// What is wrong with what was found under a name, where this file should be.
    #[must_use]
    pub fn of(name: &str, open: FileId, found: &io::Result<Option<Found>>) -> Option<Self> {
        let name = name.to_owned();
        match found {
            Err(error) => Some(Self::Unseen { name, why: error.to_string() }),
            Ok(None) => Some(Self::Gone(name)),
            Ok(Some(found)) if found.id != open => Some(Self::Replaced(name)),
            Ok(Some(_)) => None,
        }
    }

    /// The same of a file that only keyd writes, and that has this length therefore.
    #[must_use]
    pub fn of_whole(name: &str, open: Found, found: &io::Result<Option<Found>>) -> Option<Self> {
        Self::of(name, open.id, found).or_else(|| {
            let is = found.as_ref().ok()?.as_ref()?.len;
            (is != open.len).then(|| Self::Length { name: name.to_owned(), is, was: open.len })
        })
    }
}
