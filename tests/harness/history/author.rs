//! Somebody who writes sectors that say whose they are, anywhere, also where others are writing.

use super::{SECTOR, Stamp};
use crate::driver::{
    BlkRequest,
    kind::{DISCARD, WRITE_ZEROES},
    range,
};

/// The disk that authors write on.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// Block size, bytes.
    pub block: usize,
    /// Blocks of the disk.
    pub blocks: usize,
    /// Longest request, blocks.
    pub longest: usize,
}

/// An author. The same seed brings the same requests.
#[derive(Debug)]
pub struct Author {
    scene: Scene,
    writer: u32,
    sequence: u64,
    random: fastrand::Rng,
}

impl Author {
    /// An author; those of one history have different numbers.
    #[must_use]
    pub fn new(scene: Scene, writer: u32, seed: u64) -> Self {
        Self { scene, writer, sequence: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// The next request.
    pub fn request(&mut self) -> BlkRequest {
        self.sequence += 1;
        let Scene { block, blocks, longest } = self.scene;
        let count = self.random.usize(1..=longest.min(blocks));
        let first = self.random.usize(0..=blocks - count);
        let (sector, sectors) = (first * block / SECTOR, count * block / SECTOR);
        match self.random.u8(0..100) {
            0..50 => self.write(sector as u64, sectors),
            50..57 => self.range(DISCARD, sector, sectors),
            57..65 => self.range(WRITE_ZEROES, sector, sectors),
            65..80 => BlkRequest::flush(),
            _ => BlkRequest::read(sector as u64, sectors * SECTOR),
        }
    }

    fn write(&self, first: u64, sectors: usize) -> BlkRequest {
        let (writer, sequence) = (self.writer, self.sequence);
        let out = (first..first + sectors as u64)
            .flat_map(|address| Stamp { address, writer, sequence }.bytes())
            .collect();
        BlkRequest::write(first, out)
    }

    fn range(&mut self, kind: u32, sector: usize, sectors: usize) -> BlkRequest {
        let unmap = kind == WRITE_ZEROES && self.random.bool();
        BlkRequest::ranges(kind, range(sector as u64, sectors as u32, unmap))
    }
}
