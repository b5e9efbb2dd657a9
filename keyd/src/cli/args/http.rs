//! What the command line understands of HTTPS.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args as ClapArgs, Subcommand};

use crate::{
    front::http::doors::HttpOptions,
    tls::{DnsName, Host, Names, TlsOptions},
};

/// Where the daemon listens beside its socket, and as whom.
#[derive(Debug, Clone, ClapArgs)]
pub struct HttpArgs {
    /// Serve Azure Key Vault's API there over HTTPS, such as 127.0.0.1:8443; vaults are https://NAME.localhost:8443
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Another name than localhost to have vaults below, such as keys.example.org; may be given several times
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub public_name: Vec<DnsName>,
    /// Another name or address of the vault 'default'; may be given several times
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub tls_name: Vec<Host>,
    /// A certificate chain (PEM) in place of keyd's own; a newer file is taken up by itself
    #[arg(long, value_name = "FILE", requires = "listen", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Take client certificates of these authorities (PEM); 'keyd principal certificates' says whose they are
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub client_ca: Option<PathBuf>,
    /// Give tokens to managed identities there, such as 127.0.0.1:8444; for this host only
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub identity_listen: Option<SocketAddr>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("'{text}' is no address and port: write it as 127.0.0.1:8443 or [::1]:8443")
    })
}

impl HttpArgs {
    /// The same for the daemon.
    #[must_use]
    pub fn options(self) -> HttpOptions {
        HttpOptions {
            listen: self.listen,
            tls: TlsOptions {
                names: Names::new(&self.public_name, &self.tls_name),
                certificate: self.tls_cert.zip(self.tls_key),
                client_ca: self.client_ca,
            },
            identity: self.identity_listen,
        }
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  keyd ca show > keyd-ca.pem
  curl --cacert keyd-ca.pem https://default.localhost:8443/keys?api-version=7.4";

/// Verbs on the certification authority.
#[derive(Debug, Subcommand)]
pub enum CaVerb {
    /// Print its certificate (PEM), for clients to trust
    Show {
        /// Read it in this state directory, in place of asking the daemon
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
}
