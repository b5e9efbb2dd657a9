//! What a key may be used for: `key_ops` (RFC 7517, section 4.3, and Key Vault's list).

use super::Problem;

/// One use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyOperation {
    /// `encrypt`.
    Encrypt,
    /// `decrypt`.
    Decrypt,
    /// `wrapKey`.
    WrapKey,
    /// `unwrapKey`.
    UnwrapKey,
}

impl KeyOperation {
    /// All.
    pub const ALL: [Self; 4] = [Self::Encrypt, Self::Decrypt, Self::WrapKey, Self::UnwrapKey];

    /// Its name in `key_ops`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
        }
    }

    /// The use of that name.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub fn parse(name: &str) -> Result<Self, Problem> {
        let found = Self::ALL.into_iter().find(|operation| operation.name() == name);
        found.ok_or_else(|| {
            Problem::bad(
                "key_ops has a use that keys here do not have: there are encrypt, decrypt, wrapKey and unwrapKey",
            )
        })
    }
}
