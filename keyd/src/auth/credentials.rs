//! What somebody shows for who it is.

use keyd_client::Fingerprint;

use super::Caller;
use crate::model::token::SecretHash;

/// Proof of a principal, still to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A token, of which nobody here needs more than its hash.
    Token(SecretHash),
    /// A client certificate; TLS has seen that its holder has the key.
    Certificate(Fingerprint),
    /// A process of this host, known to the kernel.
    Local(Caller),
}
