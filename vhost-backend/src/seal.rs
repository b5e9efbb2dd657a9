//! The place where plaintext becomes ciphertext and back: straight between guest memory and an I/O buffer.
//!
//! Where that cannot be, because the guest cut a data unit in pieces or the cipher's path takes more than one pass, a
//! tile lies between: a locked page of the queue's, the only guest data in clear that the process ever holds. The I/O
//! buffers hold ciphertext alone.

#[allow(unsafe_code)] // the cipher on guest memory
mod shared;

use std::{fmt, sync::Arc};

use images::XtsCipher;
use keyd_client::{
    Locked,
    dek::page::{PageError, scrub_stack},
    message::Holes,
};
use thiserror::Error;
use vm_memory::VolatileSlice;

use crate::{
    disk::buffer::{Blank, Ciphertext},
    guest::{Data, NotInMemory},
    limits::TILE_LEN,
};

/// What was never written.
static ZEROS: [u8; TILE_LEN] = [0; TILE_LEN];

/// A hole, bytes, whatever the data unit is: a disk that loses its power in a write takes or leaves 512. Of a unit that
/// it tore where nothing was, the rest is still nothing, and not noise.
const HOLE_LEN: usize = 512;

/// Why data could not be sealed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SealError {
    /// There is no key: the queue is fenced.
    #[error("the disk's key is gone")]
    NoKey,
    /// A buffer of the guest's is not in its memory.
    #[error(transparent)]
    Guest(#[from] NotInMemory),
    /// 512 bytes encrypted to all zeros, which would read back as a hole. It happens once in 2^4096 times, or if the
    /// cipher is broken; either way they must not be written.
    #[error("a sector encrypted to zeros, which mean a hole")]
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

    /// Encrypts `len` bytes of the guest's for the disk from byte `disk_at` on.
    ///
    /// # Errors
    /// [`SealError`], with the buffer back.
    pub fn seal(
        &mut self,
        mut into: Blank,
        disk_at: u64,
        len: usize,
        from: &mut Data<'_>,
    ) -> Result<Ciphertext, (Blank, SealError)> {
        match self.seal_data(&mut into.bytes_mut()[..len], disk_at, from) {
            Ok(()) => Ok(into.into_ciphertext(len)),
            Err(error) => Err((into, error)),
        }
    }

    /// Encrypts `len` zeros for the disk from byte `disk_at` on.
    ///
    /// # Errors
    /// [`SealError`], with the buffer back.
    pub fn seal_zeros(
        &mut self,
        mut into: Blank,
        disk_at: u64,
        len: usize,
    ) -> Result<Ciphertext, (Blank, SealError)> {
        let zeros = &mut into.bytes_mut()[..len];
        zeros.fill(0);
        let sealed = match &self.key {
            Some(key) => {
                key.encrypt_in_place(disk_at / 512, zeros);
                self.not_a_hole(zeros)
            }
            None => Err(SealError::NoKey),
        };
        match sealed {
            Ok(()) => Ok(into.into_ciphertext(len)),
            Err(error) => Err((into, error)),
        }
    }

    fn seal_data(
        &mut self,
        mut into: &mut [u8],
        disk_at: u64,
        from: &mut Data<'_>,
    ) -> Result<(), SealError> {
        let key = self.key.as_deref().ok_or(SealError::NoKey)?;
        let mut sector = disk_at / 512;
        while !into.is_empty() {
            let straight = straight(key, from, self.unit, into.len());
            let len = straight.map_or(into.len().min(TILE_LEN), |run| run.len());
            let (now, later) = into.split_at_mut(len);
            if let Some(run) = straight {
                shared::encrypt(key, sector, &run, now);
            } else {
                let tile = &mut self.tile[..len];
                from.gather(tile)?;
                key.encrypt(sector, tile, now);
            }
            self.not_a_hole(now)?;
            sector += (len / 512) as u64;
            into = later;
        }
        Ok(())
    }

    fn not_a_hole(&self, ciphertext: &[u8]) -> Result<(), SealError> {
        if self.has_hole(ciphertext) { Err(SealError::ZeroCiphertext) } else { Ok(()) }
    }

    fn is_hole(&self, unit: &[u8]) -> bool {
        self.holes == Holes::Zeros && is_zero(unit)
    }

    fn has_hole(&self, ciphertext: &[u8]) -> bool {
        self.holes == Holes::Zeros && ciphertext.chunks(HOLE_LEN).any(is_zero)
    }

    /// Decrypts what the disk holds from byte `disk_at` on, for the guest. What was never written reads as zeros.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(
        &mut self,
        from: &Ciphertext,
        disk_at: u64,
        to: &mut Data<'_>,
    ) -> Result<(), SealError> {
        let key = self.key.as_deref().ok_or(SealError::NoKey)?;
        let (mut sector, mut bytes) = (disk_at / 512, from.bytes());
        while !bytes.is_empty() {
            let whole = leading(bytes, self.unit, |unit| !self.has_hole(unit));
            let straight = if whole > 0 { straight(key, to, self.unit, whole) } else { None };
            let holes =
                if whole > 0 { 0 } else { leading(bytes, self.unit, |unit| self.is_hole(unit)) };
            let len = if let Some(run) = straight {
                shared::decrypt(key, sector, &bytes[..run.len()], &run);
                run.len()
            } else if holes > 0 {
                let len = holes.min(TILE_LEN);
                to.scatter(&ZEROS[..len])?;
                len
            } else {
                let len = whole.max(self.unit).min(TILE_LEN);
                let tile = &mut self.tile[..len];
                key.decrypt(sector, &bytes[..len], tile);
                if whole == 0 {
                    clear_holes(&bytes[..len], tile);
                }
                to.scatter(tile)?;
                len
            };
            sector += (len / 512) as u64;
            bytes = &bytes[len..];
        }
        Ok(())
    }
}

/// The next guest bytes where they lie, if the cipher may work on memory that the guest sees.
fn straight<'a>(
    key: &XtsCipher,
    data: &mut Data<'a>,
    unit: usize,
    len: usize,
) -> Option<VolatileSlice<'a>> {
    if key.is_one_pass() { data.straight(unit, len) } else { None }
}

/// Bytes of the first units that are as told.
fn leading(bytes: &[u8], unit: usize, are: impl Fn(&[u8]) -> bool) -> usize {
    bytes.chunks(unit).take_while(|unit| are(unit)).count() * unit
}

/// Of a unit that was torn, what was never written.
fn clear_holes(ciphertext: &[u8], clear: &mut [u8]) {
    let pieces = ciphertext.chunks(HOLE_LEN).zip(clear.chunks_mut(HOLE_LEN));
    pieces.filter(|(piece, _)| is_zero(piece)).for_each(|(_, clear)| clear.fill(0));
}

/// Nearly always decided by the first eight bytes; where it is not, by a comparison of memory.
fn is_zero(unit: &[u8]) -> bool {
    unit[..8] == [0; 8] && unit == &ZEROS[..unit.len()]
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer(key: {})", if self.has_key() { "held" } else { "none" })
    }
}
