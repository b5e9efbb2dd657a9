//! A file that is there to be given up. When the file system is full, its blocks go, piece by piece, to what an
//! administrator must still be able to write; when there is space again it is made whole.

use std::{
    io,
    sync::{Arc, Mutex},
};

use crate::{
    files::{Dir, FileAt, is_full},
    lock::lock,
};

/// Its name.
const NAME: &str = "ballast";

/// The file.
pub(super) struct Ballast {
    file: Arc<dyn FileAt>,
    whole: u64,
    piece: u64,
    left: Mutex<Left>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    /// The file system cannot reserve blocks: there is nothing to give up.
    Never,
}

impl std::fmt::Debug for Ballast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ballast({:?})", lock(&self.left))
    }
}

impl Ballast {
    /// Opens it, and makes it whole if there is space.
    pub(super) fn open(dir: &dyn Dir, whole: u64, piece: u64) -> io::Result<Self> {
        let file = match dir.open(NAME)? {
            Some(file) => file,
            None => dir.create(NAME)?,
        };
        let left = Mutex::new(Left::Bytes(file.end()?.min(whole)));
        let ballast = Self { file, whole, piece, left };
        match ballast.restore_whole() {
            Err(error) if !is_full(&error) => Err(error),
            _ => Ok(ballast),
        }
    }

    /// Bytes left; none if this file system cannot reserve any.
    pub(super) fn left(&self) -> Option<u64> {
        match *lock(&self.left) {
            Left::Bytes(bytes) => Some(bytes),
            Left::Never => None,
        }
    }

    /// Makes it whole.
    pub(super) fn restore_whole(&self) -> io::Result<()> {
        self.restore(self.whole)
    }

    /// Makes sure that there is a piece to give up.
    pub(super) fn restore_piece(&self) -> io::Result<()> {
        self.restore(self.piece.min(self.whole))
    }

    fn restore(&self, wanted: u64) -> io::Result<()> {
        let mut left = lock(&self.left);
        let Left::Bytes(now) = *left else {
            return Ok(());
        };
        if now >= wanted {
            return Ok(());
        }
        match self.file.reserve(wanted) {
            Ok(()) => {
                self.file.resize(wanted)?;
                *left = Left::Bytes(wanted);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                *left = Left::Never;
                Ok(())
            }
            Err(error) => {
                // What was reserved in part is given back.
                self.file.resize(now)?;
                Err(error)
            }
        }
    }

    /// Does what needs space, giving up pieces for it as long as there are any.
    pub(super) fn spend<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match work() {
                Err(error) if is_full(&error) => self.give_up().map_err(|_| error)?,
                done => return done,
            }
        }
    }

    fn give_up(&self) -> io::Result<()> {
        let mut left = lock(&self.left);
        match *left {
            Left::Bytes(bytes) if bytes > 0 => {
                let rest = bytes.saturating_sub(self.piece);
                self.file.resize(rest)?;
                *left = Left::Bytes(rest);
                Ok(())
            }
            Left::Bytes(_) | Left::Never => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}
