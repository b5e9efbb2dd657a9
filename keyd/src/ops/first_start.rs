//! What a daemon needs before the first request: the platform key and its set, so that a disk without a key of the
//! customer's is encrypted too. Done again after a crash in the middle of the first time.

use keyd_client::{DesName, KeyName, message::Reaction};

use crate::{
    audit::Entry,
    clock,
    core::Core,
    error::Failure,
    kek::KeyBits,
    limits::PLATFORM_LEASE_MS,
    model::{
        des::{Des, Policy},
        key::Key,
    },
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
///
/// # Panics
/// Never: the name is well formed.
pub fn check_root_key(core: &Core) -> Result<(), Failure> {
    let name: KeyName = PLATFORM.parse().expect("a well-formed name");
    match core.store.snapshot()?.find_key(&name)? {
        Some(key) => Ok(core.keyring.check(&name, key.newest())?),
        None => Ok(()),
    }
}

/// Makes what is missing, in one commit.
///
/// # Errors
/// [`crate::error::Fault`].
///
/// # Panics
/// Never: the name is well formed.
pub fn run(core: &Core) -> Result<(), Failure> {
    let name: KeyName = PLATFORM.parse().expect("a well-formed name");
    if core.store.snapshot()?.find_key(&name)?.is_some() {
        return Ok(());
    }
    let version = core.make_version(&name, KeyBits::Rsa3072)?;
    core.store.commit(|txn| {
        let key = Key::new(name.clone(), true, version);
        let policy = Policy { on_revoke: Reaction::Park, lease_ms: PLATFORM_LEASE_MS };
        txn.put_key(&key)?;
        txn.put_set(&Des::platform(platform_set(), &key, policy, clock::now()))?;
        let entry = Entry::by_daemon("first-start", &name);
        let detail = format!("version={} bits=3072", key.newest().version);
        Ok(((), entry.detail(detail)))
    })
}
