//! Options of the daemon.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{audit::KeepAudit, http::HttpArgs, root::OpenRoot};
use crate::{auth::Grant, root::RootKind};

const EXAMPLES: &str = "\
Permissions: attach, create-disk, read, manage-keys, release-key, audit, administer. The owner of the state directory
has all. What is granted here holds as long as the daemon runs; 'keyd grant' grants for good.

Examples:
  keyd serve --state-dir /var/lib/keyd
  keyd serve --state-dir ./state --socket ./keyd.sock --grant libvirt-qemu=attach --grant 1000=read,audit";

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
