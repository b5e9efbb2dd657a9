//! What each disk's right to its DEK is, in one state of the store. Judged once for all disks of a set under one key
//! version: a thousand leases of one set cost one judgement.

use std::collections::HashMap;

use keyd_client::{DesName, DiskId, message::UnixMillis};

use crate::{
    error::{Failure, Fault, Refused},
    model::{
        des::Des,
        disk::{Disk, Wrap},
        right::{Use, right},
        version::{Version, VersionId},
    },
    store::View,
};

/// The key versions that open a disk's wraps, in their order.
///
/// # Errors
/// Why the set may not have its DEK: see [`right`]; [`Refused::NoKey`] if the key was destroyed.
pub fn opening(
    view: &impl View,
    disk: &Disk,
    set: &Des,
    what_for: Use,
    now: UnixMillis,
) -> Result<Vec<Version>, Failure> {
    disk.wraps.iter().map(|wrap| version(view, set, wrap, what_for, now)).collect()
}

fn version(
    view: &impl View,
    set: &Des,
    wrap: &Wrap,
    what_for: Use,
    now: UnixMillis,
) -> Result<Version, Failure> {
    let key = view.key(&wrap.key)?;
    let vault = view.vault(&wrap.key.vault)?;
    Ok(right(&vault, set, &key, wrap.version, what_for, now)?.clone())
}

/// A disk's right to go on.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It may.
    Usable(&'a Des),
    /// It may not, and this is why.
    Lost(&'a Des, &'a str),
    /// There is no such disk any more.
    Erased,
    /// Its record, or its set's, is damaged, so that nobody can say what its right hangs on.
    Damaged(String),
}

/// A judge of one state.
#[derive(Debug)]
pub struct Standing<'view, V> {
    view: &'view V,
    now: UnixMillis,
    sets: HashMap<DesName, Des>,
    judged: HashMap<(DesName, VersionId), Option<String>>,
}

impl<'view, V: View> Standing<'view, V> {
    /// Nothing is judged yet.
    #[must_use]
    pub fn new(view: &'view V, now: UnixMillis) -> Self {
        Self { view, now, sets: HashMap::new(), judged: HashMap::new() }
    }

    /// Judges a disk.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn disk(&mut self, id: DiskId) -> Result<Verdict<'_>, Fault> {
        let disk = match self.view.disk(id) {
            Ok(disk) => disk,
            Err(Failure::Refused(Refused::NoDisk(_))) => return Ok(Verdict::Erased),
            Err(Failure::Refused(why)) => return Ok(Verdict::Damaged(why.to_string())),
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        if !self.sets.contains_key(&disk.des) {
            let set = match self.view.set_of(&disk).map_err(Failure::from) {
                Ok(set) => set,
                Err(Failure::Refused(why)) => return Ok(Verdict::Damaged(why.to_string())),
                Err(Failure::Fault(fault)) => return Err(fault),
            };
            self.sets.insert(disk.des.clone(), set);
        }
        for wrap in &disk.wraps {
            self.judge(&disk.des, wrap)?;
        }
        let set = &self.sets[&disk.des];
        let lost = disk
            .wraps
            .iter()
            .find_map(|wrap| self.judged.get(&(disk.des.clone(), wrap.under()))?.as_deref());
        Ok(lost.map_or(Verdict::Usable(set), |why| Verdict::Lost(set, why)))
    }

