//! What is said on the socket, as data. Bodies are JSON; a DEK never is: it follows its frame as raw bytes
//! (see [`crate::wire`]).

mod app;
mod ask;
mod audit;
mod clock;
mod consent;
mod daemon;
mod des;
mod disk;
mod holder;
mod impact;
mod key;
mod recovery;
mod serving;
mod state;
mod vault;

use serde::{Deserialize, Serialize};

pub use app::*;
pub use ask::{Answer, Ask, Request};
pub use audit::*;
pub use clock::*;
pub use consent::Consent;
pub use daemon::*;
pub use des::*;
pub use disk::*;
pub use holder::*;
pub use impact::*;
pub use key::*;
pub use recovery::*;
pub use serving::*;
pub use state::*;
pub use vault::*;

/// Milliseconds since 1970-01-01 UTC.
pub type UnixMillis = u64;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// In order.
    pub items: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}
