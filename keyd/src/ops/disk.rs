//! Disks, snapshots and images: their records and DEKs. What is done with a DEK under a lease is in [`super::attach`].

use keyd_client::{
    Dek, DesName, DiskId, Principal, Scope,
    limits::{BODY_LEN_MAX, DISKS_PER_PAGE},
    message::{
        DiskAbandon, DiskConfirm, DiskCreate, DiskDerive, DiskErase, DiskGrow, DiskKind, DiskList,
        DiskMove, DiskReleaseKey, DiskShow, DiskStatus, GrantStatus, KeyRelease, Listing,
        Rewrapped, UnixMillis, Weighed,
    },
    permission::Permission,
};

use super::{
    consent::{self, Asked},
    first_start, grant, impact,
    operation::{Name, Operation, on},
    rewrap, status, taking,
};
use crate::{
    auth::{Permit, Place},
    core::Core,
    envelope::{self, Owner},
    error::{Failure, Fault, Refused},
    limits::GRANTS_PER_DISK,
    model::{
        des::Des,
        disk::{Disk, check_geometry},
        right::Use,
    },
    standing,
    store::{Grants, Txn, View},
    volume_key,
};

impl Operation for DiskCreate {
    fn place(&self) -> Place {
        Place::Set(set_of(self))
    }

    fn subject(&self) -> String {
        "disk".to_owned()
    }

    fn names(&mut self) -> Vec<Name<'_>> {
        self.des.iter_mut().map(Name::Set).collect()
    }

    /// The DEK is kept wrapped only. The disk is unconfirmed until its image is durable.
    ///
    /// # Errors
    /// Those of [`check_geometry`]; [`Refused::NoSet`], and those of [`rewrap::wrappers`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<DiskStatus, Failure> {
        check_geometry(&self.geometry)?;
        let (des, dek) = (set_of(&self), volume_key::generate()?);
        let digest = volume_key::digest(&dek)?;
        core.commit(&permit, |txn| {
            // Wrapped inside the transaction: a rotation that begins meanwhile must not leave this DEK behind.
            let (set, now) = (txn.set(&des)?, core.now());
            let wrappers = rewrap::wrappers(txn, &set, now)?;
            let owner = Owner { disk: DiskId::random(), generation: 1 };
            let disk = Disk {
                id: owner.disk,
                kind: DiskKind::Disk,
                source: None,
                des: des.clone(),
                wraps: envelope::seal(&core.keyring, &set, owner, &dek, &wrappers)?,
                geometry: self.geometry,
                digest: digest.clone(),
                generation: owner.generation,
                confirmed: false,
                created: now,
                maker: permit.caller().principal.clone(),
                released: None,
            };
            txn.add_disk(&disk, &set)?;
            let wrap = disk.first_wrap();
            let detail = format!("des={des} key={} version={}", wrap.key, wrap.version);
            Ok((status::disk(core, txn, &disk)?, permit.entry(disk.id).detail(detail)))
        })
    }
}

/// The set of a new disk, whose maker need not name one.
fn set_of(ask: &DiskCreate) -> DesName {
    ask.des.clone().unwrap_or_else(first_start::platform_set)
}

impl Operation for DiskDerive {
    fn place(&self) -> Place {
        self.source.into()
    }

    fn subject(&self) -> String {
        self.source.to_string()
    }

