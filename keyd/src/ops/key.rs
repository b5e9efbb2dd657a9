//! Keys: made, told of, changed, deleted and brought back. How they are rotated and destroyed is in [`super::rotate`]
//! and [`super::purge`].

use keyd_client::{
    KeyId, KeyVersion,
    message::{
        Changed, KeyChange, KeyCreate, KeyDelete, KeyList, KeyListDeleted, KeyListIn, KeyNow,
        KeyRecover, KeyShow, KeyStatus, KeyUpdate, Listing, Revocation, Weighed,
    },
};

use super::{
    consent::Asked,
    operation::{Operation, on},
    status::{self, Versions},
    taking::{self, Concern},
};
use crate::{
    audit::Class,
    auth::Permit,
    clock,
    core::Core,
    error::{Failure, Refused},
    kek::{KeyBits, Provider},
    limits::{KEYS_MAX, KEYS_PER_PAGE},
    model::key::Key,
    store::{KeyLists, Spelling, View},
};

impl Operation for KeyCreate {
    on!(key name);

    /// # Errors
    /// [`Refused::KeyBits`], [`Refused::NoHsm`], [`Refused::NoVault`], [`Refused::KeyExists`],
    /// [`Refused::TooManyKeys`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<KeyStatus, Failure> {
        let (id, bits) = (&self.name, KeyBits::try_from(self.bits)?);
        let provider = if self.hsm { Provider::Hsm } else { Provider::Software };
        core.keyring.has(provider)?;
        // Before the costly part, and again inside the transaction.
        creatable(&core.store.snapshot()?, id)?;
        let version = core.make_version(id, bits, provider)?;
        core.commit(&permit, |txn| {
            creatable(txn, id)?;
            let detail = format!("version={} bits={}", version.version, bits.count());
            let key = Key::new(id.clone(), false, version);
            txn.put_key(&key)?;
            Ok((status::key(txn, &key, Versions::All)?, permit.entry(id).detail(detail)))
        })
    }
}

/// Whether a key of this name can be made: in no case of its letters there is one. A deleted key's name stays taken
/// until it is purged.
///
/// # Errors
/// [`Refused::NoVault`], [`Refused::KeyDeleted`], [`Refused::KeyExists`], [`Refused::TooManyKeys`].
pub fn creatable(view: &impl View, id: &KeyId) -> Result<(), Failure> {
    view.vault(&id.vault)?;
    if let Some(key) = view.find_key(id)? {
        key.alive()?;
        return Err(Refused::KeyExists(id.clone()).into());
    }
    if let Some(twin) = view.twin_of_key(id)? {
        view.key(&twin)?.alive()?;
        return Err(Refused::KeyExists(twin).into());
    }
    if view.count_keys(&id.vault)? >= KEYS_MAX as u64 {
        return Err(Refused::TooManyKeys(id.vault.clone()).into());
    }
    Ok(())
}

impl Operation for KeyShow {
    on!(key name);

    /// A disabled key can still be shown (Key Vault: get and list stay allowed).
    ///
    /// # Errors
    /// [`Refused::NoKey`].
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<KeyStatus, Failure> {
        let view = core.store.snapshot()?;
        Ok(status::key(&view, &view.key(&self.name)?, Versions::All)?)
    }
}

impl Operation for KeyList {
    on!(all "keys");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Listing<KeyStatus>, Failure> {
        let view = core.store.snapshot()?;
        listed(&view, view.keys(self.after.as_ref(), KEYS_PER_PAGE + 1)?)
    }
}

impl Operation for KeyListIn {
    on!(vault vault);

    /// # Errors
    /// [`Refused::NoVault`].
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Listing<KeyStatus>, Failure> {
        let Self { vault, after } = self;
        let view = core.store.snapshot()?;
        view.vault(&vault)?;
        let after = after.map(|name| KeyId::new(vault.clone(), name));
        listed(&view, view.keys_of(&vault, after.as_ref(), KEYS_PER_PAGE + 1)?)
    }
}

impl Operation for KeyListDeleted {
    on!(all "deleted keys");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Listing<KeyStatus>, Failure> {
        let view = core.store.snapshot()?;
        let mut found = Vec::new();
        for vault in view.vaults()? {
            let after = self.after.as_ref();
            if after.is_none_or(|after| vault.name >= after.vault) {
                let after = after.filter(|after| after.vault == vault.name);
                let room = KEYS_PER_PAGE + 1 - found.len();
                found.extend(view.keys_deleted(&vault.name, after, room)?);
            }
        }
        listed(&view, found)
    }
}

