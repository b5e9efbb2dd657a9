//! GB/s of AES-256-XTS on one core: every path of `images`, `xts-mode`, and AWS-LC.
//!
//! `cargo bench -p benches --bench cipher`
//!
//! What is compared: 64 KiB from one buffer to another, both in the second-level cache, as data units of 512 and of
//! 4096 bytes, each unit with its own tweak. `xts-mode` works in place only and is spared the copy. AWS-LC is driven
//! through EVP, its only public way: one `CipherInit` for the tweak and one `CipherUpdate` a data unit, key set once;
//! at 512 bytes that call overhead is part of its figure. All candidates are checked to give the same bytes first.

use std::{hint::black_box, ptr, time::Duration};

use aes::{Aes256, cipher::KeyInit};
use aws_lc_sys::{
    EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex, EVP_CipherUpdate,
    EVP_aes_256_xts,
};
use benches::{Candidate, is_asked_for, medians, pin_to_one_core};
use images::{CipherPath, SectorSize, XtsCipher};
use keyd_client::Dek;
use xts_mode::{Xts128, get_tweak_default};

const LEN: usize = 64 * 1024;
const ROUNDS: usize = 31;
const SAMPLE: Duration = Duration::from_millis(10);
const FIRST_SECTOR: u64 = 1 << 30;

fn main() {
    if !is_asked_for("cipher") {
        return;
    }
    pin_to_one_core();
    println!(
        "AES-256-XTS, GB/s on one core (64 KiB in cache, median of {ROUNDS} alternating rounds)\n"
    );
    println!(
        "{:<14} {:>10} {:>10} {:>10} {:>10}",
        "", "512 enc", "512 dec", "4096 enc", "4096 dec"
    );
    let columns: Vec<Vec<(String, f64)>> = SectorSize::ALL
        .into_iter()
        .flat_map(|unit| [column(unit, true), column(unit, false)])
        .collect();
    for (row, (name, _)) in columns[0].iter().enumerate() {
        print!("{name:<14}");
        for column in &columns {
            print!(" {:>10.2}", column[row].1);
        }
        println!();
    }
    for path in CipherPath::ALL {
        if !path.is_available() {
            println!("{path:<14} not on this CPU");
        }
    }
}

fn key() -> [u8; 64] {
    std::array::from_fn(|i| (i * 7 + 3) as u8)
}

/// Every candidate's rate at one data unit and direction.
fn column(unit: SectorSize, encrypt: bool) -> Vec<(String, f64)> {
    let src: Vec<u8> = (0..LEN).map(|i| (i * 31 % 251) as u8).collect();
    let mut candidates: Vec<Candidate<'_>> =
        CipherPath::available().into_iter().map(|path| ours(path, unit, encrypt, &src)).collect();
    let mut evp = Evp::new(encrypt);
    check_agreement(unit, encrypt, &src, &mut evp);
    candidates.push(aws_lc(evp, unit, &src));
    candidates.push(one_by_one(unit, encrypt, &src));
    let medians = medians(&mut candidates, ROUNDS, SAMPLE);
    candidates
        .into_iter()
        .zip(medians)
        .map(|(candidate, seconds)| (candidate.name, LEN as f64 / seconds / 1e9))
        .collect()
}

fn cipher(path: CipherPath, unit: SectorSize) -> XtsCipher {
    let dek = Dek::fill_with(|bytes| {
        bytes.copy_from_slice(&key());
        Ok(())
    });
    XtsCipher::with_path(dek.expect("a DEK"), unit, path).expect("a path of this CPU")
}

fn crypt(cipher: &XtsCipher, encrypt: bool, src: &[u8], dst: &mut [u8]) {
    if encrypt {
        cipher.encrypt(FIRST_SECTOR, src, dst);
    } else {
        cipher.decrypt(FIRST_SECTOR, src, dst);
    }
}

