//! Verification: needs the public key alone, so it is done here also for keys that live in an HSM.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{PublicEncryptingKey, PublicKeyComponents},
    signature::UnparsedPublicKey,
};

use super::{Hashed, KekError, PublicKey};

/// Whether a signature is of a digest under a key. A signature of another length is none.
///
/// # Errors
/// [`KekError::Load`]: not an RSA public key of 2048 bits or more.
pub(crate) fn verify(
    public: &PublicKey,
    hashed: &Hashed,
    signature: &[u8],
) -> Result<bool, KekError> {
    let components = PublicKeyComponents { n: &public.n, e: &public.e };
    let key: PublicEncryptingKey = components.try_into().map_err(|_| KekError::Load)?;
    let der = key.as_der().map_err(|_| KekError::Load)?;
    let key = UnparsedPublicKey::new(hashed.algorithm().verifying(), der.as_ref());
    Ok(key.verify_digest(hashed.digest(), signature).is_ok())
}
