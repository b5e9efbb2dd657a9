//! Looking for key material in another process, as an attacker with root would.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

use memchr::memmem::Finder;

/// What is looked for: 16-byte runs that only a holder of the key can have.
#[derive(Debug, Clone)]
pub struct Needles(Vec<(String, Vec<u8>)>);

impl Needles {
    /// The DEK itself, in quarters, so that a part left over is found too.
    ///
    /// # Panics
    /// If `dek` is not 64 bytes.
    #[must_use]
    pub fn of_dek(dek: &[u8]) -> Self {
        assert_eq!(dek.len(), 64);
        let quarters = dek.chunks(16).enumerate();
        Self(quarters.map(|(n, part)| (format!("DEK part {n}"), part.to_vec())).collect())
    }

    /// Round keys of both halves, for encryption and for decryption; the first two of each are the key itself and
    /// are left to [`Needles::of_dek`].
    #[must_use]
    pub fn of_round_keys(dek: &[u8]) -> Self {
        let mut needles = Vec::new();
        for (half, key) in dek.chunks(32).enumerate() {
            for (round, round_key) in expand(key).into_iter().enumerate().skip(2) {
                needles.push((format!("round key {round} of half {half}"), round_key.to_vec()));
                let inverse = inverse_mix_columns(round_key).to_vec();
                needles.push((format!("inverse round key {round} of half {half}"), inverse));
            }
        }
        Self(needles)
    }

    /// Which of them are in the memory of a process, and where.
    ///
    /// # Panics
    /// If the process cannot be read: the scan needs root.
    #[must_use]
    pub fn found_in(&self, pid: u32) -> Vec<String> {
        let memory =
            File::open(format!("/proc/{pid}/mem")).expect("reading another process needs root");
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its map");
        let mut found = Vec::new();
        let mut scanned = 0;
        for line in maps.lines().filter(|line| line.contains(" r")) {
            let Some(bytes) = read_region(&memory, line) else { continue };
            scanned += bytes.len();
            for (name, needle) in &self.0 {
                if Finder::new(needle).find(&bytes).is_some() {
                    found.push(format!("{name} in {line}"));
                }
            }
        }
        assert!(scanned > 100_000, "the scan saw almost nothing of the process");
        found
    }

    /// Which of them are in some bytes.
    #[must_use]
    pub fn found_in_bytes(&self, bytes: &[u8]) -> Vec<String> {
        let hit = |needle: &Vec<u8>| Finder::new(needle).find(bytes).is_some();
        self.0.iter().filter(|(_, needle)| hit(needle)).map(|(name, _)| name.clone()).collect()
    }
}

/// Regions that cannot be read (guard pages, vvar) hold nothing.
fn read_region(memory: &File, line: &str) -> Option<Vec<u8>> {
    let (low, high) = line.split(' ').next()?.split_once('-')?;
    let low = u64::from_str_radix(low, 16).ok()?;
    let high = u64::from_str_radix(high, 16).ok()?;
    if line.contains("[vsyscall]") || line.contains("[vvar") {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(high - low).ok()?];
    let read: io::Result<()> = memory.read_exact_at(&mut bytes, low);
    read.ok().map(|()| bytes)
}

/// AES-256 key expansion (FIPS 197, 5.2), written from the standard and from nothing else of ours.
fn expand(key: &[u8]) -> [[u8; 16]; 15] {
    let mut words: Vec<[u8; 4]> =
        key.chunks(4).map(|word| [word[0], word[1], word[2], word[3]]).collect();
    let mut constant = 1u8;
    for number in 8..60 {
        let mut word = words[number - 1];
        if number % 8 == 0 {
            word.rotate_left(1);
            word = word.map(substitute);
            word[0] ^= constant;
            constant = double(constant);
        } else if number % 8 == 4 {
            word = word.map(substitute);
        }
        let earlier = words[number - 8];
        words.push(std::array::from_fn(|byte| earlier[byte] ^ word[byte]));
    }
    std::array::from_fn(|round| std::array::from_fn(|byte| words[4 * round + byte / 4][byte % 4]))
}

/// Multiplication by x in GF(2^8) (FIPS 197, 4.2.1).
fn double(byte: u8) -> u8 {
    (byte << 1) ^ if byte & 0x80 == 0 { 0 } else { 0x1b }
}

fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    product
}

/// The S-box: inverse in GF(2^8), then the affine map (FIPS 197, 5.1.1).
fn substitute(byte: u8) -> u8 {
    let inverse = (1..=255).find(|&candidate| multiply(byte, candidate) == 1).unwrap_or(0);
    let rotated = |by: u32| inverse.rotate_left(by);
    inverse ^ rotated(1) ^ rotated(2) ^ rotated(3) ^ rotated(4) ^ 0x63
}

/// What the equivalent inverse cipher does to its round keys (FIPS 197, 5.3.5).
fn inverse_mix_columns(block: [u8; 16]) -> [u8; 16] {
    const ROW: [u8; 4] = [0x0e, 0x0b, 0x0d, 0x09];
    std::array::from_fn(|at| {
        let (column, row) = (at / 4, at % 4);
        (0..4).fold(0, |sum, term| {
            sum ^ multiply(block[4 * column + term], ROW[(term + 4 - row) % 4])
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_expansion_gives_what_the_standard_shows() {
        // FIPS 197, appendix A.3: the last words of the expansion of 603deb10…0914dff4.
        let key: Vec<u8> =
            [0x603deb1015ca71be2b73aef0857d7781u128, 0x1f352c073b6108d72d9810a30914dff4u128]
                .iter()
                .flat_map(|half| half.to_be_bytes())
                .collect();
        assert_eq!(expand(&key)[2], 0x9ba354118e6925afa51a8b5f2067fcdeu128.to_be_bytes());
        assert_eq!(expand(&key)[14], 0xfe4890d1e6188d0b046df344706c631eu128.to_be_bytes());
    }

    #[test]
    fn inverse_mix_columns_undoes_mix_columns() {
        // FIPS 197, 5.1.3 on the column of the standard's example: db 13 53 45 <-> 8e 4d a1 bc.
        let mixed = [0x8e, 0x4d, 0xa1, 0xbc].repeat(4).try_into().unwrap();
        assert_eq!(inverse_mix_columns(mixed)[..4], [0xdb, 0x13, 0x53, 0x45]);
    }
}
