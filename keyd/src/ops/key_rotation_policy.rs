//! Says when a key is rotated by itself (Key Vault rows 21 and 22).

use keyd_client::{
    KeyId,
    message::{Reply, RotationPolicy, Trigger},
};

use super::{
    status::{self, Versions},
    taking::{self, Ask, Concern, Taken},
};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    limits::{ROTATION_DAYS_MIN, VERSION_LIFE_DAYS_MIN},
    store::View,
};

/// Sets a policy, or takes it away.
///
/// # Errors
/// [`Refused::NoKey`], [`Refused::KeyDeleted`], and those of [`check`] and of [`taking::run`].
pub fn set(
    core: &Core,
    permit: Permit<op::KeyRotationPolicy>,
    id: &KeyId,
    policy: Option<RotationPolicy>,
    ask: &Ask<'_>,
) -> Result<Reply, Failure> {
    if let Some(policy) = &policy {
        check(policy)?;
    }
    let taken = taking::run(core, permit, ask, Concern::Key(id), |txn| {
        let mut key = txn.key(id)?;
        key.alive()?;
        let now = core.now();
        let created = key.rotation_policy.as_ref().map_or(now, |before| before.created);
        key.rotation_policy =
            policy.clone().map(|policy| RotationPolicy { created, updated: now, ..policy });
        txn.put_key(&key)?;
        Ok(match &policy {
            Some(policy) => format!(
                "rotate={:?} notify={:?} expires-after-days={:?}",
                policy.rotate, policy.notify, policy.expires_after_days
            ),
            None => "none".to_owned(),
        })
    })?;
    let view = core.store.snapshot()?;
    match taken {
        Taken::Would(impact) => Ok(Reply::Impact(impact)),
        Taken::Done { .. } => Ok(Reply::Key(status::key(&view, &view.key(id)?, Versions::All)?)),
    }
}

/// Judges a policy by Key Vault's rules.
///
/// # Errors
/// [`Refused::RotationTimes`], [`Refused::RotationPolicy`].
pub fn check(policy: &RotationPolicy) -> Result<(), Refused> {
    let life = policy.expires_after_days;
    if life.is_some_and(|days| days < VERSION_LIFE_DAYS_MIN) {
        return Err(Refused::RotationTimes);
    }
    for trigger in [policy.rotate, policy.notify].into_iter().flatten() {
        if matches!(trigger, Trigger::BeforeExpiry(_)) && life.is_none() {
            return Err(Refused::RotationPolicy(
                "a time before expiry needs an expiry time: give one, or a time after creation",
            ));
        }
    }
    match (policy.rotate, life) {
        (Some(Trigger::AfterCreate(days)), _) if days < ROTATION_DAYS_MIN => {
            Err(Refused::RotationTimes)
        }
        (Some(Trigger::AfterCreate(days)), Some(life))
            if days.saturating_add(ROTATION_DAYS_MIN) > life =>
        {
            Err(Refused::RotationTimes)
        }
        (Some(Trigger::BeforeExpiry(days)), Some(life))
            if days < ROTATION_DAYS_MIN || days.saturating_add(ROTATION_DAYS_MIN) > life =>
        {
            Err(Refused::RotationTimes)
        }
        _ => Ok(()),
    }
}
