//! A key that is no secret, made once: what is fuzzed is what stands before the cipher.

use std::sync::{Arc, OnceLock};

use images::{SectorSize, XtsCipher};
use keyd_client::Dek;

/// The cipher of a disk of `unit`.
///
/// # Panics
/// Without locked memory for it.
#[must_use]
pub fn cipher(unit: SectorSize) -> Arc<XtsCipher> {
    static MADE: [OnceLock<Arc<XtsCipher>>; 2] = [const { OnceLock::new() }; 2];
    let made = &MADE[usize::from(unit == SectorSize::B4096)];
    Arc::clone(made.get_or_init(|| {
        let dek = Dek::fill_with(|bytes| {
            bytes.iter_mut().zip(1u8..).for_each(|(byte, n)| *byte = n);
            Ok(())
        });
        Arc::new(XtsCipher::new(dek.expect("a page"), unit).expect("a cipher"))
    }))
}
