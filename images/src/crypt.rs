//! AES-256-XTS with dm-crypt's plain64 tweak.
//!
//! ```text
//! T_0     = E(K2, sector as 128-bit little-endian)         sector in 512-byte units, for every data unit
//! T_(j+1) = T_j * x  mod  x^128 + x^7 + x^2 + x + 1
//! C_j     = E(K1, P_j ^ T_j) ^ T_j                         16-byte block j of the data unit
//! ```
//! IEEE 1619-2018, section 5; NIST SP 800-38E. K1 is the first half of the DEK, K2 the second.
//!
//! One cipher, several paths: [`CipherPath`] names them, the best the CPU has is taken. All give the same bytes. The
//! round keys live in a locked page that is wiped when the cipher is dropped.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // the SIMD kernel: vector instructions the CPU was asked for
mod kernel;
mod portable;
mod self_test;
#[allow(unsafe_code)] // memory of somebody else's, by its address
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;

pub use keyd_client::dek::page::scrub_stack;
use keyd_client::{Dek, dek::page::PageError};
use thiserror::Error;

use crate::layout::SectorSize;

/// A way to compute the cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CipherPath {
    /// The `aes` crate's parallel block interface; runs everywhere.
    Portable,
    /// AES-NI on 128-bit vectors: one block an instruction.
    AesNi,
    /// VAES on 256-bit vectors: two blocks an instruction.
    Vaes256,
    /// VAES on 512-bit vectors: four blocks an instruction.
    Vaes512,
}

impl CipherPath {
    /// All, best first.
    pub const ALL: [Self; 4] = [Self::Vaes512, Self::Vaes256, Self::AesNi, Self::Portable];

    /// The paths this CPU can run, best first. Never empty.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|path| path.is_available()).collect()
    }

    /// Whether this CPU can run it, and it gave the right bytes when it was tried.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.has_instructions() && self_test::passes(self)
    }

    fn has_instructions(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => kernel::Width::Xmm.is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes256 => kernel::Width::Ymm.is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512 => kernel::Width::Zmm.is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::AesNi | Self::Vaes256 | Self::Vaes512 => false,
        }
    }
}

impl fmt::Display for CipherPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Portable => "portable",
            Self::AesNi => "aes-ni",
            Self::Vaes256 => "vaes-avx2",
            Self::Vaes512 => "vaes-avx512",
        })
    }
}

/// Why a cipher could not be made. Equal key halves cannot reach it: [`Dek`] refuses them.
#[derive(Debug, Error)]
pub enum CipherError {
    /// No locked page for the round keys.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The CPU lacks the instructions.
    #[error("this CPU cannot run the cipher path {0}: leave the choice to the program")]
    Unavailable(CipherPath),
}

/// AES-256-XTS on the sectors of one disk. Shared between threads by reference; never copied, printed or serialised.
///
/// A call may leave round keys in the stack frames below it. A thread that lets go of the cipher for good calls
/// [`scrub_stack`] once, from no deeper than it used the cipher.
pub struct XtsCipher {
    engine: Engine,
    sector_size: SectorSize,
}

enum Engine {
    Portable(portable::Cipher),
    #[cfg(target_arch = "x86_64")]
    Kernel(kernel::Cipher),
    #[cfg(feature = "plain-for-benches")]
    Plain,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encrypt,
    Decrypt,
}

impl XtsCipher {
    /// Spends the DEK on round keys for the best path of this CPU. No copy of either is left outside the locked page.
    ///
    /// # Errors
    /// [`CipherError::Page`].
    pub fn new(dek: Dek, sector_size: SectorSize) -> Result<Self, CipherError> {
        Self::with_path(dek, sector_size, CipherPath::available()[0])
    }

    /// As [`XtsCipher::new`], by a path of the caller's choice: for tests and benches.
    ///
    /// # Errors
    /// [`CipherError`].
    #[allow(clippy::needless_pass_by_value)] // the DEK is spent: it must be gone when this returns
    pub fn with_path(
        dek: Dek,
        sector_size: SectorSize,
        path: CipherPath,
    ) -> Result<Self, CipherError> {
        if !path.is_available() {
            return Err(CipherError::Unavailable(path));
        }
        Self::build(&dek, sector_size, path)
    }

    /// The CPU has the instructions.
    fn build(dek: &Dek, sector_size: SectorSize, path: CipherPath) -> Result<Self, CipherError> {
        let engine = match path {
            #[cfg(target_arch = "x86_64")]
            CipherPath::AesNi => Engine::Kernel(kernel::Cipher::new(dek, kernel::Width::Xmm)?),
            #[cfg(target_arch = "x86_64")]
            CipherPath::Vaes256 => Engine::Kernel(kernel::Cipher::new(dek, kernel::Width::Ymm)?),
            #[cfg(target_arch = "x86_64")]
            CipherPath::Vaes512 => Engine::Kernel(kernel::Cipher::new(dek, kernel::Width::Zmm)?),
            _ => Engine::Portable(portable::Cipher::new(dek)?),
        };
        Ok(Self { engine, sector_size })
    }

