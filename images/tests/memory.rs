//! Where key material is and is not: while a cipher lives, its page alone holds the DEK's bytes and round keys; after
//! it is dropped, nothing does.
//!
//! One test, alone in its process: other tests would hold keys of their own. It first proves that it would find them.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod common;

use std::{fs, os::unix::fs::FileExt, sync::Barrier, thread};

use common::digest;
use images::{CipherPath, SectorSize, XtsCipher, crypt::scrub_stack, digest_matches};
use keyd_client::{Dek, message::VolumeKeyDigest};

/// What is searched for is kept inverted, so that the search does not find itself.
struct Needle {
    name: String,
    inverted: [u8; 16],
}

impl Needle {
    fn new(name: String, block: &[u8]) -> Self {
        let inverted = std::array::from_fn(|i| !block[i]);
        Self { name, inverted }
    }
}

/// A secret as the test keeps it: inverted, with what is to be searched for and the daemon's digest.
struct Secret {
    inverted: [u8; 64],
    needles: Vec<Needle>,
    digest: VolumeKeyDigest,
}

/// A fresh key, so that a finding is of this round. Out of line and without heap: the caller scrubs its frames.
#[inline(never)]
fn secret() -> Secret {
    let mut key = [0; 64];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty()).unwrap();
    Secret { inverted: key.map(|byte| !byte), needles: needles(&key), digest: digest(&key) }
}

/// The key in 16-byte pieces, as HMAC pads it, and the round keys of both halves both ways.
fn needles(key: &[u8; 64]) -> Vec<Needle> {
    let mut needles = Vec::new();
    for (i, piece) in key.chunks(16).enumerate() {
        for (name, pad) in [("key", 0), ("HMAC inner pad", 0x36), ("HMAC outer pad", 0x5c)] {
            let padded: [u8; 16] = std::array::from_fn(|j| piece[j] ^ pad);
            needles.push(Needle::new(format!("{name} {i}"), &padded));
        }
    }
    for (half, name) in key.chunks(32).zip(["K1", "K2"]) {
        let words = expand(half);
        for (round, key) in words.chunks(4).enumerate().skip(2) {
            let bytes: [u8; 16] = std::array::from_fn(|i| key[i / 4][i % 4]);
            needles.push(Needle::new(format!("{name} round key {round}"), &bytes));
            let inverse: [u8; 16] = std::array::from_fn(|i| inverse_mix(key[i / 4])[i % 4]);
            needles.push(Needle::new(format!("{name} inverse round key {round}"), &inverse));
        }
    }
    needles
}

/// AES-256 key expansion by the letter of FIPS 197, 5.2: independent of what is tested.
fn expand(key: &[u8]) -> [[u8; 4]; 60] {
    let mut words = [[0; 4]; 60];
    let mut constant = 1;
    for i in 0..60 {
        if i < 8 {
            words[i].copy_from_slice(&key[4 * i..][..4]);
            continue;
        }
        let mut word = words[i - 1];
        if i % 8 == 0 {
            word.rotate_left(1);
            word = word.map(sbox);
            word[0] ^= constant;
            constant = times(constant, 2);
        } else if i % 8 == 4 {
            word = word.map(sbox);
        }
        let before = words[i - 8];
        words[i] = std::array::from_fn(|j| word[j] ^ before[j]);
    }
    words
}

/// Multiplication in GF(2^8) (FIPS 197, 4.2).
fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        product ^= if b & 1 == 1 { a } else { 0 };
        a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1b };
        b >>= 1;
    }
    product
}

/// FIPS 197, 5.1.1: the inverse in GF(2^8), then an affine map.
fn sbox(byte: u8) -> u8 {
    let inverse = (0..=255).find(|&other| times(byte, other) == 1).unwrap_or(0);
    (1..5).fold(inverse, |sum, n| sum ^ inverse.rotate_left(n)) ^ 0x63
}

fn inverse_mix(word: [u8; 4]) -> [u8; 4] {
    std::array::from_fn(|i| {
        [0x0e, 0x0b, 0x0d, 0x09]
            .iter()
            .enumerate()
            .fold(0, |sum, (j, &factor)| sum ^ times(word[(i + j) % 4], factor))
    })
}

