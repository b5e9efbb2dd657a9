//! Durations of rotation policies: ISO 8601 in whole days, months and years, such as `P90D` or `P1Y6M`.
//!
//! A month counts 30 days and a year 365, as in .NET's `XmlConvert`, which the service uses: a policy must mean the same
//! in every month.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest number of a part: nobody plans further, and sums of days fit.
const PART_MAX: u32 = 9999;

/// A duration, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    years: u32,
    months: u32,
    days: u32,
}

/// Not a duration of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a duration is written in whole years, months and days: P90D, P3M, P1Y10D")]
pub struct NoPeriod;

impl Period {
    /// How many days it counts.
    #[must_use]
    pub fn days(self) -> u32 {
        self.years * 365 + self.months * 30 + self.days
    }
}

impl FromStr for Period {
    type Err = NoPeriod;

    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        let mut rest = text.strip_prefix('P').ok_or(NoPeriod)?;
        if rest.is_empty() {
            return Err(NoPeriod);
        }
        let mut part = |unit| {
            let Some((number, after)) = rest.split_once(unit) else { return Ok(0) };
            rest = after;
            number_of(number)
        };
        let (years, months, days) = (part('Y')?, part('M')?, part('D')?);
        if rest.is_empty() { Ok(Self { years, months, days }) } else { Err(NoPeriod) }
    }
}

fn number_of(text: &str) -> Result<u32, NoPeriod> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.filter(|number| *number <= PART_MAX).ok_or(NoPeriod)
}

impl TryFrom<String> for Period {
    type Error = NoPeriod;

    fn try_from(text: String) -> Result<Self, NoPeriod> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        for (number, unit) in [(self.years, 'Y'), (self.months, 'M'), (self.days, 'D')] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        if self.days() == 0 { f.write_str("0D") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_documentation_are_read_and_written_alike() {
        let known =
            [("P90D", 90), ("P3M", 90), ("P1Y10D", 375), ("P2Y", 730), ("P18M", 540), ("P0D", 0)];
        for (text, days) in known {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.days(), period.to_string().as_str()), (days, text));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let others = [
            "", "P", "90D", "P90", "PT24H", "P1W", "P-1D", "P1D1Y", "P1.5D", "P10000D", "p1d",
            "P D",
        ];
        for wrong in others.into_iter().chain(["P1Y1Y", "P1D ", "P٣D"]) {
            assert_eq!(wrong.parse::<Period>(), Err(NoPeriod), "{wrong}");
        }
    }
}
