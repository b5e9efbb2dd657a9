//! A path is used only after it agreed with the portable one in this process, on this CPU.
//!
//! The vectors run at build time on the builder's CPU, which may lack the instructions a server has. A kernel that
//! were wrong there would write disks that nothing else can read, so it is tried before it is trusted. It takes less
//! than a millisecond, once.

use keyd_client::terminal;
use std::sync::OnceLock;

use keyd_client::{
    Dek,
    dek::{DEK_LEN, DekError},
};

use super::{CipherError, CipherPath, XtsCipher};
use crate::layout::SectorSize;

/// Several batches, several groups of tweaks, and a remainder, at every width and either data unit.
const LEN: usize = 11 * 4096;

/// A sector number whose tweaks carry into the upper half of 64 bits.
const SECTOR: u64 = u32::MAX as u64 - 50;

static AES_NI: OnceLock<bool> = OnceLock::new();
static VAES256: OnceLock<bool> = OnceLock::new();
static VAES512: OnceLock<bool> = OnceLock::new();

/// Whether `path`, which the CPU has the instructions for, computes what the portable path computes.
pub(super) fn passes(path: CipherPath) -> bool {
    let verdict = match path {
        CipherPath::Portable => return true,
        CipherPath::AesNi => &AES_NI,
        CipherPath::Vaes256 => &VAES256,
        CipherPath::Vaes512 => &VAES512,
    };
    *verdict.get_or_init(|| {
        let passed = SectorSize::ALL.iter().all(|&unit| agrees(path, unit).unwrap_or(false));
        if !passed {
            terminal::note(format_args!(
                "the cipher path {path} failed its self-test on this CPU and is not used"
            ));
        }
        passed
    })
}

fn agrees(path: CipherPath, unit: SectorSize) -> Result<bool, SelfTestError> {
    let (tried, portable) = (cipher(path, unit)?, cipher(CipherPath::Portable, unit)?);
    let plain: Vec<u8> = (0..LEN).map(|i| (i * 37 + i / 253) as u8).collect();
    let (mut ours, mut expected) = (vec![0; LEN], vec![0; LEN]);
    tried.encrypt(SECTOR, &plain, &mut ours);
    portable.encrypt(SECTOR, &plain, &mut expected);
    let encrypts = ours == expected;
    tried.decrypt_in_place(SECTOR, &mut expected);
    Ok(encrypts && expected == plain)
}

/// With a key that is no secret.
fn cipher(path: CipherPath, unit: SectorSize) -> Result<XtsCipher, SelfTestError> {
    let dek = Dek::fill_with(|bytes| {
        for (byte, n) in bytes.iter_mut().zip(0..DEK_LEN) {
            *byte = (n * 29 + 17) as u8;
        }
        Ok(())
    })?;
    Ok(XtsCipher::build(&dek, unit, path)?)
}

#[derive(Debug, thiserror::Error)]
enum SelfTestError {
    #[error(transparent)]
    Dek(#[from] DekError),
    #[error(transparent)]
    Cipher(#[from] CipherError),
}
