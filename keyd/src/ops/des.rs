//! Disk encryption sets: made, told of, changed, put on another key, forgotten. How a set follows its key is in
//! [`super::des_follow`].

use keyd_client::{
    KeyId, KeyVersion,
    limits::DISKS_PER_PAGE,
    message::{
        DesCreate, DesDelete, DesList, DesResources, DesSetKey, DesShow, DesStatus, DesUpdate,
        DiskStatus, Listing, Rewrapped, Weighed,
    },
};

use super::{
    consent::Asked,
    disk,
    operation::{Name, Operation, on},
    rewrap, status,
    taking::{self, Concern},
};
use crate::{
    auth::Permit,
    core::Core,
    error::{Failure, Refused},
    limits::{SETS_MAX, SETS_PER_PAGE},
    model::{
        des::{Choice, Des},
        key::Key,
        right::{IDENTITY_NEEDS, Use, right},
    },
    store::{Spelling, Txn, View},
};

impl Operation for DesCreate {
    fn subject(&self) -> String {
        self.name.to_string()
    }

    fn names(&mut self) -> Vec<Name<'_>> {
        vec![Name::Set(&mut self.name), Name::Key(&mut self.key)]
    }

    /// Makes a set on an existing key that its identity may use.
    ///
    /// # Errors
    /// [`Refused::SetExists`], [`Refused::TooManySets`], [`Refused::NoKey`], those of [`Des::on_key`] and of [`right`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<DesStatus, Failure> {
        let Self { name, encryption, terms, auto_rotate, .. } = &self;
        let choice = Choice { encryption: *encryption, terms: *terms, auto_rotate: *auto_rotate };
        core.commit(&permit, |txn| {
            if txn.find_set(name)?.is_some() {
                return Err(Refused::SetExists(name.clone()).into());
            }
            if let Some(twin) = txn.twin_of_set(name)? {
                return Err(Refused::SetExists(twin).into());
            }
            if txn.sets()?.len() >= SETS_MAX {
                return Err(Refused::TooManySets.into());
            }
            let now = core.now();
            let key = txn.key(&self.key)?;
            let version = self.version.unwrap_or(key.newest().version);
            let platform = txn.key(&KeyId::platform())?.newest().version;
            let set = Des::on_key(name.clone(), (&key, version), platform, choice, now)?;
            let permitted = self.permit && permit.administrator();
            settle(core, txn, &set, &key, version, permitted).map_err(before_it_exists)?;
            txn.put_set(&set)?;
            let detail = format!(
                "key={} version={version} lease_ms={} identity-permitted={permitted}",
                self.key, terms.lease_ms
            );
            Ok((status::set(core, txn, &set)?, permit.entry(name).detail(detail)))
        })
    }
}

/// The set does not exist yet, and neither does its identity.
fn before_it_exists(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(Refused::IdentityLacks { set, vault, permission, .. }) => {
            Refused::IdentityLacks { set, vault, permission, future: true }.into()
        }
        other => other,
    }
}

/// Gives a set's identity what it needs, if that is wished, and sees to it that the set may wrap and unwrap under a
/// key.
///
/// # Errors
/// Those of [`right`].
fn settle(
    core: &Core,
    txn: &Txn<'_>,
    set: &Des,
    key: &Key,
    version: KeyVersion,
    permit: bool,
) -> Result<(), Failure> {
    let now = core.now();
    let mut vault = txn.vault(&key.id.vault)?;
    if permit {
        vault.permit_also(&set.identity(), &IDENTITY_NEEDS.into())?;
        txn.put_vault(&vault)?;
    }
    right(&vault, set, key, version, Use::Wrap, now)?;
    right(&vault, set, key, version, Use::Attach, now)?;
    Ok(())
}

impl Operation for DesShow {
    on!(set name);

    /// # Errors
    /// [`Refused::NoSet`].
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<DesStatus, Failure> {
        let view = core.store.snapshot()?;
        status::set(core, &view, &view.set(&self.name)?)
    }
}

impl Operation for DesList {
    on!(all "sets");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Listing<DesStatus>, Failure> {
        let view = core.store.snapshot()?;
        let mut sets = view.sets()?;
        sets.retain(|set| self.after.as_ref().is_none_or(|after| set.name > *after));
        let more = sets.len() > SETS_PER_PAGE;
        sets.truncate(SETS_PER_PAGE);
        let told = sets.iter().map(|set| status::set(core, &view, set));
        Ok(Listing { items: told.collect::<Result<_, _>>()?, more })
    }
}

