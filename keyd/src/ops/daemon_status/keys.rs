//! What `status` says of keys that have ended, or will soon.

use std::collections::BTreeSet;

use keyd_client::{
    DesName, KeyId,
    message::{OnExpiry, UnixMillis},
};

use crate::{
    clock,
    error::Failure,
    limits::{MILLIS_PER_DAY, NOTICE_DAYS},
    model::{
        des::Des,
        key::Key,
        version::{Validity, Version, VersionId},
    },
    store::View,
};

/// A line for each version that is used and has ended, or will within the time of a notice.
///
/// # Errors
/// [`crate::error::Fault`].
pub(super) fn warnings(view: &impl View, now: UnixMillis) -> Result<Vec<String>, Failure> {
    let (mut warnings, sets) = (Vec::new(), view.sets()?);
    // Those whose newest version has an end, and those whose older versions have disks under them.
    let mut ids: BTreeSet<KeyId> = view.keys_watched()?.into_iter().collect();
    for set in &sets {
        ids.extend(view.versions_in(set)?.into_iter().map(|id| id.key));
    }
    for id in ids {
        let key = match view.key(&id) {
            // It is told as damaged already.
            Err(Failure::Refused(_)) => continue,
            key => key?,
        };
        if key.deleted().is_some() {
            continue;
        }
        for (version, id) in key.versions().iter().zip(key.version_ids()) {
            let is_used = version == key.newest() || view.count_under(&id)? > 0;
            if is_used {
                let falls = falling(view, &sets, &id)?;
                warnings.extend(line(&key, version, &falls, now));
            }
        }
    }
    Ok(warnings)
}

/// Sets that take the end of this version for its loss.
fn falling(view: &impl View, sets: &[Des], id: &VersionId) -> Result<Vec<DesName>, Failure> {
    let mut falling = Vec::new();
    for set in sets.iter().filter(|set| set.terms.on_expiry == OnExpiry::Revoke) {
        if set.is_active(id) || view.versions_in(set)?.contains(id) {
            falling.push(set.name.clone());
        }
    }
    Ok(falling)
}

fn line(key: &Key, version: &Version, falls: &[DesName], now: UnixMillis) -> Option<String> {
    let part = key.part(version.version);
    let (end, args) = (clock::text(version.expires? * 1000), part.arguments());
    let sets = falls.iter().map(|set| format!("'{set}'")).collect::<Vec<_>>().join(", ");
    let is_near = version.expires.is_some_and(|expires| {
        expires.saturating_mul(1000) < now + u64::from(NOTICE_DAYS) * MILLIS_PER_DAY
    });
    let is_newest = version == key.newest();
    match version.validity(now) {
        Validity::Over if !falls.is_empty() => Some(format!(
            "{part} has expired on {end}, and the disks of {sets} have lost it: 'keyd key set {args} --expires ...' prolongs it and brings them back"
        )),
        Validity::Over if is_newest => Some(format!(
            "{part} has expired on {end}: 'keyd key rotate {}' makes a new version",
            key.id
        )),
        Validity::Over => Some(format!(
            "{part} has expired on {end}, and disks are under it yet: 'keyd des set-key SET --key {}' brings them to the newest version",
            key.id
        )),
        Validity::Valid if is_near && !falls.is_empty() => Some(format!(
            "{part} expires on {end}, and the disks of {sets} halt then: rotate it before"
        )),
        Validity::Valid if is_near => Some(format!("{part} expires on {end}: rotate it before")),
        Validity::Valid | Validity::NotYet => None,
    }
}