    fn judge(&mut self, set: &DesName, wrap: &Wrap) -> Result<(), Fault> {
        let case = (set.clone(), wrap.under());
        if self.judged.contains_key(&case) {
            return Ok(());
        }
        let lost = match version(self.view, &self.sets[set], wrap, Use::Keep, self.now) {
            Ok(_) => None,
            Err(Failure::Refused(why)) => Some(why.to_string()),
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        self.judged.insert(case, lost);
        Ok(())
    }
}

/// Why a set cannot have its disks' DEKs now, if it cannot: under its active versions or any that still wraps one.
///
/// # Errors
/// [`Fault`].
pub fn set_lost(view: &impl View, set: &Des, now: UnixMillis) -> Result<Option<Refused>, Fault> {
    let mut versions = view.versions_in(set)?;
    versions.push(set.active());
    for id in versions {
        let key = match view.key_with(&id).map_err(Failure::from) {
            Ok(Some(key)) => key,
            Ok(None) => return Ok(Some(Refused::NoKey(id.key))),
            Err(Failure::Refused(why)) => return Ok(Some(why)),
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        let judged = view.vault(&key.id.vault).and_then(|vault| {
            right(&vault, set, &key, id.version, Use::Keep, now).map(drop).map_err(Failure::from)
        });
        match judged {
            Ok(()) => {}
            Err(Failure::Refused(why)) => return Ok(Some(why)),
            Err(Failure::Fault(fault)) => return Err(fault),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use keyd_client::{
        KeyId, KeyVersion, VaultName,
        message::{
            DiskKind, EncryptionType, Geometry, Holes, KeyChange, OnExpiry, OnRevoke, Terms,
            VolumeKeyDigest,
        },
    };

    use super::*;
    use crate::{
        kek::{Material, PublicKey, SealedKey},
        model::{des::Choice, key::Key, right::IDENTITY_NEEDS, vault::Vault},
        store::{Store, testing},
    };

    fn new_version() -> Version {
        let material = Material::Sealed(SealedKey(vec![]));
        let public = PublicKey { n: vec![0x80; 256], e: vec![1, 0, 1] };
        Version::new(KeyVersion::random(), (material, public), 1)
    }

    /// Key `k` with two versions, set `s` on the newer one, and a disk under each.
    struct State {
        store: Store,
        key: Key,
        set: Des,
        /// Under the newer version, under the older.
        disks: [DiskId; 2],
    }

    fn state() -> State {
        let store = testing::store();
        let mut key = Key::new("k".parse().unwrap(), false, new_version());
        let older = key.newest().version;
        key.push(new_version()).unwrap();
        let newer = key.newest().version;
        let terms = Terms {
            on_revoke: OnRevoke::Park,
            lease_ms: 5000,
            grace_ms: 0,
            on_expiry: OnExpiry::RefuseNew,
        };
        let encryption = EncryptionType::CustomerKey;
        let choice = Choice { encryption, terms, auto_rotate: true };
        let name = "s".parse().unwrap();
        let set = Des::on_key(name, (&key, newer), KeyVersion::random(), choice, 1).unwrap();
        let mut vault = Vault::new(VaultName::default_vault(), 7, false, 1).unwrap();
        vault.permit(set.identity(), IDENTITY_NEEDS.into()).unwrap();
        let disks = [newer, older].map(|version| disk(&key.id, &set, version));
        testing::change(&store, |txn| {
            txn.put_vault(&vault)?;
            txn.put_key(&key)?;
            txn.put_set(&set)?;
            disks.iter().try_for_each(|disk| txn.add_disk(disk, &set))
        });
        State { store, key, set, disks: disks.map(|disk| disk.id) }
    }

    fn disk(key: &KeyId, set: &Des, version: KeyVersion) -> Disk {
        let blob = keyd_client::WrappedDek(vec![]);
        Disk {
            id: DiskId::random(),
            kind: DiskKind::Disk,
            source: None,
            des: set.name.clone(),
            wraps: vec![Wrap { key: key.clone(), version, blob }],
            geometry: Geometry {
                sector_size: 512,
                data_offset: 16 << 20,
                size: 512,
                holes: Holes::Zeros,
            },
            digest: VolumeKeyDigest {
                iterations: 1000,
                salt: String::new(),
                digest: String::new(),
            },
            generation: 1,
            confirmed: true,
            created: 1,
            maker: keyd_client::Principal::User(0),
            released: None,
        }
    }

    impl State {
        /// What each disk is told, and the set as a whole.
        fn told(&self) -> [Option<String>; 3] {
            let view = self.store.snapshot().unwrap();
            let mut standing = Standing::new(&view, 1000);
            let mut of = |id| match standing.disk(id).unwrap() {
                Verdict::Usable(_) => None,
                Verdict::Lost(_, why) => Some(why.to_owned()),
                Verdict::Erased => Some("erased".to_owned()),
                Verdict::Damaged(why) => Some(why),
            };
            let [newer, older] = self.disks.map(&mut of);
            let set = set_lost(&view, &self.set, 1000).unwrap();
            [newer, older, set.map(|why| why.to_string())]
        }
    }

    #[test]
    fn a_disk_stands_and_falls_with_the_version_it_is_under_and_the_set_with_any() {
        let mut state = state();
        assert_eq!(state.told(), [None, None, None]);
        let older = state.key.versions()[1].version;
        let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
        state.key.change(Some(older), &off, 5).unwrap();
        testing::change(&state.store, |txn| txn.put_key(&state.key));
        let [newer, older, set] = state.told();
        assert_eq!(newer, None);
        assert!(older.unwrap().contains("is disabled"));
        assert!(set.unwrap().contains("is disabled"), "some of its disks cannot be had");
    }

    #[test]
    fn a_key_that_was_destroyed_is_a_loss_and_an_erased_disk_is_none() {
        let state = state();
        testing::change(&state.store, |txn| txn.remove_key(&state.key.id));
        for told in state.told() {
            assert!(told.unwrap().contains("no key 'k'"));
        }
        let erased = DiskId::random();
        let view = state.store.snapshot().unwrap();
        let mut standing = Standing::new(&view, 1000);
        assert!(matches!(standing.disk(erased), Ok(Verdict::Erased)));
    }

    /// A set without disks has its active version to lose.
    #[test]
    fn an_empty_set_falls_with_its_active_version() {
        let state = state();
        state
            .store
            .commit(|txn| {
                state.disks.iter().try_for_each(|id| txn.remove_disk(*id))?;
                Ok(((), crate::audit::Entry::by_daemon("test", "test")))
            })
            .unwrap();
        let view = state.store.snapshot().unwrap();
        assert!(set_lost(&view, &state.set, 1000).unwrap().is_none());
        let mut key = state.key.clone();
        key.delete(5, 6).unwrap();
        testing::change(&state.store, |txn| txn.put_key(&key));
        let view = state.store.snapshot().unwrap();
        assert!(matches!(set_lost(&view, &state.set, 1000), Ok(Some(Refused::KeyDeleted(_)))));
    }
}
