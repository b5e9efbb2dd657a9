//! Records of what anybody can cause at no cost: so many a minute and no more, and with the next how many were left
//! out. Whoever may nothing must not be able to fill the audit log.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{audit::Entry, core::Core, limits::SPARING_PER_MINUTE, lock::lock, log};

const MINUTE: Duration = Duration::from_secs(60);

/// How many came lately.
#[derive(Debug)]
pub(super) struct Sparing(Mutex<Minute>);

#[derive(Debug)]
struct Minute {
    began: Instant,
    recorded: u32,
    /// Since the last record.
    left_out: u64,
}

impl Default for Sparing {
    fn default() -> Self {
        Self(Mutex::new(Minute { began: Instant::now(), recorded: 0, left_out: 0 }))
    }
}

impl Sparing {
    /// Records one, if it is not one too many.
    pub(super) fn record(&self, core: &Core, entry: Entry) {
        let Some(left_out) = self.admit(Instant::now()) else { return };
        let more = match left_out {
            0 => String::new(),
            count => format!(" and {count} more that were left out"),
        };
        let detail = format!("{}{more}", entry.detail);
        if let Err(failure) = core.store.record(entry.detail(detail)) {
            // What it tells of was refused all the same.
            log::line(format_args!("a refusal was not written down: {}", log::chain(&failure)));
        }
    }

    /// Whether this one is recorded, and how many before it were not.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut minute = lock(&self.0);
        if now.duration_since(minute.began) >= MINUTE {
            *minute = Minute { began: now, recorded: 0, left_out: minute.left_out };
        }
        if minute.recorded >= SPARING_PER_MINUTE {
            minute.left_out += 1;
            return None;
        }
        minute.recorded += 1;
        Some(std::mem::take(&mut minute.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_in_the_next_minute() {
        let sparing = Sparing::default();
        let begin = Instant::now();
        for _ in 0..SPARING_PER_MINUTE {
            assert_eq!(sparing.admit(begin), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(sparing.admit(begin), None);
        }
        assert_eq!(sparing.admit(begin + MINUTE), Some(1000));
        assert_eq!(sparing.admit(begin + MINUTE), Some(0));
    }
}
