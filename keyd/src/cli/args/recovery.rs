//! What the command line understands of backup and restore, and of a check of what is there.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use keyd_client::number;

use keyd_client::value::duration;

use super::root::OpenRoot;
use crate::{backups::Keep, limits::BACKUPS_KEPT, recovery, root::RootKind};

/// Backups that the daemon keeps by itself.
#[derive(Debug, Args)]
pub struct KeepBackups {
    /// Keep sealed backups in this directory, best on another disk: each is checked, and only then the oldest goes
    #[arg(long, requires = "recipient", value_name = "DIR")]
    pub backup_to: Option<PathBuf>,
    /// Time from one backup to the next
    #[arg(long, requires = "backup_to", default_value = "1h", value_parser = duration, value_name = "TIME")]
    pub backup_every: Duration,
    /// How many backups stay
    #[arg(long, requires = "backup_to", default_value_t = BACKUPS_KEPT, value_parser = number::<usize>(1..=u64::MAX, BACKUPS_KEPT as u64), value_name = "NUMBER")]
    pub backup_keep: usize,
    /// Who can open the backups; may be given several times
    #[arg(long, requires = "backup_to", value_name = "AGE1…")]
    pub recipient: Vec<String>,
}

impl KeepBackups {
    /// What is asked, if it is asked.
    ///
    /// # Errors
    /// A time that is too short, or a recipient that is none.
    pub fn keep(self) -> Result<Option<Keep>, Box<dyn std::error::Error>> {
        let Some(to) = self.backup_to else {
            return Ok(None);
        };
        recovery::recipients(&self.recipient)?;
        if self.backup_every < Duration::from_secs(1) {
            return Err("--backup-every takes 1s or more".into());
        }
        let (every, keep) = (self.backup_every, self.backup_keep);
        Ok(Some(Keep { to, every, recipients: self.recipient, keep }))
    }
}

/// Options of a check.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 5 if something is damaged. keyd does the same without --deep at each start, before each backup, and once
a day.

Examples:
  keyd check
  keyd check --deep             # opens every disk's key, too; it goes nowhere
  keyd check --accept-damage    # when there is no backup: give up what is damaged, and go on")]
pub struct Check {
    /// Open the key of every disk, and compare it with its digest
    #[arg(long)]
    pub deep: bool,
    /// Give up for good what is damaged, and take the rest as it is
    #[arg(long, conflicts_with = "deep")]
    pub accept_damage: bool,
}

/// Options of an upgrade.
#[derive(Debug, Args)]
#[command(after_help = "\
Needed once, after an update from a keyd whose records were not authenticated: they are taken as they are. Make sure
first that nobody changed them; a backup from before is of use only to such a keyd.

Examples:
  keyd upgrade --state-dir /var/lib/keyd    # while no daemon runs")]
pub struct Upgrade {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// How its root key is opened.
    #[command(flatten)]
    pub open: OpenRoot,
}

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