fn listed(view: &impl View, mut keys: Vec<Key>) -> Result<Listing<KeyStatus>, Failure> {
    let more = keys.len() > KEYS_PER_PAGE;
    keys.truncate(KEYS_PER_PAGE);
    let sets = view.sets()?;
    let told = keys.iter().map(|key| status::key_among(view, key, Versions::InUse, &sets));
    Ok(Listing { items: told.collect::<Result<_, _>>()?, more })
}

impl Operation for KeyUpdate {
    on!(key name);
    on!(weighed);

    /// Holders who lose their right by it are told to let go, those who regain it that it is back.
    ///
    /// # Errors
    /// [`Refused::NoKey`], [`Refused::NoVersion`], and those of [`taking::run`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Weighed<Changed<KeyNow>>, Failure> {
        let Self { name, version, change, consent, wait_ms } = &self;
        let asked = Asked::new(verb_of(change), name, consent).waiting(*wait_ms);
        let concern = Concern::Key(name);
        let taken = taking::run_as(core, permit, class(change), &asked, concern, |txn| {
            let mut key = txn.key(name)?;
            key.change(*version, change, core.now())?;
            txn.put_key(&key)?;
            Ok(told(*version, change))
        })?;
        changed(core, name, taken)
    }
}

/// The command of which it is a part, so that a refusal can name it.
fn verb_of(change: &KeyChange) -> &'static str {
    match change.enabled {
        Some(false) => "key disable",
        Some(true) => "key enable",
        None => "key set",
    }
}

/// To switch off, and nothing else, only takes away.
fn class(change: &KeyChange) -> Class {
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    if *change == off { Class::Withdrawal } else { Class::Use }
}

fn told(version: Option<KeyVersion>, change: &KeyChange) -> String {
    let operations = change.operations.as_ref().map(|operations| {
        operations.iter().map(|operation| operation.name()).collect::<Vec<_>>().join(",")
    });
    let parts = [
        Some(version.map_or_else(|| "versions=all".to_owned(), |v| format!("version={v}"))),
        change.enabled.map(|enabled| format!("enabled={enabled}")),
        change.not_before.map(|from| format!("nbf={from}")),
        change.expires.map(|until| format!("exp={until}")),
        operations.map(|operations| format!("key_ops={operations}")),
        change.tags.as_ref().map(|tags| format!("tags={}", tags.len())),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A key after it was changed or deleted. Private keys that may not be used any more leave the memory.
fn changed(
    core: &Core,
    id: &KeyId,
    taken: Weighed<Changed<()>>,
) -> Result<Weighed<Changed<KeyNow>>, Failure> {
    let view = core.store.snapshot()?;
    let key = view.key(id)?;
    core.keyring.forget_unusable(&key);
    taken.and_then(|changed| {
        Ok(changed.to(KeyNow { key: status::key(&view, &key, Versions::All)? }))
    })
}

impl Operation for KeyDelete {
    on!(key name);
    on!(weighed);

    /// Softly: the key is out of use, its name stays taken.
    ///
    /// # Errors
    /// [`Refused::NoKey`], [`Refused::PlatformKey`], [`Refused::KeyDeleted`], and those of [`taking::run`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Weighed<Changed<KeyNow>>, Failure> {
        let name = &self.name;
        let asked = Asked::new("key delete", name, &self.consent).waiting(self.wait_ms);
        let taken = taking::run(core, permit, &asked, Concern::Key(name), |txn| {
            let (mut key, vault, now) = (txn.key(name)?, txn.vault(&name.vault)?, core.now());
            let purge_at = vault.purge_at(now);
            key.delete(now, purge_at)?;
            txn.put_key(&key)?;
            let until = clock::text(purge_at).replace(' ', "T");
            Ok(format!("versions={} recoverable-until={until}", key.versions().len()))
        })?;
        changed(core, name, taken)
    }
}

impl Operation for KeyRecover {
    on!(key name);

    /// Every parked holder under it is told.
    ///
    /// # Errors
    /// [`Refused::NoKey`], [`Refused::NotDeleted`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Changed<KeyNow>, Failure> {
        let (key, enforced, _) = taking::commit(core, &permit, |txn| {
            let mut key = txn.key(&self.name)?;
            key.recover()?;
            txn.put_key(&key)?;
            Ok((status::key(txn, &key, Versions::All)?, permit.entry(&self.name)))
        })?;
        let (revocation, granted) = (Revocation::default(), enforced.granted);
        Ok(Changed { now: KeyNow { key }, revocation, granted })
    }
}
