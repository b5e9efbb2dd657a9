//! Verbs on the root key, and how the daemon opens it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    hsm::HsmConfig,
    root::{PassphraseSource, RootKind},
};

/// The token for keys that live in an HSM.
#[derive(Debug, Clone, Args)]
pub struct HsmArgs {
    /// PKCS#11 module of the HSM that keys may live in
    #[arg(long, value_name = "PATH", requires = "hsm_token", requires = "hsm_pin_file")]
    pub hsm_module: Option<PathBuf>,
    /// Label of its token
    #[arg(long, value_name = "LABEL", requires = "hsm_module")]
    pub hsm_token: Option<String>,
    /// File with the token's user PIN, mode 0600
    #[arg(long, value_name = "FILE", requires = "hsm_module")]
    pub hsm_pin_file: Option<PathBuf>,
}

impl HsmArgs {
    /// All of it, or nothing: clap has seen to that.
    #[must_use]
    pub fn config(self) -> Option<HsmConfig> {
        let (module, token) = self.hsm_module.zip(self.hsm_token)?;
        Some(HsmConfig { module, token, pin_file: self.hsm_pin_file? })
    }
}

/// How the root key is opened.
#[derive(Debug, Clone, Args)]
pub struct OpenRoot {
    /// File with the passphrase of the root key, mode 0600; else systemd's credential 'keyd-passphrase', else the
    /// terminal
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// The token.
    #[command(flatten)]
    pub hsm: HsmArgs,
}

impl OpenRoot {
    /// Where passphrases come from, and the token.
    #[must_use]
    pub fn parts(self, new_file: Option<PathBuf>) -> (PassphraseSource, Option<HsmConfig>) {
        (PassphraseSource { file: self.passphrase_file, new_file }, self.hsm.config())
    }
}

/// Verbs on the root key. The daemon must not be running.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Copies of a root key that was moved still open copies of the store that were made before and after.

Examples:
  keyd root show --state-dir /var/lib/keyd
  keyd root move --to passphrase --state-dir /var/lib/keyd
  keyd root move --to pkcs11 --state-dir /var/lib/keyd \\
      --hsm-module /usr/lib/softhsm/libsofthsm2.so --hsm-token keys --hsm-pin-file pin
  keyd root change-passphrase --state-dir /var/lib/keyd")]
pub enum Root {
    /// Where the root key lies
    Show {
        /// The daemon's state directory
        #[arg(long, value_name = "DIR")]
        state_dir: PathBuf,
    },
    /// Move the root key to a file, under a passphrase, or under a key of a token
    Move {
        /// Where to
        #[arg(long, value_enum, value_name = "KIND")]
        to: RootKind,
        /// The daemon's state directory
        #[arg(long, value_name = "DIR")]
        state_dir: PathBuf,
        /// File with the new passphrase, mode 0600; else the terminal
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
        /// How it is opened, and the token.
        #[command(flatten)]
        open: OpenRoot,
    },
    /// Seal the root key under another passphrase
    ChangePassphrase {
        /// The daemon's state directory
        #[arg(long, value_name = "DIR")]
        state_dir: PathBuf,
        /// File with the new passphrase, mode 0600; else the terminal
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
        /// How it is opened.
        #[command(flatten)]
        open: OpenRoot,
    },
}
