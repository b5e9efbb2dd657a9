//! XTS over the `aes` crate: the tweaks of a whole piece, one XOR, all blocks in parallel, one XOR.
//!
//! The crate picks AES-NI, VAES, ARMv8 or constant-time software by itself; what it is given here is enough blocks
//! at once to fill any of them. `xts-mode` gives it one block at a time and is five to ten times slower.

use aes::{
    Aes256, Block,
    cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};
use keyd_client::{
    Dek, Locked,
    dek::{DEK_LEN, page::PageError},
};

use super::Direction;
use crate::layout::SectorSize;

const BLOCK_LEN: usize = 16;

/// Bytes worked on at once: stays in the first-level cache with its tweaks, and is one or eight data units.
const PIECE_LEN: usize = 4096;
const PIECE_BLOCKS: usize = PIECE_LEN / BLOCK_LEN;
const PIECE_UNITS: usize = PIECE_LEN / 512;

/// Two AES-256 key schedules in a locked page.
pub(super) struct Cipher(Locked<Keys>);

struct Keys {
    data: Aes256,
    tweak: Aes256,
}

impl Cipher {
    pub(super) fn new(dek: &Dek) -> Result<Self, PageError> {
        let (data, tweak) = dek.expose().split_at(DEK_LEN / 2);
        let schedule = |half: &[u8]| {
            Aes256::new_from_slice(half).expect("half a DEK is as long as an AES-256 key")
        };
        Locked::new(|| Keys { data: schedule(data), tweak: schedule(tweak) }).map(Self)
    }

    /// [`Locked::end_process`].
    pub(super) fn end_process(&self, code: i32) -> ! {
        self.0.end_process(code)
    }

    pub(super) fn crypt(
        &self,
        direction: Direction,
        unit: SectorSize,
        tweak: u128,
        src: &[u8],
        dst: &mut [u8],
    ) {
        let pieces = src.chunks(PIECE_LEN).zip(dst.chunks_mut(PIECE_LEN));
        for ((src, dst), sector) in pieces.zip(piece_sectors()) {
            dst.copy_from_slice(src);
            self.piece(direction, unit, tweak.wrapping_add(sector), dst);
        }
    }

    pub(super) fn crypt_in_place(
        &self,
        direction: Direction,
        unit: SectorSize,
        tweak: u128,
        data: &mut [u8],
    ) {
        for (piece, sector) in data.chunks_mut(PIECE_LEN).zip(piece_sectors()) {
            self.piece(direction, unit, tweak.wrapping_add(sector), piece);
        }
    }

    fn piece(&self, direction: Direction, unit: SectorSize, tweak: u128, piece: &mut [u8]) {
        let mut masks = [0u128; PIECE_BLOCKS];
        let masks = &mut masks[..piece.len() / BLOCK_LEN];
        self.masks(unit, tweak, masks);
        let (blocks, _) = Array::slice_as_chunks_mut(piece);
        apply(masks, blocks);
        match direction {
            Direction::Encrypt => self.0.data.encrypt_blocks(blocks),
            Direction::Decrypt => self.0.data.decrypt_blocks(blocks),
        }
        apply(masks, blocks);
    }

    /// The tweak `T_j` of every block of a piece.
    fn masks(&self, unit: SectorSize, tweak: u128, masks: &mut [u128]) {
        let unit_blocks = unit.bytes() as usize / BLOCK_LEN;
        let mut seeds = [Block::default(); PIECE_UNITS];
        let seeds = &mut seeds[..masks.len() / unit_blocks];
        for (seed, k) in seeds.iter_mut().zip(0u128..) {
            let sector = tweak.wrapping_add(k * u128::from(unit.sectors()));
            *seed = sector.to_le_bytes().into();
        }
        self.0.tweak.encrypt_blocks(seeds);
        for (unit, seed) in masks.chunks_mut(unit_blocks).zip(seeds) {
            let mut mask = u128::from_le_bytes((*seed).into());
            for place in unit {
                *place = mask;
                mask = double(mask);
            }
        }
    }
}

/// How many 512-byte sectors lie before each piece.
fn piece_sectors() -> impl Iterator<Item = u128> {
    (0u128..).step_by(PIECE_UNITS)
}

/// Multiplication by x in GF(2^128) (IEEE 1619-2018, 5.2).
fn double(value: u128) -> u128 {
    // No branch on a secret bit.
    (value << 1) ^ (0x87 & 0u128.wrapping_sub(value >> 127))
}

fn apply(masks: &[u128], blocks: &mut [Block]) {
    for (block, mask) in blocks.iter_mut().zip(masks) {
        *block = (u128::from_le_bytes((*block).into()) ^ mask).to_le_bytes().into();
    }
}
