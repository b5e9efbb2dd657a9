//! Whole images whose key, plaintext and ciphertext are known, decrypted by stock cryptsetup when they were made.
//! `golden.txt` has their digests.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod common;

use std::{fs, io::Read, path::Path};

use common::dek;
use images::{CipherPath, SectorSize, XtsCipher};
use sha2::{Digest, Sha256};

/// Where their data begins, bytes.
const OFFSET: usize = 1 << 20;

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_images_decrypt_and_encrypt_to_the_byte() {
    let notes = String::from_utf8(golden("golden.txt")).unwrap();
    let plain_digest = notes.split("pt sha256 ").nth(1).unwrap().split_whitespace().next().unwrap();
    let key = golden("golden.vk").try_into().unwrap();
    for unit in SectorSize::ALL {
        let mut image = Vec::new();
        let gz = golden(&format!("golden-luks2-{}.img.gz", unit.bytes()));
        flate2::read::GzDecoder::new(&gz[..]).read_to_end(&mut image).unwrap();
        let cipher_text = &image[OFFSET..];
        for path in CipherPath::available() {
            let cipher = XtsCipher::with_path(dek(&key), unit, path).unwrap();
            let mut data = cipher_text.to_vec();
            cipher.decrypt_in_place(0, &mut data);
            assert_eq!(hex(&Sha256::digest(&data)), plain_digest, "{path} {unit:?}");
            cipher.encrypt_in_place(0, &mut data);
            assert!(data == cipher_text, "{path} {unit:?}");
        }
    }
}
