//! The cipher on memory that others see and write while it works, such as a guest's.

use super::{Direction, Engine, XtsCipher};

impl XtsCipher {
    /// Whether this path reads each byte of its source once and writes nothing but results. Only then may source or
    /// destination be shared: the portable path works in its destination, where half-done blocks would be seen.
    #[must_use]
    pub fn is_one_pass(&self) -> bool {
        !matches!(self.engine, Engine::Portable(_))
    }

    /// [`XtsCipher::encrypt`] from shared memory. What is written there meanwhile is encrypted or not, block by block.
    ///
    /// # Panics
    /// If `dst` is not whole data units, or the path is not one-pass: a fault of the caller's.
    ///
    /// # Safety
    /// `src` is readable for `dst.len()` bytes, and they do not overlap.
    pub unsafe fn encrypt_shared(&self, sector: u64, src: *const u8, dst: &mut [u8]) {
        self.check(dst.len(), dst.len());
        // SAFETY: the caller's promise.
        unsafe { self.run_shared(Direction::Encrypt, sector, src, dst.as_mut_ptr(), dst.len()) }
    }

    /// [`XtsCipher::decrypt`] into shared memory: nothing but plaintext is ever seen there.
    ///
    /// # Panics
    /// As [`XtsCipher::encrypt_shared`].
    ///
    /// # Safety
    /// `dst` is writable for `src.len()` bytes, and they do not overlap.
    pub unsafe fn decrypt_shared(&self, sector: u64, src: &[u8], dst: *mut u8) {
        self.check(src.len(), src.len());
        // SAFETY: the caller's promise.
        unsafe { self.run_shared(Direction::Decrypt, sector, src.as_ptr(), dst, src.len()) }
    }

    /// # Safety
    /// `src` is readable and `dst` writable for `len` bytes, and they do not overlap.
    unsafe fn run_shared(
        &self,
        direction: Direction,
        sector: u64,
        src: *const u8,
        dst: *mut u8,
        len: usize,
    ) {
        match &self.engine {
            Engine::Portable(_) => unreachable!("the portable path takes more than one pass"),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the caller's promise.
            Engine::Kernel(cipher) => unsafe {
                cipher.run(direction, self.sector_size, sector.into(), src, dst, len);
            },
            #[cfg(feature = "plain-for-benches")]
            // SAFETY: the caller's promise.
            Engine::Plain => unsafe { std::ptr::copy_nonoverlapping(src, dst, len) },
        }
    }
}
