//! What the command line understands of backup and restore.

use std::path::PathBuf;

use clap::Args;

use super::root::OpenRoot;
use crate::root::RootKind;

/// Options of a backup.
#[derive(Debug, Args)]
#[command(after_help = "\
The recipient is a public key of age(1): 'age-keygen -o identity' makes a pair. Keep the identity off this host; who has
it and a backup has every key. Keys in an HSM are not in the backup.

Examples:
  keyd backup --to /mnt/keyd.age --recipient age1…
  keyd backup --to keyd.age --recipient age1… --state-dir /var/lib/keyd    # while no daemon runs")]
pub struct Backup {
    /// A file that does not exist
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Who can open it; may be given several times
    #[arg(long, required = true, value_name = "AGE1…")]
    pub recipient: Vec<String>,
    /// Take it from this state directory, on which no daemon runs, instead of asking the daemon
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How its root key is opened.
    #[command(flatten)]
    pub open: OpenRoot,
}

/// Options of a restore.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keyd restore --from keyd.age --identity identity --state-dir /var/lib/keyd
  keyd restore --from keyd.age --identity identity --state-dir /var/lib/keyd --root passphrase")]
pub struct Restore {
    /// The backup
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// File with the secret key that opens it, as age-keygen writes it
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    /// A directory that does not exist or is empty
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where its root key is put
    #[arg(long, value_enum, default_value = "file", value_name = "KIND")]
    pub root: RootKind,
    /// What that takes.
    #[command(flatten)]
    pub open: OpenRoot,
}
