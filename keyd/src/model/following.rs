//! Which version of its key a set follows by itself. Who may make or bring versions in a vault has no right on the sets
//! that use its keys: a version must not take a set's DEKs, or its disks, because it is the newest.

use keyd_client::message::{UnixMillis, UnixSeconds};

use super::{
    calendar,
    des::Des,
    key::Key,
    right::{Use, right},
    vault::Vault,
    version::{Origin, Version},
};
use crate::{
    error::{NotFollowed, Refused, Why},
    limits::MILLIS_PER_DAY,
};

/// The newest version of its key, if a set may be put on it without anybody's word.
///
/// # Errors
/// [`Refused::NotFollowed`]; and those of [`right`], for wrapping and for what follows it: a version that wraps and
/// does not unwrap would take the disks away.
pub fn newest<'key>(
    vault: &Vault,
    set: &Des,
    key: &'key Key,
    now: UnixMillis,
) -> Result<&'key Version, Refused> {
    let version = key.newest();
    if let Some(why) = obstacle(set, key, version, now) {
        let (set, key, version) = (set.name.clone(), key.id.clone(), version.version);
        return Err(Refused::NotFollowed(Box::new(NotFollowed { set, key, version, why })));
    }
    right(vault, set, key, version.version, Use::Wrap, now)?;
    right(vault, set, key, version.version, Use::Attach, now)?;
    Ok(version)
}

fn obstacle(set: &Des, key: &Key, version: &Version, now: UnixMillis) -> Option<Why> {
    match version.origin() {
        Origin::Imported => return Some(Why::Imported),
        Origin::Restored => return Some(Why::Restored),
        Origin::Made => {}
    }
    let Ok(present) = key.version(set.active_version) else {
        return Some(Why::AnotherKey);
    };
    let begins = version.not_before.filter(|from| *from > now / 1000);
    begins.map(Why::NotYetValid).or_else(|| too_short(key, present, version, now))
}

fn too_short(key: &Key, present: &Version, version: &Version, now: UnixMillis) -> Option<Why> {
    let end = version.expires?;
    if end <= (now + MILLIS_PER_DAY) / 1000 {
        return Some(Why::EndsSoon(end));
    }
    let sooner = present.expires.is_none_or(|present| end < present);
    (sooner && !is_policys(key, version, end)).then_some(Why::EndsSooner(end, present.expires))
}

/// The end that the key's rotation policy gives to each version, which has weeks to be rotated in, is no surprise: with
/// a first version that never ends no set could follow its key under such a policy.
fn is_policys(key: &Key, version: &Version, end: UnixSeconds) -> bool {
    let life = key.rotation_policy.as_ref().and_then(|policy| policy.expires_after);
    life.is_some_and(|life| end >= calendar::after(version.created, life) / 1000)
}

#[cfg(test)]
mod tests;
