//! Seeded changes of kept inputs, for the ordinary tests: the same on every machine, and no coverage to guide them.

use fastrand::Rng;

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x1_0000, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 55, u64::MAX];

/// Longest input that is made.
const LEN_MAX: usize = 8192;

/// One of the inputs with a few changes.
#[must_use]
pub fn mutated(inputs: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = inputs.get(random.usize(0..inputs.len().max(1))).cloned().unwrap_or_default();
    for _ in 0..random.usize(1..6) {
        let other = inputs.get(random.usize(0..inputs.len().max(1)));
        change(&mut bytes, other.map_or(&[], Vec::as_slice), random);
    }
    bytes.truncate(LEN_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let at = random.usize(0..=bytes.len());
    match random.u8(0..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 => {
            let edge = EDGES[random.usize(0..EDGES.len())].to_le_bytes();
            let len = [1, 2, 4, 8][random.usize(0..4)].min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&edge[..len]);
        }
        3 => {
            let end = (at + random.usize(0..16)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            let fresh: Vec<u8> = (0..random.usize(1..16)).map(|_| random.u8(..)).collect();
            bytes.splice(at..at, fresh);
        }
        5 if !other.is_empty() => {
            let start = random.usize(0..other.len());
            let end = (start + random.usize(1..64)).min(other.len());
            bytes.splice(at..at, other[start..end].iter().copied());
        }
        _ if !other.is_empty() => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[at.min(other.len())..]);
        }
        _ => {}
    }
}
