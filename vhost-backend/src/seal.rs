//! The place where plaintext becomes ciphertext and back, one tile at a time.
//!
//! A tile of plaintext is the only guest data in clear that the process ever holds: a locked page of the queue's,
//! between gather and seal or between open and scatter. The I/O buffers hold ciphertext alone.

use std::{fmt, sync::Arc};

use images::XtsCipher;
use keyd_client::{
    Locked,
    dek::page::{PageError, scrub_stack},
    message::Holes,
};
use thiserror::Error;

use crate::{
    disk::buffer::{Blank, Ciphertext},
    guest::NotInMemory,
    limits::TILE_LEN,
};

/// Why data could not be sealed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SealError {
    /// There is no key: the queue is fenced.
    #[error("the disk's key is gone")]
    NoKey,
    /// A buffer of the guest's is not in its memory.
    #[error(transparent)]
    Guest(#[from] NotInMemory),
    /// A unit encrypted to all zeros, which would read back as a hole. It happens once in 2^4096 units, or if the
    /// cipher is broken; either way it must not be written.
    #[error("a data unit encrypted to zeros, which mean a hole")]
    ZeroCiphertext,
}

/// A queue's share of the key, and its tile.
pub struct Sealer {
    key: Option<Arc<XtsCipher>>,
    tile: Locked<[u8; TILE_LEN]>,
    holes: Holes,
    unit: usize,
}

impl Sealer {
    /// A sealer without a key.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn new(holes: Holes, unit: usize) -> Result<Self, PageError> {
        Ok(Self { key: None, tile: Locked::new(|| [0; TILE_LEN])?, holes, unit })
    }

    /// Takes the key.
    pub fn set_key(&mut self, key: Arc<XtsCipher>) {
        self.key = Some(key);
    }

    /// Lets go of the key, and wipes what it may have left: the tile, and round keys that the compiler spilled to the
    /// stack. The last queue to let go wipes the schedule itself.
    pub fn drop_key(&mut self) {
        self.key = None;
        zeroize::Zeroize::zeroize(&mut *self.tile);
        scrub_stack();
    }

    /// Whether there is a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Encrypts `len` bytes for the disk from byte `disk_at` on: `gather` fills one tile of plaintext after the other.
    ///
    /// # Errors
    /// [`SealError`], with the buffer back.
    pub fn seal(
        &mut self,
        mut into: Blank,
        disk_at: u64,
        len: usize,
        mut gather: impl FnMut(&mut [u8]) -> Result<(), NotInMemory>,
    ) -> Result<Ciphertext, (Blank, SealError)> {
        match self.seal_tiles(&mut into.bytes_mut()[..len], disk_at, &mut gather) {
            Ok(()) => Ok(into.into_ciphertext(len)),
            Err(error) => Err((into, error)),
        }
    }

    fn seal_tiles(
        &mut self,
        into: &mut [u8],
        disk_at: u64,
        gather: &mut impl FnMut(&mut [u8]) -> Result<(), NotInMemory>,
    ) -> Result<(), SealError> {
        let key = self.key.as_ref().ok_or(SealError::NoKey)?;
        let mut sector = disk_at / 512;
        for out in into.chunks_mut(TILE_LEN) {
            let tile = &mut self.tile[..out.len()];
            gather(tile)?;
            key.encrypt(sector, tile, out);
            if self.holes == Holes::Zeros && out.chunks(self.unit).any(is_zero) {
                return Err(SealError::ZeroCiphertext);
            }
            sector += (TILE_LEN / 512) as u64;
        }
        Ok(())
    }

    /// Decrypts what the disk holds from byte `disk_at` on: `scatter` takes one tile of plaintext after the other.
    /// A unit that was never written reads as zeros.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(
        &mut self,
        from: &Ciphertext,
        disk_at: u64,
        mut scatter: impl FnMut(&[u8]) -> Result<(), NotInMemory>,
    ) -> Result<(), SealError> {
        let key = self.key.as_ref().ok_or(SealError::NoKey)?;
        let mut sector = disk_at / 512;
        for bytes in from.bytes().chunks(TILE_LEN) {
            let tile = &mut self.tile[..bytes.len()];
            key.decrypt(sector, bytes, tile);
            if self.holes == Holes::Zeros {
                let units = bytes.chunks(self.unit).zip(tile.chunks_mut(self.unit));
                units.filter(|(unit, _)| is_zero(unit)).for_each(|(_, plain)| plain.fill(0));
            }
            scatter(tile)?;
            sector += (TILE_LEN / 512) as u64;
        }
        Ok(())
    }
}

/// Nearly always decided by the first eight bytes.
fn is_zero(unit: &[u8]) -> bool {
    let (head, rest) = unit.split_at(8);
    head == [0; 8] && rest.iter().all(|&byte| byte == 0)
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer(key: {})", if self.has_key() { "held" } else { "none" })
    }
}
