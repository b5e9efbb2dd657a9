//! Sets follow their key's newest version: after a rotation, and again by themselves where that failed.

use keyd_client::{DesName, KeyId, KeyVersion, message::UnixMillis};

use super::rewrap;
use crate::{
    audit::Entry,
    core::Core,
    error::{Failure, Fault, Refused},
    log,
    model::{des::Des, following},
    standing,
    store::{Txn, View},
};

/// Lets every set that follows a key follow it, and returns those that did, or still have DEKs behind. A set that
/// cannot says why in its `rotation_error`.
///
/// # Errors
/// [`Fault`].
pub fn all_on(core: &Core, key: &KeyId) -> Result<Vec<DesName>, Failure> {
    let mut following = Vec::new();
    for set in core.store.snapshot()?.sets_on(key)? {
        match one(core, &set.name) {
            Ok(true) => following.push(set.name),
            Ok(false) => {}
            Err(Failure::Refused(why)) => {
                let noted = rewrap::refuse(core, &set.name, &why)?;
                log::line(format_args!("{noted}"));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(following)
}

/// Activates the newest versions for a set, if it follows and they are not active yet. Whether it has DEKs to wrap
/// anew.
///
/// # Errors
/// Why the set may not, or does not by itself, wrap under the newest version.
pub fn one(core: &Core, name: &DesName) -> Result<bool, Failure> {
    let view = core.store.snapshot()?;
    let set = view.set(name)?;
    if !behind(&view, &set)? {
        return Ok(set.rotation.is_some());
    }
    let activated = core.store.commit(|txn| {
        let (before, now) = (txn.set(name)?, core.now());
        let (mut set, mut refused) = (before.clone(), None);
        let key = txn.key(&set.key)?;
        if set.auto_rotate && set.active_version != key.newest().version {
            match following::newest(&txn.vault(&key.id.vault)?, &set, &key, now) {
                Ok(newest) => set.activate(&key.id, newest.version, now),
                Err(why) => refused = Some(why),
            }
        }
        follow_platform(core, txn, &mut set)?;
        if let Some(why) = refused.filter(|_| set == before) {
            return Err(why.into());
        }
        txn.put_set(&set)?;
        let detail = format!("key={} version={}", set.key, set.active_version);
        Ok(((), Entry::by_daemon("des-activate", name).detail(detail)))
    });
    match activated {
        // What was begun goes on, whatever is in front of the key by now; that is told when it is done.
        Err(Failure::Refused(_)) if set.rotation.is_some() => Ok(true),
        activated => activated.map(|()| true),
    }
}

/// The platform's share always follows: its key is nobody's choice.
fn follow_platform(core: &Core, txn: &Txn<'_>, set: &mut Des) -> Result<(), Failure> {
    if let Some(active) = set.platform_version {
        let newest = txn.key(&KeyId::platform())?.newest().version;
        if newest != active {
            set.activate_platform(newest, core.now());
        }
    }
    Ok(())
}

/// The versions that a set is to be on: its key's newest, if it follows, and the platform's newest.
///
/// # Errors
/// [`Fault`].
pub fn wanted(view: &impl View, set: &Des) -> Result<(KeyVersion, Option<KeyVersion>), Fault> {
    let newest = |id: &KeyId| -> Result<_, Fault> {
        Ok(view.find_key(id)?.filter(|key| key.alive().is_ok()).map(|key| key.newest().version))
    };
    let customer = if set.auto_rotate { newest(&set.key)? } else { None };
    let platform = match set.platform_version {
        Some(active) => Some(newest(&KeyId::platform())?.unwrap_or(active)),
        None => None,
    };
    Ok((customer.unwrap_or(set.active_version), platform))
}

fn behind(view: &impl View, set: &Des) -> Result<bool, Fault> {
    Ok(wanted(view, set)? != (set.active_version, set.platform_version))
}

/// Whether a set that could not follow could do so now: it may open what it has, and wrap under what it should be on.
///
/// # Errors
/// [`Fault`].
pub fn possible(view: &impl View, set: &Des, now: UnixMillis) -> Result<bool, Fault> {
    let (active_version, platform_version) = wanted(view, set)?;
    if active_version != set.active_version && why_not(view, set, now)?.is_some() {
        return Ok(false);
    }
    let after = Des { active_version, platform_version, ..set.clone() };
    let lost = standing::set_lost(view, set, now)?.is_some();
    Ok(!lost && rewrap::wrappers(view, &after, now).is_ok())
}

/// Why a set does not follow its key to the newest version by itself, if it does not.
///
/// # Errors
/// [`Fault`].
pub fn why_not(view: &impl View, set: &Des, now: UnixMillis) -> Result<Option<Refused>, Fault> {
    let (Some(key), Some(vault)) = (view.find_key(&set.key)?, view.find_vault(&set.key.vault)?)
    else {
        return Ok(Some(Refused::NoKey(set.key.clone())));
    };
    Ok(following::newest(&vault, set, &key, now).err())
}

/// Whether a set has something to catch up with now: an activation, or DEKs behind.
///
/// # Errors
/// [`Fault`].
pub fn due(view: &impl View, set: &Des) -> Result<bool, Fault> {
    Ok(set.rotation.is_some() || behind(view, set)?)
}

/// Catches up, in the keeper's thread.
pub fn catch_up(core: &Core, name: &DesName) {
    let done = one(core, name).and_then(|follows| match follows {
        true => rewrap::set(core, name),
        false => Ok(0),
    });
    match done {
        Ok(rewrapped) => {
            log::line(format_args!("set {name} follows its key; {rewrapped} disks wrapped anew"));
        }
        Err(Failure::Refused(Refused::RotationStopped(_))) => {}
        Err(Failure::Refused(why)) => {
            if let Err(fault) = rewrap::refuse(core, name, &why) {
                log::line(format_args!("set {name}: {}", log::chain(&fault)));
            }
        }
        Err(fault) => log::line(format_args!("set {name}: {}", log::chain(&fault))),
    }
}