    fn names(&mut self) -> Vec<Name<'_>> {
        self.des.iter_mut().map(Name::Set).collect()
    }

    /// It has its source's DEK, for its bytes are its source's; wrapped for itself, so that neither's wrapped DEK opens
    /// the other. It is unconfirmed until its image is durable.
    ///
    /// # Errors
    /// [`Refused::NoDisk`], [`Refused::OneSet`] (a disk and what is made from it share one set), those of
    /// [`Disk::derivable`], of [`standing::opening`] and of [`rewrap::wrappers`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<DiskStatus, Failure> {
        let Self { source, kind, des } = self;
        core.commit(&permit, |txn| {
            let (from, set) = txn.disk_and_set(source)?;
            from.derivable(kind)?;
            if des.is_some_and(|wished| wished != set.name) {
                return Err(Refused::OneSet { disk: source, set: set.name }.into());
            }
            let now = core.now();
            let versions = standing::opening(txn, &from, &set, Use::Attach, now)?;
            let wrappers = rewrap::wrappers(txn, &set, now)?;
            let dek = envelope::open(&core.keyring, &set, &from, &versions)?;
            let owner = Owner { disk: DiskId::random(), generation: from.generation };
            // With the DEK goes the mark that it was given out.
            let released = from.released.clone();
            let released = released.map(|mark| KeyRelease { by: mark.by.or(Some(source)), ..mark });
            let disk = Disk {
                id: owner.disk,
                kind,
                source: Some(source),
                wraps: envelope::seal(&core.keyring, &set, owner, &dek, &wrappers)?,
                confirmed: false,
                created: now,
                maker: permit.caller().principal.clone(),
                released,
                ..from
            };
            txn.add_disk(&disk, &set)?;
            let detail = format!("source={source} kind={kind:?} des={}", set.name);
            Ok((status::disk(core, txn, &disk)?, permit.entry(disk.id).detail(detail)))
        })
    }
}

impl Operation for DiskConfirm {
    on!(disk id);

    /// # Errors
    /// [`Refused::NoDisk`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<(), Failure> {
        core.commit(&permit, |txn| {
            let mut disk = txn.disk(self.id)?;
            disk.confirm();
            txn.replace_disk(&disk)?;
            Ok(((), permit.entry(self.id)))
        })
    }
}

impl Operation for DiskAbandon {
    on!(disk id);

    /// # Errors
    /// [`Refused::NoDisk`], [`Refused::Confirmed`], [`Refused::InUse`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<(), Failure> {
        let id = self.id;
        core.commit(&permit, |txn| {
            let disk = txn.disk(id)?;
            disk.abandonable()?;
            // A lease is entered before its disk is looked for: one that is not seen here will not find the disk.
            if let Some(pid) = core.leases.holder_of(id) {
                return Err(Refused::InUse { disk: id, pid }.into());
            }
            txn.remove_disk(id)?;
            Ok(((), permit.entry(id)))
        })
    }
}

impl Operation for DiskGrow {
    on!(disk id);

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Its image is so long already: who asks has seen to that first, as a record that goes further than its image is
    /// one that nobody can attach. A dry run says what the disk is now: who asks changes the image by the answer. It
    /// waits for a commit that is under way, so no growth that was asked for before comes after it. Holders hear of the
    /// growth after the commit.
    ///
    /// # Errors
    /// [`Refused::NoDisk`], and those of [`Disk::grown`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<DiskStatus, Failure> {
        let Self { id, size, dry_run } = self;
        if dry_run {
            return core.store.rehearse(|txn| {
                let (before, _) = grown(txn, id, size)?;
                Ok(status::disk(core, txn, &before)?)
            });
        }
        let grown = core.commit(&permit, |txn| {
            let (before, disk) = grown(txn, id, size)?;
            txn.replace_disk(&disk)?;
            let detail = format!("from={} to={size}", before.geometry.size);
            Ok((status::disk(core, txn, &disk)?, permit.entry(id).detail(detail)))
        })?;
        core.leases.grown(id, size);
        Ok(grown)
    }
}

/// The disk as it is, and as it is to be.
fn grown(txn: &Txn<'_>, id: DiskId, size: u64) -> Result<(Disk, Disk), Failure> {
    let (disk, _) = txn.disk_and_set(id)?;
    let grown = disk.clone().grown(size)?;
    Ok((disk, grown))
}

impl Operation for DiskMove {
    on!(weighed);

    fn subject(&self) -> String {
        self.id.to_string()
    }

