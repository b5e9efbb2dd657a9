//! What the command line understands.

use std::{path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use keyd_client::{
    DesName, DiskId, KeyId,
    message::{Consent, OnRevoke as Wire},
};

use super::{
    args_audit::{Audit, KeepAudit},
    args_recovery::{Backup, Restore},
    args_root::{OpenRoot, Root},
};
use crate::{auth::Grant, root::RootKind};

const EXAMPLES: &str = "\
Examples:
  keyd serve --state-dir /var/lib/keyd
  keyd key create prod --bits 3072
  keyd des create prod-disks --key prod --lease 30s
  keyd key disable prod          # halts I/O on every disk under it
  keyd key enable prod           # and lets it go on
  keyd key rotate prod
  keyd disk list --json
  keyd disk release-key ID --to volume-key
  keyd audit verify
  keyd backup --to keyd.age --recipient age1…

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no daemon at the socket";

/// The key daemon of Portcullis, and its command line.
#[derive(Debug, Parser)]
#[command(name = "keyd", version, after_help = EXAMPLES)]
pub struct Args {
    /// Socket of the daemon
    #[arg(
        long,
        global = true,
        env = "KEYD_SOCKET",
        default_value = "/run/keyd/keyd.sock",
        value_name = "PATH"
    )]
    pub socket: PathBuf,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon; it logs to standard error and ends on SIGTERM
    Serve(Serve),
    /// Keys: create, list, show, enable, disable, rotate
    #[command(subcommand)]
    Key(Key),
    /// Disk encryption sets: create, list, show
    #[command(subcommand)]
    Des(Des),
    /// Disks: list, show, release-key
    #[command(subcommand)]
    Disk(Disk),
    /// The audit log: tail, verify, archive, reanchor
    #[command(subcommand)]
    Audit(Audit),
    /// The root key: show, move, change-passphrase
    #[command(subcommand)]
    Root(Root),
    /// Write the whole state into a file, sealed to a recovery recipient
    Backup(Backup),
    /// Bring a backup back in a new state directory
    Restore(Restore),
}

/// Options of the daemon.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Permissions: attach, create-disk, read, manage-keys, release-key, audit. The owner of the state directory has all.

Examples:
  keyd serve --state-dir /var/lib/keyd
  keyd serve --state-dir ./state --socket ./keyd.sock --grant libvirt-qemu=attach --grant 1000=read,audit")]
pub struct Serve {
    /// Directory of the root key, the store and the audit log; made at the first start
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Who may connect: the owner (0600), or the group of the daemon too (0660)
    #[arg(long, value_enum, default_value = "0600", value_name = "MODE")]
    pub socket_mode: SocketMode,
    /// Permissions of a user other than the owner; may be given several times
    #[arg(long, value_name = "USER=PERM,PERM")]
    pub grant: Vec<Grant>,
    /// Where the root key is put at the first start; later it is found
    #[arg(long, value_enum, value_name = "KIND")]
    pub root: Option<RootKind>,
    /// How the root key is opened, and the token for keys.
    #[command(flatten)]
    pub open: OpenRoot,
    /// How the audit log is kept.
    #[command(flatten)]
    pub audit: KeepAudit,
}

/// Permission bits of the socket.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SocketMode {
    /// The owner.
    #[value(name = "0600")]
    Owner,
    /// The owner and the group.
    #[value(name = "0660")]
    Group,
}

/// Verbs on keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make an RSA key
    Create {
        /// Its name: letters, digits, hyphens
        name: KeyId,
        /// Modulus length: 2048, 3072 or 4096
        #[arg(long, default_value_t = 3072)]
        bits: u32,
        /// Make it in the hardware security module, where it stays
        #[arg(long)]
        hsm: bool,
    },
    /// All keys
    List,
    /// One key and its versions
    Show {
        /// Which
        name: KeyId,
    },
    /// Bring a key back: I/O under it goes on
    Enable {
        /// Which
        name: KeyId,
    },
    /// Take a key away: I/O on every disk under it halts
    Disable {
        /// Which
        name: KeyId,
        /// How sure the asker is
        #[command(flatten)]
        sure: Sure,
        /// Wait for every holder's confirmation, for so long at most
        #[arg(long, value_parser = duration, num_args = 0..=1, default_missing_value = "2h", value_name = "TIME")]
        wait: Option<Duration>,
    },
    /// Make a new version and wrap every disk's key anew; running disks notice nothing
    Rotate {
        /// Which
        name: KeyId,
    },
}

/// Verbs on disk encryption sets.
#[derive(Debug, Subcommand)]
pub enum Des {
    /// Make a disk encryption set
    Create {
        /// Its name: letters, digits, hyphens
        name: DesName,
        /// The key that wraps its disks' keys
        #[arg(long)]
        key: KeyId,
        /// What its disks do when the key is taken away
        #[arg(long, value_enum, default_value = "park")]
        on_revoke: OnRevoke,
        /// How long a disk runs on without hearing from keyd, such as 30s, 500ms or 5m
        #[arg(long, default_value = "60s", value_parser = duration)]
        lease: Duration,
    },
    /// All disk encryption sets
    List,
    /// One disk encryption set
    Show {
        /// Which
        name: DesName,
    },
}

/// [`Wire`], as the command line says it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OnRevoke {
    /// Hold the guest's requests; go on when the key is back
    Park,
    /// Answer the guest's requests with errors until the key is back
    Fail,
    /// Nothing while a disk is attached; refuse the next attach
    Deferred,
    /// Answer with errors an hour later, as the cloud does
    #[value(name = "azure-1h")]
    Azure1h,
}

impl From<OnRevoke> for Wire {
    fn from(on_revoke: OnRevoke) -> Self {
        match on_revoke {
            OnRevoke::Park => Self::Park,
            OnRevoke::Fail => Self::Fail,
            OnRevoke::Deferred => Self::Deferred,
            OnRevoke::Azure1h => Self::Azure1h,
        }
    }
}

/// How sure the asker of a verb is that takes keys away.
#[derive(Debug, ClapArgs)]
pub struct Sure {
    /// Only tell what would be hit
    #[arg(long, conflicts_with_all = ["force", "token"])]
    pub dry_run: bool,
    /// Do it whatever is hit
    #[arg(long, conflicts_with = "token")]
    pub force: bool,
    /// Do it if it hits what the dry run that printed this token told
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
}

impl From<Sure> for Consent {
    fn from(sure: Sure) -> Self {
        match sure {
            Sure { dry_run: true, .. } => Self::DryRun,
            Sure { force: true, .. } => Self::Force,
            Sure { token: Some(token), .. } => Self::Token(token),
            Sure { .. } => Self::IfUnused,
        }
    }
}

/// Verbs on disks.
#[derive(Debug, Subcommand)]
pub enum Disk {
    /// All disks
    List,
    /// One disk and who holds it
    Show {
        /// Which
        id: DiskId,
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

/// A whole number and `ms`, `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: write it as 30s, 500ms, 5m or 1h");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let total = number.checked_mul(millis).ok_or_else(wrong)?;
    Ok(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "30", "s", "-1s", "1.5s", "30 s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
