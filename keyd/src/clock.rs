//! Wall-clock time for records. Leases measure with [`keyd_client::lease::BootTime`] instead.

use std::time::{SystemTime, UNIX_EPOCH};

use keyd_client::message::UnixMillis;
pub use keyd_client::utc::text;

/// Now, in milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}
