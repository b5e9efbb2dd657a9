//! What blocks must hold: each word tells its address and how often its block was written.

use anyhow::{Result, bail, ensure};
use vm_memory::VolatileSlice;

/// How often each block was written, and which blocks have a request under way.
pub struct Ledger {
    block: usize,
    written: Vec<u32>,
    busy: Vec<bool>,
    scratch: Vec<u8>,
    /// Blocks that were read and were right.
    pub verified: u64,
}

impl Ledger {
    /// For so many blocks of so many bytes, none written.
    #[must_use]
    pub fn new(blocks: u64, block: u32) -> Self {
        let (blocks, block) = (blocks as usize, block as usize);
        let (written, busy) = (vec![0; blocks], vec![false; blocks]);
        Self { block, written, busy, scratch: vec![0; block], verified: 0 }
    }

    /// Takes a block for a request; the next one that is free if it is not.
    pub fn take(&mut self, wanted: u64) -> u64 {
        let mut number = wanted as usize;
        while self.busy[number] {
            number = (number + 1) % self.busy.len();
        }
        self.busy[number] = true;
        number as u64
    }

    /// Fills a buffer with what the block is to hold from now on.
    pub fn write(&mut self, number: u64, buffer: &VolatileSlice<'_>) {
        let written = &mut self.written[number as usize];
        *written += 1;
        fill(&mut self.scratch, number * self.block as u64, *written);
        buffer.copy_from(&self.scratch);
    }

    /// A write came back.
    pub fn wrote(&mut self, number: u64) {
        self.busy[number as usize] = false;
    }

    /// Judges a buffer that was read. A block that was not written here may hold anything.
    ///
    /// # Errors
    /// It is not what was written.
    pub fn judge(&mut self, number: u64, buffer: &VolatileSlice<'_>) -> Result<()> {
        self.busy[number as usize] = false;
        let written = self.written[number as usize];
        if written == 0 {
            return Ok(());
        }
        ensure!(buffer.copy_to(&mut self.scratch) == self.block, "a short buffer");
        let address = number * self.block as u64;
        for (found, at) in self.scratch.chunks_exact(8).zip((address..).step_by(8)) {
            if found != word(at, written).to_le_bytes() {
                bail!("byte {at} of the disk is not what write {written} of its block put there");
            }
        }
        self.verified += 1;
        Ok(())
    }
}

fn fill(bytes: &mut [u8], address: u64, written: u32) {
    for (bytes, at) in bytes.chunks_exact_mut(8).zip((address..).step_by(8)) {
        bytes.copy_from_slice(&word(at, written).to_le_bytes());
    }
}

/// Unlike any other word: the finaliser of MurmurHash3 over address and count.
fn word(address: u64, written: u32) -> u64 {
    let mut word = address ^ u64::from(written).rotate_right(20);
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use vm_memory::{MmapRegion, VolatileMemory};

    use super::*;

    #[test]
    fn a_stale_a_foreign_and_a_torn_block_are_found() {
        let region = MmapRegion::<()>::new(1024).expect("memory");
        let (one, other) = (region.get_slice(0, 512).unwrap(), region.get_slice(512, 512).unwrap());
        let mut ledger = Ledger::new(4, 512);
        ledger.write(1, &one);
        ledger.judge(1, &one).expect("as written");
        assert!(ledger.judge(0, &other).is_ok(), "never written");
        ledger.write(2, &other);
        assert!(ledger.judge(2, &one).is_err(), "another block's");
        ledger.write(1, &other);
        assert!(ledger.judge(1, &one).is_err(), "an older one");
        other.subslice(504, 8).unwrap().copy_from(&[0u8; 8]);
        assert!(ledger.judge(1, &other).is_err(), "torn");
        assert_eq!(ledger.verified, 1);
    }
}
