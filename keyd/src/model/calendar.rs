//! Periods counted by the calendar, UTC: first their months, then their days. Where a month has no such day, its last
//! one is meant.

use keyd_client::{Period, message::UnixMillis};
use time::{Date, Month, OffsetDateTime, util::days_in_month};

use crate::limits::MILLIS_PER_DAY;

/// The last millisecond of the year 9999: what lies behind it is not told apart.
const LAST: UnixMillis = 253_402_300_799_999;

/// The moment so long after another.
#[must_use]
pub fn after(moment: UnixMillis, period: Period) -> UnixMillis {
    let moved = months_on(moment, i64::from(period.whole_months()));
    moved.saturating_add(u64::from(period.days_beside()) * MILLIS_PER_DAY).min(LAST)
}

/// The moment so long before another; 1970 where that would be earlier.
#[must_use]
pub fn before(moment: UnixMillis, period: Period) -> UnixMillis {
    let moved = months_on(moment, -i64::from(period.whole_months()));
    moved.saturating_sub(u64::from(period.days_beside()) * MILLIS_PER_DAY)
}

fn months_on(moment: UnixMillis, months: i64) -> UnixMillis {
    let moment = moment.min(LAST);
    let (seconds, millis) = (moment / 1000, moment % 1000);
    let moved = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|from| Some(from.replace_date(date_on(from.date(), months)?)));
    let out_of_range = if months < 0 { 0 } else { LAST };
    moved.map_or(out_of_range, |moved| {
        u64::try_from(moved.unix_timestamp()).map_or(0, |seconds| seconds * 1000 + millis)
    })
}

fn date_on(from: Date, months: i64) -> Option<Date> {
    let count = i64::from(from.year()) * 12 + i64::from(u8::from(from.month())) - 1 + months;
    let year = i32::try_from(count.div_euclid(12)).ok()?;
    let month = Month::try_from(u8::try_from(count.rem_euclid(12)).ok()? + 1).ok()?;
    Date::from_calendar_date(year, month, from.day().min(days_in_month(month, year))).ok()
}

/// The fewest and the most days that a period has, wherever it begins.
#[must_use]
pub fn days(period: Period) -> (u32, u32) {
    // Eight years without a leap day among eight, and eight with two: no four years are longer or shorter.
    let starts = (2096 * 12)..(2112 * 12);
    let lengths = starts.filter_map(|start| {
        let day = |count: u32| {
            let month = Month::try_from(u8::try_from(count % 12).ok()? + 1).ok()?;
            Date::from_calendar_date(i32::try_from(count / 12).ok()?, month, 1).ok()
        };
        let end = day(start + period.whole_months())?.to_julian_day();
        u32::try_from(end - day(start)?.to_julian_day()).ok()
    });
    let (fewest, most) =
        lengths.fold((u32::MAX, 0), |(fewest, most), days| (fewest.min(days), most.max(days)));
    (fewest + period.days_beside(), most + period.days_beside())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(text: &str) -> Period {
        text.parse().unwrap()
    }

    /// Moments from GNU date.
    #[test]
    fn months_and_years_are_the_calendars() {
        let jan_31_2027 = 1_801_353_600_123;
        for (text, then) in [
            ("P1M", 1_803_772_800_123),   // 2027-02-28
            ("P18M", 1_848_614_400_123),  // 2028-07-31
            ("P2Y", 1_864_512_000_123),   // 2029-01-31
            ("P13M", 1_835_395_200_123),  // 2028-02-29
            ("P1M1D", 1_803_859_200_123), // 2027-03-01
            ("P1W", 1_801_958_400_123),   // 2027-02-07
            ("P0D", 1_801_353_600_123),
        ] {
            assert_eq!(after(jan_31_2027, period(text)), then, "{text}");
        }
        let mar_31_2028 = 1_838_073_600_000;
        assert_eq!(before(mar_31_2028, period("P1M")), 1_835_395_200_000, "2028-02-29");
        assert_eq!(before(mar_31_2028, period("P1M1D")), 1_835_308_800_000, "2028-02-28");
        assert_eq!(before(0, period("P1Y")), 0);
        assert_eq!(before(MILLIS_PER_DAY, period("P2D")), 0);
        assert_eq!(after(LAST, period("P1D")), LAST);
        assert_eq!(after(LAST, period("P1M")), LAST);
    }

    #[test]
    fn a_period_has_its_fewest_and_most_days() {
        for (text, known) in [
            ("P1M", (28, 31)),
            ("P2M", (59, 62)),
            ("P11M", (334, 337)),
            ("P12M", (365, 366)),
            ("P18M", (546, 550)),
            ("P2Y", (730, 731)),
            ("P4W", (28, 28)),
            ("P1M10D", (38, 41)),
            ("P400Y", (146_097, 146_097)),
        ] {
            assert_eq!(days(period(text)), known, "{text}");
        }
    }
}
