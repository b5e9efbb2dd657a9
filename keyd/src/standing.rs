//! What each disk's right to its DEK is, in one state of the store. Judged once for all disks of a set under one key
//! version: a thousand leases of one set cost one judgement.

use std::collections::HashMap;

use keyd_client::{DesName, DiskId, KeyVersion, message::UnixMillis};

use crate::{
    error::{Failure, Fault, Refused},
    model::{
        des::Des,
        disk::{Disk, Wrap},
        right::{Use, right},
        version::Version,
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
}

/// A judge of one state.
#[derive(Debug)]
pub struct Standing<'view, V> {
    view: &'view V,
    now: UnixMillis,
    sets: HashMap<DesName, Des>,
    judged: HashMap<(DesName, KeyVersion), Option<String>>,
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
            Err(Failure::Refused(_)) => return Ok(Verdict::Erased),
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        if !self.sets.contains_key(&disk.des) {
            let set = self.view.set_of(&disk)?;
            self.sets.insert(disk.des.clone(), set);
        }
        for wrap in &disk.wraps {
            self.judge(&disk.des, wrap)?;
        }
        let set = &self.sets[&disk.des];
        let lost = disk
            .wraps
            .iter()
            .find_map(|wrap| self.judged.get(&(disk.des.clone(), wrap.version))?.as_deref());
        Ok(lost.map_or(Verdict::Usable(set), |why| Verdict::Lost(set, why)))
    }

    fn judge(&mut self, set: &DesName, wrap: &Wrap) -> Result<(), Fault> {
        let case = (set.clone(), wrap.version);
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
    versions.push(set.active_version);
    for id in versions {
        let Some(key) = view.key_of(set, id)? else {
            return Ok(Some(Refused::NoKey(set.key.clone())));
        };
        let judged = view.vault(&key.id.vault).and_then(|vault| {
            right(&vault, set, &key, id, Use::Keep, now).map(drop).map_err(Failure::from)
        });
        match judged {
            Ok(()) => {}
            Err(Failure::Refused(why)) => return Ok(Some(why)),
            Err(Failure::Fault(fault)) => return Err(fault),
        }
    }
    Ok(None)
}
