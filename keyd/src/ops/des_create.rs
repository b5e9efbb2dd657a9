//! Makes a disk encryption set.

use keyd_client::{DesName, KeyName, message::DesStatus};

use super::status;
use crate::{
    auth::{Permit, op},
    clock,
    core::Core,
    error::{Failure, Refused},
    limits::SETS_MAX,
    model::des::{Des, Policy},
    store::View,
};

/// Makes a set on an existing, enabled key.
///
/// # Errors
/// [`Refused::SetExists`], [`Refused::TooManySets`], [`Refused::NoKey`], and those of [`Des::on_key`].
pub fn run(
    core: &Core,
    permit: Permit<op::DesCreate>,
    name: DesName,
    key: &KeyName,
    policy: Policy,
) -> Result<DesStatus, Failure> {
    core.store.commit(|txn| {
        if txn.find_set(&name)?.is_some() {
            return Err(Refused::SetExists(name.clone()).into());
        }
        if txn.sets()?.len() >= SETS_MAX {
            return Err(Refused::TooManySets.into());
        }
        let set = Des::on_key(name.clone(), &txn.key(key)?, policy, clock::now())?;
        txn.put_set(&set)?;
        let entry = permit.entry(&name);
        let detail = format!("key={key} lease_ms={}", policy.lease_ms);
        Ok((status::set(txn, &set)?, entry.detail(detail)))
    })
}
