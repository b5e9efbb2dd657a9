//! What a daemon needs before the first request: the vault that is meant where none is named; the platform key and its
//! set, so that a disk without a key of the customer's is encrypted too. Done again after a crash in the middle of the
//! first time.

use keyd_client::{
    DesName, KeyId, VaultName,
    limits::RETENTION_DAYS_MAX,
    message::{OnExpiry, OnRevoke, Terms},
};

use crate::{
    audit::Entry,
    core::Core,
    error::Failure,
    kek::{KeyBits, Provider},
    limits::PLATFORM_LEASE_MS,
    model::{des::Des, key::Key, vault::Vault},
    store::View,
};

const PLATFORM: &str = "platform";

/// The built-in set.
///
/// # Panics
/// Never: the name is well formed.
#[must_use]
pub fn platform_set() -> DesName {
    PLATFORM.parse().expect("a well-formed name")
}

/// Tries the root key on the platform key. With another root key of the right form the daemon would seem to run: it
/// would open no key of the store, and seal new ones under a root key that is about to be put right.
///
/// # Errors
/// [`crate::root::RootError::Sealed`].
pub fn check_root_key(core: &Core) -> Result<(), Failure> {
    let id = KeyId::platform();
    match core.store.snapshot()?.find_key(&id)? {
        Some(key) => Ok(core.keyring.check(&id, key.newest())?),
        None => Ok(()),
    }
}

/// Makes what is missing, in one commit.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn run(core: &Core) -> Result<(), Failure> {
    let id = KeyId::platform();
    if core.store.snapshot()?.find_key(&id)?.is_some() {
        return Ok(());
    }
    let version = core.make_version(&id, KeyBits::Rsa3072, Provider::Software)?;
    core.store.commit(|txn| {
        let now = core.now();
        for vault in [VaultName::default_vault(), VaultName::platform()] {
            txn.put_vault(&Vault::new(vault, RETENTION_DAYS_MAX, false, now)?)?;
        }
        let key = Key::new(id.clone(), true, version);
        let terms = Terms {
            on_revoke: OnRevoke::Park,
            lease_ms: PLATFORM_LEASE_MS,
            grace_ms: 0,
            on_expiry: OnExpiry::RefuseNew,
        };
        txn.put_key(&key)?;
        txn.put_set(&Des::platform(platform_set(), &key, terms, now))?;
        let entry = Entry::by_daemon("first-start", &id);
        let detail = format!("version={} bits=3072", key.newest().version);
        Ok(((), entry.detail(detail)))
    })
}
