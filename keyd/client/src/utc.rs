//! Wall-clock times as people read them.

use crate::message::UnixMillis;

/// A time as people read it: `2026-11-21 22:33:43.120Z` (RFC 3339 with a space, UTC).
#[must_use]
pub fn text(time: UnixMillis) -> String {
    let (seconds, millis) = (time / 1000, time % 1000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Date of a day counted from 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March, so that
/// the leap day is the last of its year; 400 years have 146,097 days, and 1970-01-01 is day 719,468 from 0000-03-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn known_times_are_told_right() {
        assert_eq!(text(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(text(951_782_400_000), "2000-02-29 00:00:00.000Z");
        assert_eq!(text(951_868_799_999), "2000-02-29 23:59:59.999Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01 00:00:00.000Z");
        assert_eq!(text(1_795_300_423_120), "2026-11-21 22:33:43.120Z");
    }
}
