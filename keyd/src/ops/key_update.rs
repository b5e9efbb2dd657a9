//! Changes attributes of a key's versions: also takes it away by them, and brings it back.

use keyd_client::{
    KeyId, KeyVersion,
    message::{KeyChange, Reply},
};

use super::{
    status::{self, Versions},
    taking::{self, Ask, Concern, Taken},
};
use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// Which versions, and what of them.
#[derive(Debug, Clone)]
pub struct Update<'a> {
    /// The key.
    pub key: &'a KeyId,
    /// One version, or all.
    pub version: Option<KeyVersion>,
    /// What.
    pub change: &'a KeyChange,
}

/// Changes one version, or all. Holders who lose their right by it are told to let go, those who regain it that it is
/// back.
///
/// # Errors
/// [`crate::error::Refused::NoKey`], [`crate::error::Refused::NoVersion`], and those of [`taking::run`].
pub fn run(
    core: &Core,
    permit: Permit<op::KeyUpdate>,
    update: &Update<'_>,
    ask: &Ask<'_>,
) -> Result<Reply, Failure> {
    let Update { key: id, version, change } = update;
    let taken = taking::run_as(core, permit, class(change), ask, Concern::Key(id), |txn| {
        let mut key = txn.key(id)?;
        key.change(*version, change, core.now())?;
        txn.put_key(&key)?;
        Ok(told(*version, change))
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

/// To switch off, and nothing else, only takes away.
fn class(change: &KeyChange) -> Class {
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    if *change == off { Class::Withdrawal } else { Class::Use }
}

fn told(version: Option<KeyVersion>, change: &KeyChange) -> String {
    let operations = change.operations.as_ref().map(|operations| {
        operations.iter().map(|operation| operation.name()).collect::<Vec<_>>().join(",")
    });
    let parts = [
        Some(version.map_or_else(|| "versions=all".to_owned(), |v| format!("version={v}"))),
        change.enabled.map(|enabled| format!("enabled={enabled}")),
        change.not_before.map(|from| format!("nbf={from}")),
        change.expires.map(|until| format!("exp={until}")),
        operations.map(|operations| format!("key_ops={operations}")),
        change.tags.as_ref().map(|tags| format!("tags={}", tags.len())),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
