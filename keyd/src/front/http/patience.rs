//! How long a client may take for what.

use std::time::Duration;

use crate::limits::{
    HTTP_BODY_TIMEOUT, HTTP_HEAD_TIMEOUT, HTTP_STALL_TIMEOUT, TLS_HANDSHAKE_TIMEOUT,
};

/// The times after which a client that dawdles is cut off. The daemon's are its limits; a test has less time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, from when it could come.
    pub head: Duration,
    /// For its body, from there.
    pub body: Duration,
    /// For taking anything of what it is sent.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: TLS_HANDSHAKE_TIMEOUT,
            head: HTTP_HEAD_TIMEOUT,
            body: HTTP_BODY_TIMEOUT,
            stall: HTTP_STALL_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client may do with its time is tried with less of it, in `tests/hostile_https.rs`.
    #[test]
    fn nobody_who_dawdles_holds_a_place_for_longer_than_half_a_minute() {
        let Patience { handshake, head, body, stall } = Patience::default();
        let seconds = [handshake, head, body, stall].map(|time| time.as_secs());
        let most = [10, 30, 20, 20];
        assert!(seconds.iter().zip(most).all(|(&time, most)| time <= most), "{seconds:?}");
        // And one that is far away, or has more to do, is no dawdler.
        assert!(seconds.iter().all(|&time| time >= 5), "{seconds:?}");
    }
}
