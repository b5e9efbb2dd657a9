//! Spans of time by the calendar: ISO 8601 durations in whole years, months, weeks and days, such as `P18M` or `P90D`.
//! They are kept in the units in which they were written: eighteen months are no number of days.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::limits::PERIOD_YEARS_MAX;

/// Most months of one, and most days beside them.
const MONTHS_MAX: u32 = PERIOD_YEARS_MAX * 12;
const DAYS_MAX: u32 = PERIOD_YEARS_MAX * 365;

/// Letters of the units, in their order.
const UNITS: [char; 4] = ['Y', 'M', 'W', 'D'];

/// A span of time. What it is in days depends on where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period([Option<u32>; UNITS.len()]);

/// Not a span of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "whole years, months, weeks and days (ISO 8601), such as P90D, P18M or P1Y6M, and no more than {PERIOD_YEARS_MAX} years"
)]
pub struct NoPeriod;

impl Period {
    /// So many days.
    #[must_use]
    pub const fn days(days: u16) -> Self {
        Self([None, None, None, Some(days as u32)])
    }

    /// Its months, those of its years included.
    #[must_use]
    pub fn whole_months(&self) -> u32 {
        let [years, months, ..] = self.0.map(Option::unwrap_or_default);
        years * 12 + months
    }

    /// Its days beside the months, those of its weeks included.
    #[must_use]
    pub fn days_beside(&self) -> u32 {
        let [.., weeks, days] = self.0.map(Option::unwrap_or_default);
        weeks * 7 + days
    }

    /// As people read it: `1 year 6 months`.
    #[must_use]
    pub fn words(&self) -> String {
        let word = |(count, unit): (Option<u32>, &str)| {
            Some(format!("{} {unit}{}", count?, if count == Some(1) { "" } else { "s" }))
        };
        let units = ["year", "month", "week", "day"];
        self.0.into_iter().zip(units).filter_map(word).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        let written =
            self.0.into_iter().zip(UNITS).filter_map(|(count, unit)| Some((count?, unit)));
        written.into_iter().try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

impl FromStr for Period {
    type Err = NoPeriod;

    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty()).ok_or(NoPeriod)?;
        let mut parts = [None; UNITS.len()];
        for (part, unit) in parts.iter_mut().zip(UNITS) {
            if let Some((number, after)) = rest.split_once(unit) {
                *part = Some(number_of(number)?);
                rest = after;
            }
        }
        let period = Self(parts);
        let fits = period.whole_months() <= MONTHS_MAX && period.days_beside() <= DAYS_MAX;
        if rest.is_empty() && fits { Ok(period) } else { Err(NoPeriod) }
    }
}

fn number_of(text: &str) -> Result<u32, NoPeriod> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // No unit is shorter than a day, and sums of what is let through fit.
    let number = digits.then(|| text.parse().ok()).flatten();
    number.filter(|number| *number <= DAYS_MAX).ok_or(NoPeriod)
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a duration: {NoPeriod}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Other("a text"), &self))
            }
        }
        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_as_they_were_written() {
        for (text, months, days) in [
            ("P90D", 0, 90),
            ("P3M", 3, 0),
            ("P18M", 18, 0),
            ("P2Y", 24, 0),
            ("P4W", 0, 28),
            ("P1Y10D", 12, 10),
            ("P1Y6M2W3D", 18, 17),
            ("P0Y90D", 0, 90),
            ("P0D", 0, 0),
            ("P1000Y", 12_000, 0),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.whole_months(), period.days_beside()), (months, days), "{text}");
            assert_eq!(period.to_string(), text);
            let json = serde_json::to_string(&period).unwrap();
            assert_eq!(serde_json::from_str::<Period>(&json).unwrap(), period);
        }
        assert_eq!(Period::days(30).to_string(), "P30D");
        assert_eq!("P1Y6M1D".parse::<Period>().unwrap().words(), "1 year 6 months 1 day");
    }

    #[test]
    fn other_forms_are_refused() {
        for wrong in [
            "",
            "P",
            "90D",
            "P90",
            "PT24H",
            "P1DT1H",
            "P-1D",
            "P1D1Y",
            "P1D1W",
            "P1.5D",
            "P1001Y",
            "P365001D",
            "p1d",
            "P D",
            "P1Y1Y",
            "P1D ",
            "P+1D",
            "P٣D",
            "P99999999999999999999D",
        ] {
            assert_eq!(wrong.parse::<Period>(), Err(NoPeriod), "{wrong}");
        }
    }
}
