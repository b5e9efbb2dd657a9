//! What principals may do in the daemon as a whole.

use std::collections::BTreeSet;

use clap::Args;
use keyd_client::{Principal, permission::Permission};

use super::value::names;
use crate::auth::grants::principal;

pub(super) const EXAMPLES: &str = "\
Permissions:
  attach        take disks' keys under a lease, as vhost-backend does
  create-disk   make disks, snapshots and images
  read          list and show vaults, keys, sets and disks
  manage-keys   everything in every vault but purge; make vaults and sets
  release-key   get a disk's plaintext key for good
  audit         read and check the audit log
  administer    everything, and giving permissions to others

Examples:
  keyd grant --list
  keyd grant libvirt-qemu attach,create-disk
  keyd grant uid:1000 audit --add
  keyd grant app:ci none";

/// What a principal may do in the daemon as a whole, instead of what it was.
#[derive(Debug, Args)]
pub struct Grant {
    /// Who: a user's name or number, uid:1000, app:NAME
    #[arg(value_parser = principal, required_unless_present = "list")]
    pub principal: Option<Principal>,
    /// What, or 'none'
    #[arg(
        value_parser = names::<Permission>,
        value_name = "PERM,PERM",
        required_unless_present = "list"
    )]
    pub permissions: Option<BTreeSet<Permission>>,
    /// Add to what it may do already
    #[arg(long)]
    pub add: bool,
    /// Who may do what, and who says so
    #[arg(long, conflicts_with_all = ["principal", "permissions", "add"])]
    pub list: bool,
}