    fn names(&mut self) -> Vec<Name<'_>> {
        vec![Name::Set(&mut self.des)]
    }

    /// Its DEK is wrapped anew, its data stays as it is. From the commit on its holder's right is that of the new set,
    /// whose terms it hears with its next renewal.
    ///
    /// # Errors
    /// [`Refused::NoDisk`], [`Refused::NoSet`], [`Refused::OneSet`]; [`Refused::MovesToItself`], for nobody lets
    /// himself have a disk's DEK by moving it; those of [`standing::opening`], of [`rewrap::wrappers`] and of
    /// [`consent::check`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Weighed<Rewrapped>, Failure> {
        let Self { id, des, consent } = &self;
        let asked = Asked::new("disk move", id, consent).with(format!(" --to {des}"));
        let weigh = |txn: &Txn<'_>| {
            let mut said = String::new();
            let weighed = impact::weigh_disk(core, txn, (asked.verb, *id), |txn| {
                said = put(core, txn, &permit.caller().principal, (*id, des))?;
                Ok(())
            })?;
            Ok::<_, Failure>((weighed, said))
        };
        if asked.is_dry_run() {
            let (weighed, _) = core.store.rehearse(weigh)?;
            let detail = format!("would hit {}", impact::summary(&weighed));
            core.record(&permit, permit.entry(id).outcome("dry run").detail(detail))?;
            return Ok(Weighed::Would(weighed));
        }
        taking::commit(core, &permit, |txn| {
            let (weighed, detail) = weigh(txn)?;
            consent::check(&asked, &weighed)?;
            Ok(((), permit.entry(id).detail(detail)))
        })?;
        Ok(Weighed::Done(Rewrapped { rewrapped: 1 }))
    }
}

fn put(
    core: &Core,
    txn: &Txn<'_>,
    who: &Principal,
    (id, des): (DiskId, &DesName),
) -> Result<String, Failure> {
    let (disk, from) = txn.disk_and_set(id)?;
    let (to, now) = (txn.set(des)?, core.now());
    movable(txn, &disk)?;
    let [before, after] =
        [&from.name, &to.name].map(|set| core.auth.may_attach(who, (id, set), txn));
    if !before? && after? {
        return Err(Refused::MovesToItself { who: who.clone(), disk: id, set: to.name }.into());
    }
    let versions = standing::opening(txn, &disk, &from, Use::Keep, now)?;
    let wrappers = rewrap::wrappers(txn, &to, now)?;
    let wraps = envelope::reseal(&core.keyring, (&from, &disk, &versions), (&to, &wrappers))?;
    let moved = Disk { des: to.name, wraps, ..disk };
    txn.replace_disk(&moved)?;
    let wrap = moved.first_wrap();
    Ok(format!("from={} to={des} key={} version={}", from.name, wrap.key, wrap.version))
}

/// A disk and what was made from it share one set (Azure: a disk and all its incremental snapshots).
fn movable(view: &impl View, disk: &Disk) -> Result<(), Failure> {
    let alone = disk.kind == DiskKind::Disk && disk.source.is_none();
    if !alone || !view.made_from(disk.id)?.is_empty() {
        return Err(Refused::OneSet { disk: disk.id, set: disk.des.clone() }.into());
    }
    Ok(())
}

impl Operation for DiskErase {
    on!(disk id);
    on!(weighed);

    /// One commit, and what is on its image can never be read again. What was made from it stays: it has a wrapped DEK
    /// of its own.
    ///
    /// # Errors
    /// [`Refused::NoDisk`], [`Refused::InUseBy`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Weighed<()>, Failure> {
        let (id, asked) = (self.id, Asked::new("disk erase", self.id, &self.consent));
        if asked.is_dry_run() {
            let weighed = impact::of_erasing(core, &core.store.snapshot()?, asked.verb, id)?;
            let detail = format!("would hit {}", impact::summary(&weighed));
            core.record(&permit, permit.entry(id).outcome("dry run").detail(detail))?;
            return Ok(Weighed::Would(weighed));
        }
        taking::commit(core, &permit, |txn| {
            let weighed = impact::of_erasing(core, txn, asked.verb, id)?;
            consent::check(&asked, &weighed)?;
            let wrap = txn.disk(id)?.first_wrap().clone();
            txn.remove_disk(id)?;
            let detail = format!("key={} version={}", wrap.key, wrap.version);
            Ok(((), permit.entry(id).detail(detail)))
        })?;
        Ok(Weighed::Done(()))
    }
}

