//! What principals may do in the daemon as a whole, and with the disks of a set or one disk.

use std::collections::BTreeSet;

use clap::Args;
use keyd_client::{
    DesName, DiskId, Principal, Scope,
    permission::Permission,
    value::{names, principal},
};

use super::edit::How;

pub(super) const EXAMPLES: &str = "\
Permissions for disks, given for those of a set (--des), for one (--disk), or for all of them (--all-disks):
  attach        take disks' keys under a lease, as vhost-backend does
  create-disk   make disks; with 'attach', snapshots and images of them

Permissions in the daemon as a whole:
  read          list and show vaults, keys, sets and disks
  read-wrapped  see disks' wrapped keys in 'keyd disk show --json', with 'read'
  manage-keys   everything in every vault but purge; make vaults and sets
  release-key   get a disk's plaintext key for good
  audit         read and check the audit log
  administer    everything, and giving permissions to others

A process loses its disk's key when its user may not attach the disk any more. A disk that is moved to another set
takes with it what was granted for the disk, and not what was granted for the set.

Examples:
  keyd grant --list
  keyd grant libvirt-qemu attach,create-disk --des prod-disks
  keyd grant uid:1001 attach --disk 1f3e8c5e-4c4b-4b0c-9d2a-0c5d6b7f8a90
  keyd grant backup attach --all-disks
  keyd grant uid:1000 audit
  keyd grant libvirt-qemu attach --remove      # for every set and disk
  keyd grant app:ci read --set                 # and nothing else
  keyd grant app:ci none";

/// A change of what a principal may do.
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
    /// More, less, or something else
    #[command(flatten)]
    pub how: How,
    /// For which disks
    #[command(flatten)]
    pub disks: Disks,
    /// Also to an application or a set's identity that does not exist yet: whoever is made under that name has it
    #[arg(long)]
    pub future: bool,
    /// Who may do what, and who says so
    #[arg(
        long,
        conflicts_with_all = ["principal", "permissions", "how", "disks", "future"]
    )]
    pub list: bool,
}

/// Which disks a permission is for.
#[derive(Debug, Args)]
#[group(id = "disks", multiple = false)]
pub struct Disks {
    /// For the disks, snapshots and images of this set, those to come included
    #[arg(long, value_name = "SET")]
    des: Option<DesName>,
    /// For this disk, snapshot or image
    #[arg(long, value_name = "ID")]
    disk: Option<DiskId>,
    /// For every disk there is and will be
    #[arg(long)]
    all_disks: bool,
}

impl From<Disks> for Option<Scope> {
    fn from(disks: Disks) -> Self {
        match disks {
            Disks { des: Some(name), .. } => Some(Scope::Set(name)),
            Disks { disk: Some(id), .. } => Some(Scope::Disk(id)),
            Disks { all_disks: true, .. } => Some(Scope::All),
            Disks { .. } => None,
        }
    }
}
