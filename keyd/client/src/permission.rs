//! What can be permitted: in a vault, by Key Vault's names; in the daemon as a whole, by our own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// No such permission.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no permission '{name}': there are {known}")]
pub struct UnknownPermission {
    name: String,
    known: String,
}

macro_rules! permissions {
    ($(#[$doc:meta])* $type:ident { $($(#[$item_doc:meta])* $item:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$item_doc])* #[serde(rename = $name)] $item,)*
        }

        impl $type {
            /// All of them, in the order of the help text.
            pub const ALL: &[Self] = &[$(Self::$item),*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$item => $name,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownPermission;

            fn from_str(name: &str) -> Result<Self, UnknownPermission> {
                let found = Self::ALL.iter().find(|p| p.name().eq_ignore_ascii_case(name));
                found.copied().ok_or_else(|| UnknownPermission {
                    name: name.chars().take(64).collect(),
                    known: Self::ALL.iter().map(|p| p.name()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

permissions! {
    /// What a vault's access policy can permit; names as in Key Vault's access policies.
    KeyPermission {
        /// Read a key's public part, its attributes and versions.
        Get = "get",
        /// List keys, versions, deleted keys.
        List = "list",
        /// Change attributes, operations and tags: also disable and enable.
        Update = "update",
        /// Make a key or a new version of one.
        Create = "create",
        /// Bring a key's own private part.
        Import = "import",
        /// Delete a key, softly.
        Delete = "delete",
        /// Bring a deleted key back.
        Recover = "recover",
        /// Take a key out in sealed form.
        Backup = "backup",
        /// Bring that back in.
        Restore = "restore",
        /// Decrypt.
        Decrypt = "decrypt",
        /// Encrypt.
        Encrypt = "encrypt",
        /// Unwrap.
        UnwrapKey = "unwrapKey",
        /// Wrap.
        WrapKey = "wrapKey",
        /// Verify a signature.
        Verify = "verify",
        /// Sign.
        Sign = "sign",
        /// Destroy a deleted key before its time.
        Purge = "purge",
        /// Rotate.
        Rotate = "rotate",
        /// Read a rotation policy.
        GetRotationPolicy = "getrotationpolicy",
        /// Set a rotation policy.
        SetRotationPolicy = "setrotationpolicy",
    }
}

permissions! {
    /// What can be granted in the daemon as a whole, or for some disks.
    Permission {
        /// Take disks' DEKs under a lease; make snapshots and images, with the next one too.
        Attach = "attach",
        /// Make disks; confirm, abandon and grow one's own.
        CreateDisk = "create-disk",
        /// List and show keys, sets, vaults and disks.
        Read = "read",
        /// See disks' wrapped DEKs: with the private key under which they are wrapped, their DEKs.
        ReadWrapped = "read-wrapped",
        /// Everything a vault's policy can permit, in every vault, but purge; make vaults and sets.
        ManageKeys = "manage-keys",
        /// Get a DEK for good.
        ReleaseKey = "release-key",
        /// Read and check the audit log.
        Audit = "audit",
        /// Everything, and giving permissions to others.
        Administer = "administer",
    }
}

impl Permission {
    /// Whether it is for disks: then which ones has to be said.
    #[must_use]
    pub fn is_for_disks(self) -> bool {
        matches!(self, Self::Attach | Self::CreateDisk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_unknown_ones_are_told_what_there_is() {
        for permission in KeyPermission::ALL {
            assert_eq!(permission.name().parse(), Ok(*permission));
        }
        assert_eq!("UNWRAPKEY".parse(), Ok(KeyPermission::UnwrapKey));
        let error = "unwrap".parse::<KeyPermission>().unwrap_err().to_string();
        assert!(error.contains("no permission 'unwrap'") && error.contains("unwrapKey"), "{error}");
        assert_eq!("create-disk".parse(), Ok(Permission::CreateDisk));
    }
}
