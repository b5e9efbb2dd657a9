//! The narrow door between `keyd` and those who hold a disk's key.
//!
//! `images` and `vhost-backend` know the key daemon through this crate alone, and the daemon knows them
//! through it alone: ids, the two forms of a data-encryption key, the frames on the socket, and the
//! session that is a lease. It links no cipher, no RSA, no database.

pub mod client;
pub mod dek;
pub mod ids;
pub mod lease;
pub mod limits;
pub mod message;
pub mod number;
pub mod period;
pub mod permission;
pub mod printable;
pub mod tally;
pub mod terminal;
pub mod timed;
pub mod utc;
pub mod value;
pub mod wire;

pub use client::{Client, ClientError, PathTooLong};
pub use dek::{Dek, WrappedDek, page::Locked};
pub use ids::{
    AppName, DesName, DiskId, Fingerprint, KeyId, KeyName, KeyVersion, LeaseId, Principal, Scope,
    TokenId, VaultName,
};
pub use number::number;
pub use period::Period;
pub use printable::{Page, Printable};