    /// Moves bytes and encrypts nothing: what is left of a bench's time is not the cipher's.
    #[cfg(feature = "plain-for-benches")]
    #[must_use]
    pub fn plain(sector_size: SectorSize) -> Self {
        Self { engine: Engine::Plain, sector_size }
    }

    /// The path taken, for logs.
    #[must_use]
    pub fn path(&self) -> CipherPath {
        match &self.engine {
            Engine::Portable(_) => CipherPath::Portable,
            #[cfg(target_arch = "x86_64")]
            Engine::Kernel(cipher) => cipher.path(),
            #[cfg(feature = "plain-for-benches")]
            Engine::Plain => CipherPath::Portable,
        }
    }

    /// The data unit.
    #[must_use]
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// Ends the process, for want of a better way to take the cipher from whom has it: the round keys are gone before,
    /// even if a thread that hangs in the kernel keeps the process from ending.
    pub fn end_process(&self, code: i32) -> ! {
        match &self.engine {
            Engine::Portable(cipher) => cipher.end_process(code),
            #[cfg(target_arch = "x86_64")]
            Engine::Kernel(cipher) => cipher.end_process(code),
            #[cfg(feature = "plain-for-benches")]
            Engine::Plain => std::process::exit(code),
        }
    }

    /// Encrypts whole data units from `src` to `dst`. `sector` is where the first lies on the disk, in units of 512
    /// bytes whatever the data unit is: unit `k` of a 4096 disk has the tweak `8 * k`.
    ///
    /// # Panics
    /// If the lengths differ or are not whole data units: a fault of the caller's, never of a guest's.
    pub fn encrypt(&self, sector: u64, src: &[u8], dst: &mut [u8]) {
        self.check(src.len(), dst.len());
        self.run(Direction::Encrypt, sector.into(), src, dst);
    }

    /// The inverse of [`XtsCipher::encrypt`].
    ///
    /// # Panics
    /// As [`XtsCipher::encrypt`].
    pub fn decrypt(&self, sector: u64, src: &[u8], dst: &mut [u8]) {
        self.check(src.len(), dst.len());
        self.run(Direction::Decrypt, sector.into(), src, dst);
    }

    /// [`XtsCipher::encrypt`] in place.
    ///
    /// # Panics
    /// If the length is not whole data units.
    pub fn encrypt_in_place(&self, sector: u64, data: &mut [u8]) {
        self.check(data.len(), data.len());
        self.run_in_place(Direction::Encrypt, sector.into(), data);
    }

    /// [`XtsCipher::decrypt`] in place.
    ///
    /// # Panics
    /// If the length is not whole data units.
    pub fn decrypt_in_place(&self, sector: u64, data: &mut [u8]) {
        self.check(data.len(), data.len());
        self.run_in_place(Direction::Decrypt, sector.into(), data);
    }

    fn check(&self, src: usize, dst: usize) {
        assert_eq!(src, dst, "source and destination differ in length");
        let unit = self.sector_size.bytes();
        assert!(
            src.is_multiple_of(unit as usize),
            "{src} bytes are not whole data units of {unit}"
        );
    }

    /// `tweak` is 128 bits wide because the standard's is: vectors use all of it, plain64 the lower half.
    fn run(&self, direction: Direction, tweak: u128, src: &[u8], dst: &mut [u8]) {
        let unit = self.sector_size;
        match &self.engine {
            Engine::Portable(cipher) => cipher.crypt(direction, unit, tweak, src, dst),
            #[cfg(target_arch = "x86_64")]
            Engine::Kernel(cipher) => cipher.crypt(direction, unit, tweak, src, dst),
            #[cfg(feature = "plain-for-benches")]
            Engine::Plain => dst.copy_from_slice(src),
        }
    }

    fn run_in_place(&self, direction: Direction, tweak: u128, data: &mut [u8]) {
        let unit = self.sector_size;
        match &self.engine {
            Engine::Portable(cipher) => cipher.crypt_in_place(direction, unit, tweak, data),
            #[cfg(target_arch = "x86_64")]
            Engine::Kernel(cipher) => cipher.crypt_in_place(direction, unit, tweak, data),
            #[cfg(feature = "plain-for-benches")]
            Engine::Plain => {}
        }
    }
}

impl fmt::Debug for XtsCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XtsCipher(secret, {}, {} bytes)", self.path(), self.sector_size.bytes())
    }
}
