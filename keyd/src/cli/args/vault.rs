//! Verbs on vaults.

use clap::Subcommand;
use keyd_client::message::{
    VaultCreate, VaultDelete, VaultList, VaultPermit, VaultProtect, VaultShow,
};

use super::edit::How;

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
    Create(VaultCreate),
    /// All vaults
    List(VaultList),
    /// One vault and who may do what in it
    Show(VaultShow),
    /// Switch purge protection on; it is never switched off again
    Protect(VaultProtect),
    /// Let a principal do more in a vault, or less, or something else
    Permit {
        /// Who, where and what
        #[command(flatten)]
        ask: VaultPermit,
        /// More, less, or something else
        #[command(flatten)]
        how: How,
    },
    /// Forget a vault that has no keys, deleted ones included
    Delete(VaultDelete),
}
