//! What the command line understands of applications, tokens and identities.

use std::path::PathBuf;

use clap::Subcommand;
use keyd_client::{
    AppName, Fingerprint, TokenId,
    message::{
        AppList, AppRemove, AppShow, IdentityCreate, IdentityRemove, TokenCreate, TokenList,
    },
};

pub(super) const EXAMPLES: &str = "\
Examples:
  keyd principal create ci
  keyd vault permit default app:ci get,wrapKey,unwrapKey --add
  keyd token create ci --expires 30d
  keyd token list ci; keyd token revoke ci ID; keyd token revoke ci --all
  keyd identity create ci
  keyd principal certificates ci --certificate ci.pem";

/// Verbs on applications.
#[derive(Debug, Subcommand)]
pub enum PrincipalVerb {
    /// Make an application: a principal 'app:NAME' that may do nothing until something is granted to it
    Create {
        /// Its name: letters, digits, hyphens
        name: AppName,
        /// Certificates that are its own
        #[command(flatten)]
        certificates: OwnCertificates,
    },
    /// All applications
    List(AppList),
    /// One application
    Show(AppShow),
    /// Forget an application with its tokens, certificates, identity, grants and policies
    Remove(AppRemove),
    /// Say which client certificates are an application's, in place of those that were
    Certificates {
        /// Which
        name: AppName,
        /// They; none takes all away
        #[command(flatten)]
        certificates: OwnCertificates,
    },
}

/// Client certificates, by file or by fingerprint.
#[derive(Debug, clap::Args)]
pub struct OwnCertificates {
    /// A client certificate that is its own (PEM); may be given several times
    #[arg(long, value_name = "FILE")]
    pub certificate: Vec<PathBuf>,
    /// One by its fingerprint (SHA-256); may be given several times
    #[arg(long, value_name = "HEX")]
    pub fingerprint: Vec<Fingerprint>,
}

/// Verbs on tokens.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Make a bearer token of an application; it is printed this once
    Create(TokenCreate),
    /// An application's tokens, without their secrets
    List(TokenList),
    /// Let a token be good no more, or all of an application's
    Revoke {
        /// Whose
        app: AppName,
        /// Which, as 'token list' shows it
        #[arg(required_unless_present = "all")]
        id: Option<TokenId>,
        /// All of them; an identity can fetch another ('keyd identity remove' ends that)
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// Verbs on managed identities.
#[derive(Debug, Subcommand)]
pub enum IdentityVerb {
    /// Let an application fetch tokens by itself: prints the two variables for its environment, this once
    Create(IdentityCreate),
    /// Let it fetch no more; tokens it has are good until they expire
    Remove(IdentityRemove),
}
