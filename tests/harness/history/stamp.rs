//! Sectors that say whose they are.

use sha2::{Digest, Sha256};

use super::SECTOR;

/// Where the checksum begins.
const BODY: usize = SECTOR - 32;

/// What a sector holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Zeros: never written, discarded, or written so.
    Zeros,
    /// What an author wrote.
    Stamp(Stamp),
}

/// What a written sector says of itself. No two written sectors are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The sector it was written to.
    pub address: u64,
    /// Who wrote it.
    pub writer: u32,
    /// The writer's count of requests.
    pub sequence: u64,
}

impl Stamp {
    /// The sector: address, writer and sequence, bytes that follow from them, and the SHA-256 of all that.
    #[must_use]
    pub fn bytes(self) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        bytes[..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.writer.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        let seed = self.address << 40 ^ u64::from(self.writer) << 32 ^ self.sequence;
        fastrand::Rng::with_seed(seed).fill(&mut bytes[20..BODY]);
        let sum = Sha256::digest(&bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&sum);
        bytes
    }
}

impl Value {
    /// What a sector of the disk holds, in clear; `None` for what nobody wrote: a torn sector, another's key, noise.
    #[must_use]
    pub fn read(sector: &[u8]) -> Option<Self> {
        if sector.iter().all(|&byte| byte == 0) {
            return Some(Self::Zeros);
        }
        if sector.len() != SECTOR || Sha256::digest(&sector[..BODY])[..] != sector[BODY..] {
            return None;
        }
        let number = |from: usize| {
            let eight = sector[from..from + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(eight)
        };
        let stamp = Stamp { address: number(0), writer: number(8) as u32, sequence: number(12) };
        Some(Self::Stamp(stamp))
    }
}
