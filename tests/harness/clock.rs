//! The clock on the wall, as records have it.

use std::time::{SystemTime, UNIX_EPOCH};

use keyd_client::message::UnixMillis;

/// Now.
///
/// # Panics
/// Before 1970.
#[must_use]
pub fn millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis() as UnixMillis
}
