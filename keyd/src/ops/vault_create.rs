//! Makes a vault.

use keyd_client::{VaultName, message::VaultStatus};

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    limits::VAULTS_MAX,
    model::vault::Vault,
    store::View,
};

/// Makes a vault in which nobody but those who manage all keys may do anything.
///
/// # Errors
/// [`Refused::VaultExists`], [`Refused::TooManyVaults`], [`Refused::Retention`].
pub fn run(
    core: &Core,
    permit: Permit<op::VaultCreate>,
    name: &VaultName,
    retention_days: u16,
    purge_protection: bool,
) -> Result<VaultStatus, Failure> {
    core.commit(&permit, |txn| {
        if txn.find_vault(name)?.is_some() {
            return Err(Refused::VaultExists(name.clone()).into());
        }
        if txn.vaults()?.len() >= VAULTS_MAX {
            return Err(Refused::TooManyVaults.into());
        }
        let vault = Vault::new(name.clone(), retention_days, purge_protection, core.now())?;
        txn.put_vault(&vault)?;
        let detail = format!("retention-days={retention_days} purge-protection={purge_protection}");
        Ok((vault.status(0), permit.entry(name).detail(detail)))
    })
}
