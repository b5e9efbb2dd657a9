//! Gives random bytes (row 23; in Azure of a managed HSM). They are nobody's: nothing is used by it, and nothing
//! written down.

use aws_lc_rs::rand;
use keyd_client::VaultName;
use zeroize::Zeroizing;

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Fault},
    keyvault::Octets,
    store::View,
};

/// So many random bytes.
///
/// # Errors
/// [`crate::error::Refused::NoVault`], [`Fault::Random`].
pub fn run(
    core: &Core,
    _permit: Permit<op::VaultRandom>,
    vault: &VaultName,
    count: u8,
) -> Result<Octets, Failure> {
    core.store.snapshot()?.vault(vault)?;
    let mut bytes = Zeroizing::new(vec![0; usize::from(count)]);
    rand::fill(&mut bytes).map_err(|_| Fault::Random)?;
    Ok(bytes.into())
}
