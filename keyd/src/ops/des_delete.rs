//! Forgets a set that has no disks.

use keyd_client::DesName;

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    store::View,
};

/// Forgets a set, and takes its identity's permissions away in every vault: a later set of the same name starts with
/// none.
///
/// # Errors
/// [`Refused::NoSet`], [`Refused::OwnSet`], [`Refused::SetInUse`].
pub fn run(core: &Core, permit: Permit<op::DesDelete>, name: &DesName) -> Result<(), Failure> {
    core.commit(&permit, |txn| {
        let set = txn.set(name)?;
        if set.key.vault.is_platform() {
            return Err(Refused::OwnSet(name.clone()).into());
        }
        let disks = txn.count_in(&set)?;
        if disks > 0 {
            return Err(Refused::SetInUse(name.clone(), disks).into());
        }
        let identity = set.identity();
        for mut vault in txn.vaults()? {
            if !vault.policy(&identity).is_empty() {
                vault.permit(identity.clone(), [].into())?;
                txn.put_vault(&vault)?;
            }
        }
        txn.remove_grants_of(&identity)?;
        txn.remove_set(name)?;
        Ok(((), permit.entry(name)))
    })
}
