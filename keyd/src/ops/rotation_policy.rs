//! Says when a key is rotated by itself (Key Vault rows 21 and 22).

use keyd_client::message::{KeyRotationPolicy, KeyStatus, RotationPolicy, Trigger, Weighed};

use super::{
    consent::Asked,
    operation::{Operation, on},
    status::{self, Versions},
    taking::{self, Concern},
};
use crate::{
    auth::Permit,
    core::Core,
    error::{Failure, PolicyFault, Refused},
    limits::{ROTATION_DAYS_MIN, VERSION_LIFE_DAYS_MIN},
    model::calendar,
    store::View,
};

impl Operation for KeyRotationPolicy {
    on!(key name);
    on!(weighed);

    /// # Errors
    /// [`Refused::NoKey`], [`Refused::KeyDeleted`], and those of [`check`] and of [`taking::run`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Weighed<KeyStatus>, Failure> {
        let Self { name, policy, consent } = &self;
        if let Some(policy) = policy {
            check(policy)?;
        }
        let asked = Asked::new("key rotation-policy set", name, consent);
        let taken = taking::run(core, permit, &asked, Concern::Key(name), |txn| {
            let mut key = txn.key(name)?;
            key.alive()?;
            let now = core.now();
            let created = key.rotation_policy.as_ref().map_or(now, |before| before.created);
            key.rotation_policy =
                policy.clone().map(|policy| RotationPolicy { created, updated: now, ..policy });
            txn.put_key(&key)?;
            Ok(policy.as_ref().map_or_else(|| "none".to_owned(), told))
        })?;
        taken.and_then(|_| {
            let view = core.store.snapshot()?;
            Ok(status::key(&view, &view.key(name)?, Versions::All)?)
        })
    }
}

/// The policy in an audit record.
fn told(policy: &RotationPolicy) -> String {
    let trigger = |name: &str, trigger: Option<Trigger>| {
        Some(match trigger? {
            Trigger::AfterCreate(period) => format!("{name}-after={period}"),
            Trigger::BeforeExpiry(period) => format!("{name}-before-expiry={period}"),
        })
    };
    let parts = [
        trigger("rotate", policy.rotate),
        trigger("notify", policy.notify),
        policy.expires_after.map(|life| format!("expires-after={life}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Judges a policy by Key Vault's rules. Months have no one length: what must be so at least is so wherever they begin.
///
/// # Errors
/// [`Refused::RotationPolicy`].
pub fn check(policy: &RotationPolicy) -> Result<(), Refused> {
    let life = policy.expires_after.map(|life| calendar::days(life).0);
    if life.is_some_and(|days| days < VERSION_LIFE_DAYS_MIN) {
        return Err(Refused::RotationPolicy(PolicyFault::Life));
    }
    for trigger in [policy.rotate, policy.notify].into_iter().flatten() {
        if matches!(trigger, Trigger::BeforeExpiry(_)) && life.is_none() {
            return Err(Refused::RotationPolicy(PolicyFault::NoExpiry));
        }
    }
    let Some(Trigger::AfterCreate(period) | Trigger::BeforeExpiry(period)) = policy.rotate else {
        return Ok(());
    };
    let (fewest, most) = calendar::days(period);
    if fewest < ROTATION_DAYS_MIN {
        return Err(Refused::RotationPolicy(PolicyFault::Early));
    }
    if life.is_some_and(|life| most + ROTATION_DAYS_MIN > life) {
        return Err(Refused::RotationPolicy(PolicyFault::Late));
    }
    Ok(())
}
