//! Takes a key away: committed first, then announced.

use keyd_client::{KeyName, message::Reply};

use super::status::{self, Versions};
use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::Failure,
    lock::lock,
    store::View,
};

/// Disables every version. From the commit on no unwrap succeeds; then every holder is told to let go.
///
/// # Errors
/// [`crate::error::Refused::NoKey`], [`crate::error::Refused::PlatformSwitch`].
pub fn run(core: &Core, permit: Permit<op::KeyDisable>, name: &KeyName) -> Result<Reply, Failure> {
    let _in_order = lock(&core.switching);
    let (stored, key) = core.store.commit(|txn| {
        let mut key = txn.key(name)?;
        key.switch(false)?;
        txn.put_key(&key)?;
        let held = core.leases.held_under(name);
        let detail = format!("versions={} held={held}", key.versions().len());
        let status = status::key(txn, &key, Versions::All)?;
        Ok(((key, status), permit.entry(name).class(Class::Withdrawal).detail(detail)))
    })?;
    let reason = format!("key '{name}' was disabled");
    let notified = core.leases.revoke(name, &reason);
    core.keyring.forget(&stored);
    Ok(Reply::KeySwitched { key, notified })
}
