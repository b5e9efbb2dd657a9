//! Verbs on vaults.

use std::collections::BTreeSet;

use clap::Subcommand;
use keyd_client::{Principal, VaultName, permission::KeyPermission};

use super::{
    consent::{Sure, Wait},
    edit::How,
    value::{names, retention},
};
use crate::{auth::grants::principal, limits::RETENTION_DAYS_MAX};

pub(super) const EXAMPLES: &str = "\
A principal is a user of this host (a name, a number, uid:1000), an application (app:ci), or the identity of a disk
encryption set (des:prod-disks), which must hold get, wrapKey and unwrapKey in its key's vault.

Permissions, as in Key Vault: get, list, create, import, update, delete, recover, backup, restore, wrapKey, unwrapKey,
encrypt, decrypt, purge, rotate, getrotationpolicy, setrotationpolicy; or none.

Examples:
  keyd vault create bank --retention 30 --purge-protection
  keyd vault permit bank alice get,list,create,update,rotate
  keyd vault permit bank app:ci get --set                # and nothing else
  keyd vault permit bank alice rotate --remove
  keyd vault permit bank des:prod-disks none --dry-run   # what that would halt
  keyd vault show bank";

/// Verbs on vaults.
#[derive(Debug, Subcommand)]
pub enum Vault {
    /// Make a vault
    Create {
        /// Its name: 3 to 24 letters, digits and hyphens
        name: VaultName,
        /// Days a deleted key can be recovered: 7 to 90, fixed for good
        #[arg(long, value_name = "DAYS", value_parser = retention, default_value_t = RETENTION_DAYS_MAX)]
        retention: u16,
        /// Keep deleted keys until their time is over, whoever wants to purge them; fixed for good
        #[arg(long)]
        purge_protection: bool,
    },
    /// All vaults
    List,
    /// One vault and who may do what in it
    Show {
        /// Which
        name: VaultName,
    },
    /// Switch purge protection on; it is never switched off again
    Protect {
        /// Which
        name: VaultName,
    },
    /// Let a principal do more in a vault, or less, or something else
    Permit {
        /// Which
        name: VaultName,
        /// Who
        #[arg(value_parser = principal)]
        principal: Principal,
        /// What, or 'none'
        #[arg(value_parser = names::<KeyPermission>, value_name = "PERM,PERM")]
        permissions: BTreeSet<KeyPermission>,
        /// More, less, or something else
        #[command(flatten)]
        how: How,
        /// Also to an application or a set's identity that does not exist yet: whoever is made under that name has it
        #[arg(long)]
        future: bool,
        /// How sure the asker is
        #[command(flatten)]
        sure: Sure,
        /// Whether to wait
        #[command(flatten)]
        wait: Wait,
    },
    /// Forget a vault that has no keys, deleted ones included
    Delete {
        /// Which
        name: VaultName,
    },
}
