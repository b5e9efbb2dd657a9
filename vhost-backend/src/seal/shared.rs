//! The cipher on guest memory: what lies between is neither ours nor quiet. One of the files where `unsafe` lives.

use images::XtsCipher;
use vm_memory::VolatileSlice;

/// Encrypts guest data, which the guest may be changing: each byte is read once.
pub(super) fn encrypt(key: &XtsCipher, sector: u64, from: &VolatileSlice<'_>, to: &mut [u8]) {
    assert_eq!(from.len(), to.len());
    let guard = from.ptr_guard();
    // SAFETY: the slice is mapped for its length while the guard lives; a buffer of ours is in no guest's mapping.
    unsafe { key.encrypt_shared(sector, guard.as_ptr(), to) }
}

/// Decrypts to the guest, which may be looking: it sees old bytes and plaintext, nothing between.
pub(super) fn decrypt(key: &XtsCipher, sector: u64, from: &[u8], to: &VolatileSlice<'_>) {
    assert_eq!(from.len(), to.len());
    let guard = to.ptr_guard_mut();
    // SAFETY: as in `encrypt`.
    unsafe { key.decrypt_shared(sector, from, guard.as_ptr()) }
}