/// Unwraps a disk's DEK for the asker to keep: break-glass. The record is durable before the DEK exists here, and so is
/// the mark on every disk that has this DEK.
///
/// # Errors
/// [`Refused::NoDisk`], and those of [`standing::opening`].
pub fn release(core: &Core, permit: Permit<DiskReleaseKey>, id: DiskId) -> Result<Dek, Failure> {
    let (disk, set, versions) = core.commit(&permit, |txn| {
        let (disk, set) = txn.disk_and_set(id)?;
        let versions = standing::opening(txn, &disk, &set, Use::Attach, core.now())?;
        let wrap = disk.first_wrap();
        let detail = format!("key={} version={}", wrap.key, wrap.version);
        mark(txn, &disk, &set, (&permit.caller().principal, core.now()))?;
        Ok(((disk, set, versions), permit.entry(id).detail(detail)))
    })?;
    Ok(envelope::open(&core.keyring, &set, &disk, &versions)?)
}

/// A disk, what it was made from and what was made from it have one DEK, in one set. The digest tells which.
fn mark(
    txn: &Txn<'_>,
    released: &Disk,
    set: &Des,
    (to, at): (&Principal, UnixMillis),
) -> Result<(), Failure> {
    for id in txn.disks_in(set, None, usize::MAX)? {
        let disk = txn.disk(id)?;
        if disk.digest == released.digest {
            let by = (id != released.id).then_some(released.id);
            let mark = KeyRelease { at, to: to.clone(), by };
            txn.replace_disk(&Disk { released: Some(mark), ..disk })?;
        }
    }
    Ok(())
}

impl Operation for DiskShow {
    on!(disk id);

    /// # Errors
    /// [`Refused::NoDisk`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<DiskStatus, Failure> {
        let view = core.store.snapshot()?;
        let disk = view.disk(self.id)?;
        let sees = core.auth.has(&permit.caller().principal, Permission::ReadWrapped, &view)?;
        let wrapped = sees.then(|| disk.first_wrap().blob.clone());
        let mut grants = grants(core, &view, &disk)?;
        let grants_more = grants.len() > GRANTS_PER_DISK;
        grants.truncate(GRANTS_PER_DISK);
        Ok(DiskStatus { wrapped, grants, grants_more, ..status::disk(core, &view, &disk)? })
    }
}

/// Who may attach a disk or make something from it, and by what.
fn grants(core: &Core, view: &impl View, disk: &Disk) -> Result<Vec<GrantStatus>, Failure> {
    let scopes = [Scope::All, Scope::Set(disk.des.clone()), Scope::Disk(disk.id)];
    let counts = |permission: &Permission| {
        permission.is_for_disks() || *permission == Permission::Administer
    };
    let said = core.auth.said().into_iter().filter(|grant| scopes.contains(&grant.scope));
    let stored = view.grants_for(&scopes)?.into_iter().map(grant::stored);
    let mut grants: Vec<GrantStatus> = said.chain(stored).collect();
    grants.iter_mut().for_each(|grant| grant.permissions.retain(counts));
    grants.retain(|grant| !grant.permissions.is_empty());
    Ok(grants)
}

impl Operation for DiskList {
    on!(all "disks");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Listing<DiskStatus>, Failure> {
        let view = core.store.snapshot()?;
        fit(core, &view, &view.disks(self.after, DISKS_PER_PAGE + 1)?)
    }
}

/// As many of these as fit one frame: a disk may have many holders.
///
/// # Errors
/// [`crate::error::Fault`].
pub(super) fn fit(
    core: &Core,
    view: &impl View,
    found: &[Disk],
) -> Result<Listing<DiskStatus>, Failure> {
    let mut disks = Vec::new();
    let mut room = BODY_LEN_MAX - 1024;
    let mut seen = 0;
    for disk in found.iter().take(DISKS_PER_PAGE) {
        let told = match status::disk(core, view, disk) {
            // What it belongs to is damaged: it is named elsewhere, and no reason to leave the others.
            Err(Fault::Damaged(_) | Fault::Dangling(_)) => {
                seen += 1;
                continue;
            }
            told => told?,
        };
        let len = serde_json::to_vec(&told)?.len() + 1;
        let Some(left) = room.checked_sub(len) else {
            break;
        };
        room = left;
        seen += 1;
        disks.push(told);
    }
    // Who asks for more names the last that was told.
    let more = seen < found.len() && !disks.is_empty();
    Ok(Listing { items: disks, more })
}
