//! May a set have its disks' DEKs now? The one place where everything that can take a key away comes together: the
//! key's state, its version's state and operations, its validity, and the permissions of the set's identity.

use keyd_client::{
    KeyVersion, Principal,
    message::{KeyOperation, OnExpiry, UnixMillis},
    permission::KeyPermission,
};

use super::{des::Des, key::Key, vault::Vault, version::Version};
use crate::error::Refused;

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To wrap a DEK.
    Wrap,
    /// To take a DEK for a disk that does not have it.
    Attach,
    /// To go on with it, or to have it again.
    Keep,
}

impl Use {
    fn operation(self) -> KeyOperation {
        match self {
            Self::Wrap => KeyOperation::WrapKey,
            Self::Attach | Self::Keep => KeyOperation::UnwrapKey,
        }
    }

    /// What a set's identity needs for it. Azure asks for all three at all times; here each use asks for its own, so
    /// that taking `wrapKey` away stops new disks and rotations and halts nobody.
    fn permissions(self) -> [KeyPermission; 2] {
        match self {
            Self::Wrap => [KeyPermission::Get, KeyPermission::WrapKey],
            Self::Attach | Self::Keep => [KeyPermission::Get, KeyPermission::UnwrapKey],
        }
    }
}

/// The permissions of a set's identity in its key's vault (Azure: Key Vault Crypto Service Encryption User).
pub const IDENTITY_NEEDS: [KeyPermission; 3] =
    [KeyPermission::Get, KeyPermission::WrapKey, KeyPermission::UnwrapKey];

/// The version, if the set may use it so now.
///
/// # Errors
/// The reason why not: [`Refused::IdentityLacks`]; [`Refused::NotYetValid`], [`Refused::Expired`], [`Refused::Ended`]
/// as the set's [`OnExpiry`] has it; and those of [`Key::usable`].
pub fn right<'key>(
    vault: &Vault,
    set: &Des,
    key: &'key Key,
    version: KeyVersion,
    what_for: Use,
    now: UnixMillis,
) -> Result<&'key Version, Refused> {
    // The daemon's own key needs nobody's permission.
    if !key.platform {
        identity(vault, set, what_for)?;
    }
    let part = key.part(version);
    let version = key.usable(version, what_for.operation(), now).map_err(|why| told(set, why))?;
    let validity_counts = match (what_for, set.terms.on_expiry) {
        (Use::Wrap, _) | (Use::Attach | Use::Keep, OnExpiry::Revoke) => true,
        (Use::Attach, OnExpiry::RefuseNew) => true,
        (Use::Attach, OnExpiry::Ignore) | (Use::Keep, _) => false,
    };
    if validity_counts {
        version.valid(&part, now).map_err(|why| told(set, why))?;
    }
    Ok(version)
}

/// The way out of an end is another where the set takes it for a loss.
fn told(set: &Des, why: Refused) -> Refused {
    match why {
        Refused::Expired(part) if set.terms.on_expiry == OnExpiry::Revoke => Refused::Ended(part),
        other => other,
    }
}

fn identity(vault: &Vault, set: &Des, what_for: Use) -> Result<(), Refused> {
    let identity = Principal::Des(set.name.clone());
    let lacks = |permission: &KeyPermission| !vault.permits(&identity, *permission);
    match what_for.permissions().into_iter().find(lacks) {
        Some(permission) => Err(Refused::IdentityLacks {
            set: set.name.clone(),
            vault: vault.name.clone(),
            permission,
            future: false,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
