//! Puts a set on another key, or another version, while its disks run.

use keyd_client::{DesName, message::Reply};

use super::{
    des_create::{On, settle},
    rewrap,
    taking::{self, Ask, Concern, Taken},
};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Activates the key version, then wraps every DEK of the set anew. The old key must stay usable until that is done:
/// `previous_keys` of the set says how far it is.
///
/// # Errors
/// [`Refused::NoSet`], [`Refused::NoKey`], [`Refused::PlatformSet`], [`Refused::OwnSet`], those of
/// [`crate::model::right::right`] and of [`rewrap::set`].
pub fn run(
    core: &Core,
    permit: Permit<op::DesSetKey>,
    name: &DesName,
    on: &On<'_>,
    ask: &Ask<'_>,
) -> Result<Reply, Failure> {
    let gives = on.permit && permit.administrator();
    let taken = taking::run(core, permit, ask, Concern::Set(name), |txn| {
        let (mut set, key) = (txn.set(name)?, txn.key(on.key)?);
        let version = on.version.unwrap_or(key.newest().version);
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
    match taken {
        Taken::Would(impact) => Ok(Reply::Impact(impact)),
        Taken::Done { .. } => Ok(Reply::Rewrapped { rewrapped: rewrap::set(core, name)? }),
    }
}
