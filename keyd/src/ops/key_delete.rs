//! Deletes a key, softly: it is out of use, its name stays taken, and it can be recovered while its vault's retention
//! lasts.

use keyd_client::{KeyId, message::Reply};

use super::{
    status::{self, Versions},
    taking::{self, Ask, Concern, Taken},
};
use crate::{
    auth::{Permit, op},
    clock,
    core::Core,
    error::Failure,
    store::View,
};

/// Deletes a key with all its versions.
///
/// # Errors
/// [`crate::error::Refused::NoKey`], [`crate::error::Refused::PlatformKey`], [`crate::error::Refused::KeyDeleted`], and
/// those of [`taking::run`].
pub fn run(
    core: &Core,
    permit: Permit<op::KeyDelete>,
    id: &KeyId,
    ask: &Ask<'_>,
) -> Result<Reply, Failure> {
    let taken = taking::run(core, permit, ask, Concern::Key(id), |txn| {
        let (mut key, vault, now) = (txn.key(id)?, txn.vault(&id.vault)?, core.now());
        let purge_at = vault.purge_at(now);
        key.delete(now, purge_at)?;
        txn.put_key(&key)?;
        let until = clock::text(purge_at).replace(' ', "T");
        Ok(format!("versions={} recoverable-until={until}", key.versions().len()))
    })?;
    let view = core.store.snapshot()?;
    let key = view.key(id)?;
    core.keyring.forget_unusable(&key);
    match taken {
        Taken::Would(impact) => Ok(Reply::Impact(impact)),
        Taken::Done { revocation, granted } => {
            let key = status::key(&view, &key, Versions::All)?;
            Ok(Reply::KeyChanged { key, revocation, granted })
        }
    }
}
