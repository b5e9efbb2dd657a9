//! What the command line understands: here what is common to all, one file below for each group of verbs.

pub mod audit;
pub mod clock;
pub mod consent;
pub mod des;
pub mod disk;
pub mod edit;
pub mod grant;
pub mod http;
pub mod key;
pub mod principal;
pub mod recovery;
pub mod root;
pub mod serve;
mod value;
pub mod vault;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use audit::Audit;
pub use clock::ClockVerb;
pub use des::Des;
pub use disk::Disk;
pub use grant::Grant;
pub use http::CaVerb;
pub use key::Key;
pub use principal::{IdentityVerb, PrincipalVerb, TokenVerb};
pub use recovery::{Backup, Check, Restore, Upgrade};
pub use root::Root;
pub use serve::Serve;
pub use vault::Vault;

const EXAMPLES: &str = "\
Examples:
  keyd serve --state-dir /var/lib/keyd
  keyd key create prod --bits 3072
  keyd des create prod-disks --key prod --lease 30s
  keyd key disable prod --dry-run       # what it would halt
  keyd key disable prod --force --wait  # halts it, and shows that every process let go
  keyd key enable prod                  # and lets it go on
  keyd key rotate prod
  keyd status || echo 'somebody should look'
  keyd audit verify
  keyd backup --to keyd.age --recipient age1…

'keyd VERB --help' has more examples.

Exit codes:
  0  done
  1  refused or failed; one line on standard error says what to do
  2  wrong usage
  3  no daemon at the socket
  4  done, but with --wait: not every process has confirmed that it let go of its key
  5  'keyd status' has warnings, or 'keyd check' found damage
  6  noted: a purge waits until another principal asks for it too";

/// The key daemon of Portcullis, and its command line.
#[derive(Debug, Parser)]
#[command(name = "keyd", version, after_help = EXAMPLES)]
pub struct Args {
    /// Socket of the daemon
    #[arg(
        long,
        global = true,
        env = "KEYD_SOCKET",
        hide_env_values = true,
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
    Serve(Box<Serve>),
    /// How the daemon is, and what somebody should look at; exit code 5 if there is something
    Status,
    /// Keys: make, rotate, take away and bring back, delete, destroy
    #[command(subcommand, after_help = key::EXAMPLES)]
    Key(Key),
    /// Vaults: keys that are managed by the same people, and what those may do
    #[command(subcommand, after_help = vault::EXAMPLES)]
    Vault(Vault),
    /// Change what a principal may do in the daemon as a whole, and with which disks
    #[command(after_help = grant::EXAMPLES)]
    Grant(Grant),
    /// Disk encryption sets: one key for many disks, and what happens to them when it goes
    #[command(subcommand, after_help = des::EXAMPLES)]
    Des(Des),
    /// Disks, snapshots and images
    #[command(subcommand, after_help = disk::EXAMPLES)]
    Disk(Disk),
    /// The audit log
    #[command(subcommand, after_help = audit::EXAMPLES)]
    Audit(Audit),
    /// The host's clock: what keyd believes of it, and that it is right
    #[command(subcommand, after_help = clock::EXAMPLES)]
    Clock(ClockVerb),
    /// Applications: create, list, show, certificates, remove
    #[command(subcommand, after_help = principal::EXAMPLES)]
    Principal(PrincipalVerb),
    /// Bearer tokens of applications: create, list, revoke
    #[command(subcommand, after_help = principal::EXAMPLES)]
    Token(TokenVerb),
    /// Managed identities of applications: create, remove
    #[command(subcommand, after_help = principal::EXAMPLES)]
    Identity(IdentityVerb),
    /// The certification authority that keyd made for HTTPS: show
    #[command(subcommand, after_help = http::EXAMPLES)]
    Ca(CaVerb),
    /// The root key: show, move, change-passphrase
    #[command(subcommand)]
    Root(Root),
    /// Check every record of the state, and every disk's key; exit code 5 if something is damaged
    Check(Check),
    /// Take the store of an earlier keyd as it is
    Upgrade(Upgrade),
    /// Write the whole state into a file, sealed to a recovery recipient
    Backup(Backup),
    /// Bring a backup back in a new state directory
    Restore(Restore),
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
    fn every_group_of_verbs_has_examples() {
        for group in Args::command().get_subcommands().filter(|group| group.get_name() != "status")
        {
            let help = group.clone().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}", group.get_name());
        }
    }
}
