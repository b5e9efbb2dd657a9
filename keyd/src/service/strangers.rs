//! Those whom nobody knows. They are written down, so many a minute and no more: whoever has no credentials must not be
//! able to fill the audit log.

use std::{
    fmt,
    sync::Mutex,
    time::{Duration, Instant},
};

use keyd_client::{AppName, Fingerprint};

use crate::{audit::Entry, core::Core, limits::STRANGERS_PER_MINUTE, lock::lock, log};

const MINUTE: Duration = Duration::from_secs(60);

/// Why credentials are nobody's. The text is what their bearer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stranger {
    /// No such token.
    Token,
    /// A token whose time is over.
    Expired(AppName),
    /// No application's certificate.
    Certificate(Fingerprint),
    /// No identity's secret.
    Identity,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => {
                "[BearerReadAccessTokenFailed] Error validating token: it is not a token of this keyd, or it was revoked."
            }
            Self::Expired(_) => "[TokenExpired] Error validating token: its time is over.",
            Self::Certificate(_) => {
                "The client certificate is no application's: 'keyd principal certificates' makes it one's."
            }
            Self::Identity => {
                "X-IDENTITY-HEADER is not the secret of an identity: 'keyd identity create' makes one."
            }
        })
    }
}

/// How many came lately.
#[derive(Debug)]
pub(super) struct Strangers(Mutex<Minute>);

#[derive(Debug)]
struct Minute {
    began: Instant,
    noted: u32,
    /// Since the last record.
    unnoted: u64,
}

impl Default for Strangers {
    fn default() -> Self {
        Self(Mutex::new(Minute { began: Instant::now(), noted: 0, unnoted: 0 }))
    }
}

impl Strangers {
    /// Writes one down; with it, how many were not since the last.
    pub(super) fn note(&self, core: &Core, stranger: &Stranger, from: &dyn fmt::Display) {
        let Some(unnoted) = self.admit(Instant::now()) else { return };
        let (who, outcome) = match stranger {
            Stranger::Token => ("unknown".to_owned(), "refused: unknown token"),
            Stranger::Expired(app) => (format!("app:{app}"), "refused: expired token"),
            Stranger::Certificate(_) => ("unknown".to_owned(), "refused: unknown certificate"),
            Stranger::Identity => ("unknown".to_owned(), "refused: unknown identity"),
        };
        let mut detail = format!("from={from}");
        if let Stranger::Certificate(certificate) = stranger {
            detail.push_str(&format!(" certificate={certificate}"));
        }
        if unnoted > 0 {
            detail.push_str(&format!(" and {unnoted} more that were not written down"));
        }
        let entry = Entry { who, ..Entry::by_daemon("authenticate", "keyd") };
        if let Err(failure) = core.store.record(entry.outcome(outcome).detail(detail)) {
            // They are refused all the same.
            log::line(format_args!("a stranger was not written down: {}", log::chain(&failure)));
        }
    }

    /// Whether this one is written down, and how many before it were not.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut minute = lock(&self.0);
        if now.duration_since(minute.began) >= MINUTE {
            *minute = Minute { began: now, noted: 0, unnoted: minute.unnoted };
        }
        if minute.noted >= STRANGERS_PER_MINUTE {
            minute.unnoted += 1;
            return None;
        }
        minute.noted += 1;
        Some(std::mem::take(&mut minute.unnoted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_in_the_next_minute() {
        let strangers = Strangers::default();
        let begin = Instant::now();
        for _ in 0..STRANGERS_PER_MINUTE {
            assert_eq!(strangers.admit(begin), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(strangers.admit(begin), None);
        }
        assert_eq!(strangers.admit(begin + MINUTE), Some(1000));
        assert_eq!(strangers.admit(begin + MINUTE), Some(0));
    }
}
