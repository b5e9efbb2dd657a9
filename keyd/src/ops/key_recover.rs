//! Brings a deleted key back, as it was.

use keyd_client::{
    KeyId,
    message::{Reply, Revocation},
};

use super::{
    status::{self, Versions},
    taking,
};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// Recovers a key and tells every parked holder under it.
///
/// # Errors
/// [`crate::error::Refused::NoKey`], [`crate::error::Refused::NotDeleted`].
pub fn run(core: &Core, permit: Permit<op::KeyRecover>, id: &KeyId) -> Result<Reply, Failure> {
    let (key, enforced, _) = taking::commit(core, &permit, |txn| {
        let mut key = txn.key(id)?;
        key.recover()?;
        txn.put_key(&key)?;
        Ok((status::key(txn, &key, Versions::All)?, permit.entry(id)))
    })?;
    let granted = enforced.granted;
    Ok(Reply::KeyChanged { key, revocation: Revocation::default(), granted })
}
