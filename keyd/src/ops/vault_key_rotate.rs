//! Rotates a key as Key Vault does (row 3): it answers when the new version is there and the DEKs under the sets that
//! follow the key are wrapped anew, as far as that takes a few seconds; [`super::due`] does the rest.

use keyd_client::{KeyId, message::KeyRotate};

use super::{rotate, rotation_end, vault_key_get};
use crate::{auth::Permit, core::Core, error::Failure, keyvault::reply::KeyView};

/// Makes a version and lets the sets that follow the key follow.
///
/// # Errors
/// Those of [`rotate::new_version`].
pub fn run(core: &Core, permit: Permit<KeyRotate>, id: &KeyId) -> Result<KeyView, Failure> {
    let followers = rotate::permitted(core, &permit, id)?;
    rotation_end::within_time(core, &followers);
    vault_key_get::alive(&core.store.snapshot()?, id, None)
}