fn ours(path: CipherPath, unit: SectorSize, encrypt: bool, src: &[u8]) -> Candidate<'_> {
    let cipher = cipher(path, unit);
    let mut dst = vec![0; LEN];
    Candidate {
        name: path.to_string(),
        run: Box::new(move || crypt(&cipher, encrypt, black_box(src), black_box(&mut dst))),
    }
}

fn one_by_one(unit: SectorSize, encrypt: bool, src: &[u8]) -> Candidate<'static> {
    let xts = oracle();
    let mut data = src.to_vec();
    Candidate {
        name: "xts-mode".into(),
        run: Box::new(move || {
            for (piece, k) in black_box(&mut data).chunks_mut(unit.bytes() as usize).zip(0u64..) {
                let tweak = get_tweak_default((FIRST_SECTOR + k * unit.sectors()).into());
                if encrypt {
                    xts.encrypt_sector(piece, tweak);
                } else {
                    xts.decrypt_sector(piece, tweak);
                }
            }
        }),
    }
}

fn oracle() -> Xts128<Aes256> {
    let half = |half: &[u8]| Aes256::new_from_slice(half).expect("half a key");
    Xts128::new(half(&key()[..32]), half(&key()[32..]))
}

fn aws_lc(mut evp: Evp, unit: SectorSize, src: &[u8]) -> Candidate<'_> {
    let mut dst = vec![0; LEN];
    Candidate {
        name: "AWS-LC (EVP)".into(),
        run: Box::new(move || evp.crypt(unit, black_box(src), black_box(&mut dst))),
    }
}

/// A race between things that do not do the same says nothing.
fn check_agreement(unit: SectorSize, encrypt: bool, src: &[u8], evp: &mut Evp) {
    let mut expected = vec![0; LEN];
    evp.crypt(unit, src, &mut expected);
    for path in CipherPath::available() {
        let mut dst = vec![0; LEN];
        crypt(&cipher(path, unit), encrypt, src, &mut dst);
        assert!(dst == expected, "{path} and AWS-LC differ");
    }
}

/// AWS-LC's XTS with the key set once.
struct Evp(*mut EVP_CIPHER_CTX);

impl Evp {
    fn new(encrypt: bool) -> Self {
        let key = key();
        // SAFETY: a fresh context; the key is 64 bytes, as this cipher wants; null engine and IV mean none yet.
        let (context, done) = unsafe {
            let context = EVP_CIPHER_CTX_new();
            let done = EVP_CipherInit_ex(
                context,
                EVP_aes_256_xts(),
                ptr::null_mut(),
                key.as_ptr(),
                ptr::null(),
                i32::from(encrypt),
            );
            (context, done)
        };
        assert!(done == 1, "AWS-LC refused the key");
        Self(context)
    }

    fn crypt(&mut self, unit: SectorSize, src: &[u8], dst: &mut [u8]) {
        let len = unit.bytes() as usize;
        let mut sector = u128::from(FIRST_SECTOR);
        for (src, dst) in src.chunks(len).zip(dst.chunks_mut(len)) {
            let tweak = sector.to_le_bytes();
            let mut written = 0;
            // SAFETY: the tweak is 16 bytes; both buffers are a data unit; -1 keeps the direction.
            let done = unsafe {
                EVP_CipherInit_ex(
                    self.0,
                    ptr::null(),
                    ptr::null_mut(),
                    ptr::null(),
                    tweak.as_ptr(),
                    -1,
                ) & EVP_CipherUpdate(
                    self.0,
                    dst.as_mut_ptr(),
                    &mut written,
                    src.as_ptr(),
                    unit.bytes() as i32,
                )
            };
            assert!(done == 1 && written as usize == len, "AWS-LC stopped");
            sector += u128::from(unit.sectors());
        }
    }
}

impl Drop for Evp {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once.
        unsafe { EVP_CIPHER_CTX_free(self.0) }
    }
}
