//! Durations of rotation policies: ISO 8601 in whole days, months and years, such as `P90D` or `P1Y6M`, here as days.
//!
//! A month counts 30 days and a year 365, as in .NET's `XmlConvert`, which the service uses: a policy must mean the
//! same in every month.

use serde::{Deserialize, Deserializer, de::Error};
use thiserror::Error;

/// Longest number of a part: nobody plans further, and sums of days fit.
const PART_MAX: u32 = 9999;

/// A duration of a request, days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period(pub(super) u32);

/// Not a duration of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a duration is written in whole years, months and days: P90D, P3M, P1Y10D")]
pub(super) struct NoPeriod;

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        days(&text).map(Self).map_err(D::Error::custom)
    }
}

/// The days that a text counts.
///
/// # Errors
/// [`NoPeriod`].
pub(super) fn days(text: &str) -> Result<u32, NoPeriod> {
    let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty()).ok_or(NoPeriod)?;
    let mut sum = 0;
    for (unit, days) in [('Y', 365), ('M', 30), ('D', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            sum += number_of(number)? * days;
            rest = after;
        }
    }
    if rest.is_empty() { Ok(sum) } else { Err(NoPeriod) }
}

/// The text of so many days.
#[must_use]
pub(super) fn text(days: u32) -> String {
    format!("P{days}D")
}

fn number_of(text: &str) -> Result<u32, NoPeriod> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.filter(|number| *number <= PART_MAX).ok_or(NoPeriod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_documentation_are_read() {
        let known =
            [("P90D", 90), ("P3M", 90), ("P1Y10D", 375), ("P2Y", 730), ("P18M", 540), ("P0D", 0)];
        for (text, counted) in known {
            assert_eq!(days(text), Ok(counted), "{text}");
        }
        assert_eq!(text(90), "P90D");
    }

    #[test]
    fn other_forms_are_refused() {
        let others = [
            "",
            "P",
            "90D",
            "P90",
            "PT24H",
            "P1W",
            "P-1D",
            "P1D1Y",
            "P1.5D",
            "P10000D",
            "p1d",
            "P D",
            "P1Y1Y",
            "P1D ",
            "P٣D",
            "P99999999999999999999D",
        ];
        for wrong in others {
            assert_eq!(days(wrong), Err(NoPeriod), "{wrong}");
        }
    }
}
