//! A time as the command line takes it.

use std::fmt;

use crate::amounts::span;

/// Milliseconds, written as `keyd`'s options write a time: in the largest unit that says it whole.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&span(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_the_largest_unit_that_says_it_whole() {
        for (millis, text) in [
            (0, "0s"),
            (999, "999ms"),
            (1000, "1s"),
            (90_000, "90s"),
            (3_600_000, "1h"),
            (7 * 86_400_000, "7d"),
            (86_400_001, "86400001ms"),
        ] {
            assert_eq!(Time(millis).to_string(), text);
        }
    }
}
