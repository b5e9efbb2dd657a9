//! Binary fields: base64url without padding (RFC 4648, section 5; RFC 7515, section 2).

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};
use zeroize::Zeroizing;

/// What a text of bytes must be.
const FORM: &str = "base64url without padding (RFC 7515)";

/// Bytes of a request. They may be a plaintext or a part of a private key: not printed, and wiped when dropped.
#[derive(PartialEq, Eq)]
pub struct Octets(Zeroizing<Vec<u8>>);

impl Octets {
    /// Takes them from their text.
    ///
    /// # Errors
    /// None says what is wrong beyond that it is: the text may be secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new);
        decoded.map(Self).map_err(|_| FORM)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be kept.
    #[must_use]
    pub fn into_inner(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for Octets {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Octets({})", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Octets {
    /// Straight from the text: no string is made on the way that nobody would wipe.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Octets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORM)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Octets, E> {
                Octets::parse(text)
                    .map_err(|_| E::invalid_value(Unexpected::Other("a text"), &self))
            }
        }
        from.deserialize_str(Text)
    }
}

/// The text of public bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends the text of secret bytes to a string that has room for it: one that grew would leave a copy behind.
pub fn append(bytes: &[u8], to: &mut Zeroizing<String>) {
    debug_assert!(to.capacity() - to.len() >= encoded_len(bytes));
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, to);
}

/// Length of that text, bytes.
#[must_use]
pub fn encoded_len(bytes: &[u8]) -> usize {
    // Three bytes make four characters; one makes two, two make three.
    bytes.len() / 3 * 4 + [0, 2, 3][bytes.len() % 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10, without the padding; and the two characters in which base64url differs.
    #[test]
    fn vectors_of_the_standard() {
        let vectors: [(&[u8], &str); 6] = [
            (b"", ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff], "-_8"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(encode(bytes), text);
            assert_eq!(Octets::parse(text).unwrap().as_bytes(), bytes);
            let mut appended = Zeroizing::new(String::with_capacity(encoded_len(bytes)));
            append(bytes, &mut appended);
            assert_eq!((appended.as_str(), encoded_len(bytes)), (text, text.len()));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        // Padding, the other alphabet, a length that cannot be, bits that are not zero, white space.
        for wrong in ["Zg==", "Zm8=", "+/8", "Z", "Zh", "Zm 9v", "Zm9v\n", "ä"] {
            assert!(Octets::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_not_printed() {
        assert_eq!(format!("{:?}", Octets::parse("c2VjcmV0").unwrap()), "Octets(6)");
    }
}
