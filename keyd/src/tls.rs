//! TLS for the HTTPS front: which names are served, the certificates for them (of a CA that keyd makes itself, or the
//! operator's), and who a client certificate says its holder is.

pub mod ca;
pub mod client;
pub mod config;
pub mod issue;
pub mod names;
pub mod operator;

pub use ca::{Ca, CaError};
pub use config::{TlsError, TlsOptions, server};
pub use names::{DnsName, Host, Names};
