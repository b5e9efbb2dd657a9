//! Verbs on disks, snapshots and images.

use std::path::PathBuf;

use clap::Subcommand;
use keyd_client::{
    DiskId,
    message::{DiskAbandon, DiskConfirm, DiskDerive, DiskErase, DiskMove, DiskShow},
};

pub(super) const EXAMPLES: &str = "\
Disks are made by 'image create'. A disk is named by the id that 'image info' and 'keyd disk list' print.

Examples:
  keyd disk list --json | jq -r '.[] | select(.key_enabled | not) | .id'
  keyd disk show ID                            # which process holds its key
  keyd disk move ID --to bank-disks            # while it runs
  keyd disk derive ID --kind snapshot
  keyd disk release-key ID --to volume-key     # break-glass, for cryptsetup
  keyd disk erase ID --dry-run                 # then --token: what is on it can never be read again";

/// Verbs on disks, snapshots and images.
#[derive(Debug, Subcommand)]
pub enum Disk {
    /// All disks, snapshots and images
    List,
    /// One disk and who holds it
    Show(DiskShow),
    /// Make the record of a snapshot, an image, or a disk made from one; it has its source's key
    Derive(DiskDerive),
    /// Say that a new disk's image is durable; who makes it does so
    Confirm(DiskConfirm),
    /// Forget a disk whose image was never written
    Abandon(DiskAbandon),
    /// Move a disk to another disk encryption set, while it runs
    Move(DiskMove),
    /// Destroy a disk's key: what is on its image can never be read again
    Erase(DiskErase),
    /// Break-glass: write a disk's plaintext volume key to a new file, mode 0600
    ReleaseKey {
        /// Which
        id: DiskId,
        /// A file that does not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}