impl Operation for DesResources {
    on!(set name);

    /// # Errors
    /// [`Refused::NoSet`].
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Listing<DiskStatus>, Failure> {
        let view = core.store.snapshot()?;
        let found = view.disks_in(&view.set(&self.name)?, self.after, DISKS_PER_PAGE + 1)?;
        let disks = found.into_iter().map(|id| view.disk(id));
        // What is damaged is named elsewhere.
        let disks = disks.filter(|disk| !matches!(disk, Err(Failure::Refused(_))));
        let disks = disks.collect::<Result<Vec<_>, _>>()?;
        disk::fit(core, &view, &disks)
    }
}

impl Operation for DesUpdate {
    on!(set name);
    on!(weighed);

    /// A holder hears of a new lease time with its next renewal, and of a new reaction when it is revoked. Shorter
    /// terms can halt disks whose key is lost.
    ///
    /// # Errors
    /// [`Refused::NoSet`], [`Refused::LeaseLength`], [`Refused::Grace`], and those of [`taking::run`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Weighed<DesStatus>, Failure> {
        let Self { name, change, consent } = &self;
        let asked = Asked::new("des update", name, consent);
        let taken = taking::run(core, permit, &asked, Concern::Set(name), |txn| {
            let mut set = txn.set(name)?;
            set.change(change)?;
            txn.put_set(&set)?;
            Ok(format!("{:?} auto_rotate={}", set.terms, set.auto_rotate))
        })?;
        taken.and_then(|_| {
            let view = core.store.snapshot()?;
            status::set(core, &view, &view.set(name)?)
        })
    }
}

impl Operation for DesSetKey {
    fn subject(&self) -> String {
        self.name.to_string()
    }

    on!(weighed);

    fn names(&mut self) -> Vec<Name<'_>> {
        vec![Name::Set(&mut self.name), Name::Key(&mut self.key)]
    }

    /// Activates the key version, then wraps every DEK of the set anew. The old key must stay usable until that is
    /// done: `previous_keys` of the set says how far it is.
    ///
    /// # Errors
    /// [`Refused::NoSet`], [`Refused::NoKey`], [`Refused::PlatformSet`], [`Refused::OwnSet`], those of [`right`] and of
    /// [`rewrap::set`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Weighed<Rewrapped>, Failure> {
        let name = &self.name;
        let asked =
            Asked::new("des set-key", name, &self.consent).with(format!(" --key {}", self.key));
        let gives = self.permit && permit.administrator();
        let taken = taking::run(core, permit, &asked, Concern::Set(name), |txn| {
            let (mut set, key) = (txn.set(name)?, txn.key(&self.key)?);
            let version = self.version.unwrap_or(key.newest().version);
            if key.platform {
                return Err(Refused::PlatformSet(key.id.clone()).into());
            }
            if set.key.vault.is_platform() {
                return Err(Refused::OwnSet(name.clone()).into());
            }
            settle(core, txn, &set, &key, version, gives)?;
            let detail = format!("from={}/{} to={}/{version}", set.key, set.active_version, key.id);
            set.activate(&key.id, version, core.now());
            txn.put_set(&set)?;
            Ok(detail)
        })?;
        taken.and_then(|_| Ok(Rewrapped { rewrapped: rewrap::set(core, name)? }))
    }
}

impl Operation for DesDelete {
    on!(set name);

    /// Takes its identity's permissions away in every vault: a later set of the same name starts with none.
    ///
    /// # Errors
    /// [`Refused::NoSet`], [`Refused::OwnSet`], [`Refused::SetInUse`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<(), Failure> {
        let name = &self.name;
        core.commit(&permit, |txn| {
            let set = txn.set(name)?;
            if set.key.vault.is_platform() {
                return Err(Refused::OwnSet(name.clone()).into());
            }
            let disks = txn.count_in(&set)?;
            if disks > 0 {
                return Err(Refused::SetInUse(name.clone(), disks).into());
            }
            let identity = set.identity();
            for mut vault in txn.vaults()? {
                if !vault.policy(&identity).is_empty() {
                    vault.permit(identity.clone(), [].into())?;
                    txn.put_vault(&vault)?;
                }
            }
            txn.remove_grants_of(&identity)?;
            txn.remove_set(name)?;
            Ok(((), permit.entry(name)))
        })
    }
}
