//! Brings a key back from its backup as Key Vault does (row 14): under its name, into any vault of the daemon that
//! backed it up. Its versions keep their numbers, so what they wrapped can be unwrapped.

use keyd_client::{KeyId, Principal, VaultName};

use super::{key, vault_key_backup::PURPOSE, vault_key_get};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    keyvault::reply::KeyView,
    model::key::Key,
    store::{Purged, Txn},
};

/// What became of it.
#[derive(Debug)]
pub enum Restored {
    /// The key is back.
    Done(Box<KeyView>),
    /// So many of its versions were purged; another principal must ask for the same.
    Asked(u64),
}

/// Opens a backup, binds its private keys to the vault, and stores the key as it was. What was purged comes back when
/// two principals have asked for it: one alone could undo what it took two to do.
///
/// # Errors
/// [`Refused::KeyBackup`], and those of [`key::creatable`].
pub fn run(
    core: &Core,
    permit: Permit<op::KeyRestore>,
    vault: &VaultName,
    blob: &[u8],
) -> Result<Restored, Failure> {
    let opened = core.keyring.open_blob(PURPOSE, blob)?.ok_or(Refused::KeyBackup)?;
    let key: Key = serde_json::from_slice(&opened)?;
    let (from, to) = (key.id.clone(), KeyId::new(vault.clone(), key.id.name.clone()));
    let key = key.moved(to.clone(), |version| core.keyring.reseal((&from, &to), version))?;
    core.commit(&permit, |txn| {
        key::creatable(txn, &to)?;
        let (purged, waiting) = ask(txn, &key, &permit.caller().principal)?;
        let detail = format!("from={from} versions={} purged={purged}", key.versions().len());
        if waiting > 0 {
            let detail = format!("{detail} another principal must ask too");
            return Ok((
                Restored::Asked(purged),
                permit.entry(&to).outcome("asked").detail(detail),
            ));
        }
        txn.put_key(&key)?;
        let view = vault_key_get::alive(txn, &to, None)?;
        Ok((Restored::Done(Box::new(view)), permit.entry(&to).detail(detail)))
    })
}

/// How many of a key's versions were purged, and for how many of those nobody else has asked before.
fn ask(txn: &Txn<'_>, key: &Key, who: &Principal) -> Result<(u64, u64), Failure> {
    let (mut purged, mut waiting) = (Vec::new(), 0);
    for number in key.versions().iter().map(|version| version.version) {
        if let Some(mut tombstone) = txn.tombstone(number)? {
            waiting += u64::from(!tombstone.ask(who, &key.id.vault));
            purged.push((number, tombstone));
        }
    }
    for (number, tombstone) in &purged {
        match waiting {
            0 => txn.remove_tombstone(*number)?,
            _ => txn.put_tombstone(*number, tombstone)?,
        }
    }
    Ok((purged.len() as u64, waiting))
}
