//! wrapkey, unwrapkey, encrypt and decrypt (rows 15 to 18). Each use is written down before its result leaves, in a
//! transaction that still sees the key usable.

use keyd_client::{KeyId, KeyVersion, message::KeyOperation};

use crate::{
    auth::{Op, Permit},
    core::Core,
    error::{Failure, Refused},
    kek::{Kek, KekError, Plaintext},
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
    used(core, &permit, with, ask, |kek| kek.encrypt(ask.algorithm, ask.value.as_bytes()))
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
    used(core, &permit, with, ask, |kek| kek.decrypt(ask.algorithm, ask.value.as_bytes()))
}

fn used<O: Op, T>(
    core: &Core,
    permit: &Permit<O>,
    with: With<'_>,
    ask: &Ask,
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
        let detail = format!("version={number} alg={}", ask.algorithm);
        Ok(((), permit.entry(with.key).detail(detail)))
    })?;
    Ok((number, result))
}

/// What is the asker's to mend.
fn refusal(error: KekError) -> Failure {
    match error {
        KekError::Unwrap => Refused::Undecryptable.into(),
        KekError::TooLong { .. } => Refused::PlaintextTooLong(error).into(),
        error => error.into(),
    }
}
