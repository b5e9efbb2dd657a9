//! Brings a key back: committed first, then announced.

use std::sync::Arc;

use keyd_client::{KeyName, message::Reply};

use super::{
    rewrap,
    status::{self, Versions},
};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    lock::lock,
    store::View,
};

/// Enables every version and tells every parked holder. A rotation that the disabling interrupted goes on.
///
/// # Errors
/// [`crate::error::Refused::NoKey`], [`crate::error::Refused::PlatformSwitch`].
pub fn run(
    core: &Arc<Core>,
    permit: Permit<op::KeyEnable>,
    name: &KeyName,
) -> Result<Reply, Failure> {
    let in_order = lock(&core.switching);
    let (stored, key) = core.store.commit(|txn| {
        let mut key = txn.key(name)?;
        key.switch(true)?;
        txn.put_key(&key)?;
        let detail = format!("versions={}", key.versions().len());
        let status = status::key(txn, &key, Versions::All)?;
        Ok(((key, status), permit.entry(name).detail(detail)))
    })?;
    let notified = core.leases.grant(name);
    drop(in_order);
    if stored.rotation.is_some() {
        rewrap::resume(core, name);
    }
    Ok(Reply::KeySwitched { key, notified })
}
