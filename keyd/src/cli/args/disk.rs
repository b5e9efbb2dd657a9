//! Verbs on disks, snapshots and images.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use keyd_client::{DesName, DiskId, message::DiskKind};

use super::consent::Sure;

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
    Show {
        /// Which
        id: DiskId,
    },
    /// Make the record of a snapshot, an image, or a disk made from one; it has its source's key
    Derive {
        /// What it is made from
        source: DiskId,
        /// What it is
        #[arg(long, value_enum)]
        kind: Kind,
        /// Its set, which is its source's
        #[arg(long, value_name = "SET")]
        des: Option<DesName>,
    },
    /// Say that a new disk's image is durable; who makes it does so
    Confirm {
        /// Which
        id: DiskId,
    },
    /// Forget a disk whose image was never written
    Abandon {
        /// Which
        id: DiskId,
    },
    /// Move a disk to another disk encryption set, while it runs
    Move {
        /// Which
        id: DiskId,
        /// Where to
        #[arg(long, value_name = "SET")]
        to: DesName,
        /// How sure the asker is
        #[command(flatten)]
        sure: Sure,
    },
    /// Destroy a disk's key: what is on its image can never be read again
    Erase {
        /// Which
        id: DiskId,
        /// How sure the asker is
        #[command(flatten)]
        sure: Sure,
    },
    /// Break-glass: write a disk's plaintext volume key to a new file, mode 0600
    ReleaseKey {
        /// Which
        id: DiskId,
        /// A file that does not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

/// [`DiskKind`], as the command line says it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// A disk, from a snapshot or an image
    Disk,
    /// The state of a disk at a moment
    Snapshot,
    /// What new disks begin as, from a disk or a snapshot
    Image,
}

impl From<Kind> for DiskKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Disk => Self::Disk,
            Kind::Snapshot => Self::Snapshot,
            Kind::Image => Self::Image,
        }
    }
}
