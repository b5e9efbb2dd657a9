//! The data-encryption key (DEK) of a disk in its two forms, between which no conversion exists here:
//! [`Dek`], 64 secret bytes in a locked page, and [`WrappedDek`], opaque and harmless.

pub mod page;

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use page::Locked;

/// Bytes of a DEK: two AES-256 keys, the first for data, the second for the tweak (IEEE 1619-2018, 5.1).
pub const DEK_LEN: usize = 64;

/// A disk's plaintext data-encryption key.
///
/// It lives in a page that is locked, left out of core dumps and wiped on drop. It cannot be printed, cloned,
/// compared or serialised. The callers of [`Dek::expose`] are listed in the `tidy` test.
pub struct Dek(Locked<[u8; DEK_LEN]>);

/// Why a DEK could not be made.
#[derive(Debug, Error)]
pub enum DekError {
    /// The page could not be locked.
    #[error(transparent)]
    Page(#[from] page::PageError),
    /// XTS with equal halves leaks equality of blocks and sectors (NIST SP 800-38E, FIPS 140 IG C.I).
    #[error("the two halves of the key are equal: it is not a key for AES-XTS and was refused")]
    EqualHalves,
    /// The source of the bytes failed.
    #[error("reading the key: {0}")]
    Source(#[from] std::io::Error),
}

impl Dek {
    /// Makes a DEK in place: `fill` writes the 64 bytes straight into the locked page.
    ///
    /// # Errors
    /// What `fill` returns; [`DekError::EqualHalves`]; [`DekError::Page`].
    pub fn fill_with(
        fill: impl FnOnce(&mut [u8; DEK_LEN]) -> std::io::Result<()>,
    ) -> Result<Self, DekError> {
        let mut page = Locked::new(|| [0u8; DEK_LEN])?;
        fill(&mut page)?;
        let (data_key, tweak_key) = page.split_at(DEK_LEN / 2);
        // No early exit: the time must not tell how long a common prefix is.
        let difference = data_key.iter().zip(tweak_key).fold(0, |acc, (a, b)| acc | (a ^ b));
        if difference == 0 {
            return Err(DekError::EqualHalves);
        }
        Ok(Self(page))
    }

    /// The 64 secret bytes. Every caller is named in the `tidy` test.
    #[must_use]
    pub fn expose(&self) -> &[u8; DEK_LEN] {
        &self.0
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dek(secret)")
    }
}

/// A DEK wrapped by a KEK: RSA-OAEP-256 ciphertext, 256 to 512 bytes. Anyone may hold it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WrappedDek(pub Vec<u8>);

impl fmt::Debug for WrappedDek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedDek({} bytes)", self.0.len())
    }
}

impl From<WrappedDek> for String {
    fn from(wrapped: WrappedDek) -> Self {
        BASE64_STANDARD.encode(wrapped.0)
    }
}

impl TryFrom<String> for WrappedDek {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> Dek {
        Dek::fill_with(|bytes| {
            bytes.iter_mut().zip(0u8..).for_each(|(byte, n)| *byte = n);
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn a_dek_shows_nothing_of_itself() {
        let shown = format!("{:?}", counting());
        assert_eq!(shown, "Dek(secret)");
    }

    #[test]
    fn a_dek_holds_what_was_filled_in() {
        assert_eq!(counting().expose()[..4], [0, 1, 2, 3]);
        assert_eq!(counting().expose()[60..], [60, 61, 62, 63]);
    }

    #[test]
    fn equal_halves_are_refused() {
        let result = Dek::fill_with(|bytes| {
            bytes[3] = 7;
            bytes[35] = 7;
            Ok(())
        });
        assert!(matches!(result, Err(DekError::EqualHalves)));
    }

    #[test]
    fn halves_that_differ_in_one_bit_are_accepted() {
        let result = Dek::fill_with(|bytes| {
            bytes[63] = 1;
            Ok(())
        });
        assert!(result.is_ok());
    }
}
