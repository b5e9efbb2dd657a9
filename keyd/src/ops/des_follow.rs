//! Sets follow their key's newest version: after a rotation, and again by themselves where that failed.

use keyd_client::{DesName, KeyId, KeyVersion, message::UnixMillis};

use super::rewrap;
use crate::{
    audit::Entry,
    clock,
    core::Core,
    error::{Failure, Fault, Refused},
    log,
    model::{
        des::Des,
        right::{Use, right},
    },
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
                let noted = rewrap::note_error(core, &set.name, "KeyUnusable", &why.to_string())?;
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
/// Why the set may not wrap under the newest version.
pub fn one(core: &Core, name: &DesName) -> Result<bool, Failure> {
    let view = core.store.snapshot()?;
    let set = view.set(name)?;
    if !behind(&view, &set)? {
        return Ok(set.rotation.is_some());
    }
    core.store.commit(|txn| {
        let mut set = txn.set(name)?;
        let now = clock::now();
        let key = txn.key(&set.key)?;
        let newest = key.newest().version;
        if set.auto_rotate && set.active_version != newest {
            let vault = txn.vault(&key.id.vault)?;
            right(&vault, &set, &key, newest, Use::Wrap, now)?;
            set.activate(&key.id, newest, now);
        }
        follow_platform(txn, &mut set)?;
        txn.put_set(&set)?;
        let detail = format!("key={} version={}", set.key, set.active_version);
        Ok(((), Entry::by_daemon("des-activate", name).detail(detail)))
    })?;
    Ok(true)
}

/// The platform's share always follows: its key is nobody's choice.
fn follow_platform(txn: &Txn<'_>, set: &mut Des) -> Result<(), Failure> {
    if let Some(active) = set.platform_version {
        let newest = txn.key(&KeyId::platform())?.newest().version;
        if newest != active {
            set.activate_platform(newest, clock::now());
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
    let after = Des { active_version, platform_version, ..set.clone() };
    let lost = standing::set_lost(view, set, now)?.is_some();
    Ok(!lost && rewrap::wrappers(view, &after, now).is_ok())
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
            if let Err(fault) = rewrap::note_error(core, name, "KeyUnusable", &why.to_string()) {
                log::line(format_args!("set {name}: {}", log::chain(&fault)));
            }
        }
        Err(fault) => log::line(format_args!("set {name}: {}", log::chain(&fault))),
    }
}
