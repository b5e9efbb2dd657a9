//! The command line of `image`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use keyd_client::DesName;

use crate::{SectorSize, size};

const EXAMPLES: &str = "\
Examples:
  image create web.img --size 10G                   a disk on the platform's key; 'image create web.img 10G' is the same
  image create db.img --size 1T --des prod          a disk on the key of the DES 'prod'
  image create /dev/vg/db --des prod --dense        a whole volume, every sector written
  image resize db.img --size 2T                     longer, while its VM runs
  image info web.img --json

Exit status: 0 done, 1 refused or failed (one line on standard error says what to do), 2 wrong usage.";

/// Encrypted disk images: standard LUKS2 files whose key the key daemon holds.
#[derive(Debug, Parser)]
#[command(name = "image", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Socket of the key daemon.
    #[arg(
        long,
        global = true,
        env = "KEYD_SOCKET",
        hide_env_values = true,
        default_value = "/run/keyd/keyd.sock"
    )]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make an encrypted disk, whole or not at all.
    Create(Create),
    /// Make a disk longer, also while a VM runs on it.
    ///
    /// A disk is never made smaller. A guest of QEMU sees the new size at once. Cloud Hypervisor cannot be told: its
    /// guest sees it when the VM is started anew.
    Resize(ResizeArgs),
    /// Tell what an image is; works without the daemon for what the header says.
    Info(InfoArgs),
}

/// A disk to be made.
#[derive(Debug, Args)]
pub struct Create {
    /// A file that does not exist yet, or a block device.
    pub path: PathBuf,
    /// The size may also stand here, as qemu-img has it.
    #[arg(value_name = "SIZE", value_parser = size::parse, conflicts_with = "size")]
    pub size_here: Option<u64>,
    /// Bytes a guest sees: a number, with K, M, G, T or P for binary units. A block device defaults to all that fits.
    #[arg(long, value_parser = size::parse, allow_hyphen_values = true)]
    pub size: Option<u64>,
    /// Disk encryption set; the platform's if none.
    #[arg(long, value_name = "NAME")]
    pub des: Option<DesName>,
    /// Block size of the disk and data unit of the cipher. A VM with SeaBIOS cannot boot from 4096-byte blocks; with
    /// UEFI it can.
    #[arg(long, value_name = "512|4096", default_value = "512", value_parser = sector_size)]
    pub sector_size: SectorSize,
    /// Write every sector now, as encrypted zeros; the disk is never punched.
    #[arg(long)]
    pub dense: bool,
    /// Overwrite a block device that holds data.
    #[arg(long)]
    pub force: bool,
}

/// A disk to be made longer.
#[derive(Debug, Args)]
pub struct ResizeArgs {
    /// The image.
    pub path: PathBuf,
    /// The size may also stand here, as qemu-img has it.
    #[arg(value_name = "SIZE", value_parser = size::parse, conflicts_with = "size")]
    pub size_here: Option<u64>,
    /// Bytes the guest is to see, as with 'create'. A block device defaults to all that fits.
    #[arg(long, value_parser = size::parse, allow_hyphen_values = true)]
    pub size: Option<u64>,
    /// For scripts: the daemon's record, and who holds the disk.
    #[arg(long)]
    pub json: bool,
}

/// An image to be told about.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// The image.
    pub path: PathBuf,
    /// For scripts.
    #[arg(long)]
    pub json: bool,
}

fn sector_size(text: &str) -> Result<SectorSize, &'static str> {
    text.parse().ok().and_then(SectorSize::from_bytes).ok_or("a sector has 512 or 4096 bytes")
}
