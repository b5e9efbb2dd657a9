//! wrapkey, unwrapkey, encrypt, decrypt, sign and verify (rows 15 to 20). Each use is written down before its result
//! leaves, in a transaction that still sees the key usable.

use std::fmt;

use keyd_client::{KeyId, KeyVersion, message::KeyOperation};

use crate::{
    auth::{Op, Permit, op},
    core::Core,
    error::{Failure, Refused},
    hsm::HsmError,
    kek::{Hashed, Kek, KekError, Plaintext},
    keyvault::crypto::Ask,
    store::View,
};

/// Which version of which key, for what.
#[derive(Debug, Clone, Copy)]
pub struct With<'a> {
    /// The key.
    pub key: &'a KeyId,
    /// The version; without one the newest.
    pub version: Option<KeyVersion>,
    /// What it must be for.
    pub operation: KeyOperation,
}

/// Encrypts, or wraps.
///
/// # Errors
/// [`Refused::PlaintextTooLong`], and those of [`crate::model::key::Key::usable`].
pub fn encrypt<O: Op>(
    core: &Core,
    permit: Permit<O>,
    with: With<'_>,
    ask: &Ask,
) -> Result<(KeyVersion, Vec<u8>), Failure> {
    let alg = ask.algorithm;
    used(core, &permit, with, alg, |kek| kek.encrypt(alg, ask.value.as_bytes()))
}

/// Decrypts, or unwraps. Whatever is wrong with the ciphertext, the answer is the same.
///
/// # Errors
/// [`Refused::Undecryptable`], and those of [`crate::model::key::Key::usable`].
pub fn decrypt<O: Op>(
    core: &Core,
    permit: Permit<O>,
    with: With<'_>,
    ask: &Ask,
) -> Result<(KeyVersion, Plaintext), Failure> {
    let alg = ask.algorithm;
    used(core, &permit, with, alg, |kek| kek.decrypt(alg, ask.value.as_bytes()))
}

/// Signs.
///
/// # Errors
/// [`Refused::Unsigned`], and those of [`crate::model::key::Key::usable`].
pub fn sign(
    core: &Core,
    permit: Permit<op::KeySign>,
    with: With<'_>,
    hashed: &Hashed,
) -> Result<(KeyVersion, Vec<u8>), Failure> {
    used(core, &permit, with, hashed.algorithm(), |kek| kek.sign(hashed))
}

/// Whether a signature is the key's, of a digest.
///
/// # Errors
/// Those of [`crate::model::key::Key::usable`].
pub fn verify(
    core: &Core,
    permit: Permit<op::KeyVerify>,
    with: With<'_>,
    (hashed, signature): (&Hashed, &[u8]),
) -> Result<bool, Failure> {
    let verified =
        used(core, &permit, with, hashed.algorithm(), |kek| kek.verify(hashed, signature));
    Ok(verified?.1)
}

fn used<O: Op, T>(
    core: &Core,
    permit: &Permit<O>,
    with: With<'_>,
    alg: impl fmt::Display,
    work: impl FnOnce(&Kek) -> Result<T, KekError>,
) -> Result<(KeyVersion, T), Failure> {
    let key = core.store.snapshot()?.key(with.key)?;
    key.alive()?;
    let number = with.version.unwrap_or(key.newest().version);
    let version = key.usable(number, with.operation, core.now())?;
    let kek = core.keyring.kek(with.key, version)?;
    let result = work(&kek).map_err(refusal)?;
    core.commit(permit, |txn| {
        txn.key(with.key)?.usable(number, with.operation, core.now())?;
        let detail = format!("version={number} alg={alg}");
        Ok(((), permit.entry(with.key).detail(detail)))
    })?;
    Ok((number, result))
}

/// What is the asker's to mend.
fn refusal(error: KekError) -> Failure {
    match error {
        KekError::Unwrap => Refused::Undecryptable.into(),
        KekError::TooLong { .. } => Refused::PlaintextTooLong(error).into(),
        KekError::Hsm(HsmError::CannotSign { .. }) => Refused::Unsigned(error).into(),
        error => error.into(),
    }
}
