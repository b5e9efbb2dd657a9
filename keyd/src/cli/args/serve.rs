//! Options of the daemon.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use confine::user::Account;

use super::{audit::KeepAudit, http::HttpArgs, recovery::KeepBackups, root::OpenRoot};
use crate::{auth::Grant, root::RootKind, sandbox::Wishes};

const EXAMPLES: &str = "\
Permissions: attach and create-disk, each with the disks it is for (attach:des=SET, attach:disk=ID, attach:all-disks);
read, manage-keys, release-key, audit, administer. The owner of the state directory has all. What is granted here
holds as long as the daemon runs; 'keyd grant' grants for good.

Examples:
  keyd serve --state-dir /var/lib/keyd
  keyd serve --state-dir /var/lib/keyd --backup-to /mnt/keyd --recipient age1…    # a sealed backup an hour
  keyd serve --state-dir ./state --socket ./keyd.sock --grant libvirt-qemu=attach:des=prod-disks --grant 1000=read,audit";

/// Options of the daemon.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
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
    /// Where it listens beside its socket.
    #[command(flatten)]
    pub http: HttpArgs,
    /// How the audit log is kept.
    #[command(flatten)]
    pub audit: KeepAudit,
    /// Backups that it keeps by itself.
    #[command(flatten)]
    pub backups: KeepBackups,
    /// What it gives up.
    #[command(flatten)]
    pub confine: Confine,
}

/// What the daemon gives up, beside what it always does: see THREAT-MODEL.md.
#[derive(Debug, Args)]
pub struct Confine {
    /// Directory where 'keyd backup', 'keyd audit archive' and a PKCS#11 module may write; beside these the daemon
    /// writes nowhere but into its state directory; may be given several times
    #[arg(long, value_name = "DIR")]
    pub writable: Vec<PathBuf>,
    /// Become this user before anything is opened; takes root
    #[arg(long, value_name = "NAME|UID[:GID]")]
    pub user: Option<Account>,
    /// Do not start on a kernel, or in a container, that lacks a part of the sandbox
    #[arg(long)]
    pub require_sandbox: bool,
}

impl From<Confine> for Wishes {
    fn from(confine: Confine) -> Self {
        Self { user: confine.user, writable: confine.writable, required: confine.require_sandbox }
    }
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
