//! A hardware security module (HSM) by PKCS#11 (OASIS, version 2.40): private keys that are made in it and never leave
//! it (Key Vault: `kty` `RSA-HSM`).

mod error;
mod key;
pub(crate) mod oaep;
mod signing;
mod token;

pub use error::HsmError;
pub use key::HsmKey;
pub use token::{Hsm, HsmConfig};