/// Something that was searched for and found.
#[derive(Debug)]
struct Hit {
    #[allow(dead_code)] // shown when the test fails
    what: String,
    map: String,
    map_len: u64,
}

/// Every place in a writable mapping of this process where a needle lies.
fn find(needles: &[Needle]) -> Vec<Hit> {
    let memory = fs::File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    // Most places are ruled out by their first two bytes.
    let mut starts = vec![false; 1 << 16];
    for needle in needles {
        starts[usize::from(u16::from_le_bytes([needle.inverted[0], needle.inverted[1]]))] = true;
    }
    let mut hits = Vec::new();
    for map in maps.lines().filter(|map| map.contains(" rw")) {
        let (low, high) = map.split(' ').next().unwrap().split_once('-').unwrap();
        let low = u64::from_str_radix(low, 16).unwrap();
        let map_len = u64::from_str_radix(high, 16).unwrap() - low;
        let mut bytes = vec![0; map_len as usize];
        if memory.read_exact_at(&mut bytes, low).is_err() {
            continue;
        }
        // Inverted before it is searched, and wiped after: the copy must not be found by the next search.
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        for (at, window) in bytes.windows(16).enumerate() {
            if !starts[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                continue;
            }
            for needle in needles.iter().filter(|needle| window == needle.inverted) {
                let what = format!("{} at {:x}", needle.name, low + at as u64);
                hits.push(Hit { what, map: map.to_owned(), map_len });
            }
        }
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
    hits
}

/// A queue thread's life with a key, with stops at which memory is searched. It lives on after it let go.
fn queue_thread(
    inverted: [u8; 64],
    digest: &VolumeKeyDigest,
    unit: SectorSize,
    path: CipherPath,
    stop: &Barrier,
) {
    let dek = Dek::fill_with(|bytes| {
        for (byte, inverted) in bytes.iter_mut().zip(inverted) {
            *byte = !inverted;
        }
        Ok(())
    })
    .unwrap();
    assert!(digest_matches(digest, &dek));
    stop.wait(); // proved
    stop.wait();
    let cipher = XtsCipher::with_path(dek, unit, path).unwrap();
    stop.wait(); // made
    stop.wait();
    let mut data = vec![0x11; 64 << 10];
    for sector in [0, 8, 1 << 40] {
        cipher.encrypt_in_place(sector, &mut data);
        let copy = data.clone();
        cipher.decrypt(sector, &copy, &mut data);
    }
    stop.wait(); // used
    stop.wait();
    drop(cipher);
    scrub_stack();
    stop.wait(); // gone
    stop.wait();
}

#[test]
fn a_key_is_in_its_page_alone_and_then_nowhere() {
    for path in CipherPath::available() {
        for unit in SectorSize::ALL {
            let secret = secret();
            scrub_stack();
            let stop = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| queue_thread(secret.inverted, &secret.digest, unit, path, &stop));
                stop.wait();
                let proved = find(&secret.needles);
                stop.wait();
                stop.wait();
                let made = find(&secret.needles);
                stop.wait();
                stop.wait();
                let used = find(&secret.needles);
                stop.wait();
                stop.wait();
                let gone = find(&secret.needles);
                stop.wait();
                let in_page = |hit: &Hit| hit.map_len <= 16 << 10 && !hit.map.contains("[stack]");
                assert!(proved.len() >= 4, "the search misses the key: {proved:#?}");
                assert!(proved.iter().all(in_page), "the digest left the key: {proved:#?}");
                assert!(made.len() >= 26, "{path}: the search misses what is there: {made:#?}");
                assert!(made.iter().all(in_page), "{path} {unit:?}: outside its page: {made:#?}");
                // The `aes` crate spreads round keys over its frames, which is why a thread scrubs them; ours must not.
                let clean = path == CipherPath::Portable || used.iter().all(in_page);
                assert!(clean, "{path} {unit:?}: a call left round keys behind: {used:#?}");
                assert!(gone.is_empty(), "{path} {unit:?}: {gone:#?}");
            });
        }
    }
}
