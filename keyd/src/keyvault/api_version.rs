//! `api-version`: required, no default. What is served is the part that all versions have in common, so a version to
//! come is served as well.

use super::Problem;

/// Versions that were numbered before they were dated.
const NUMBERED: [&str; 7] = ["7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6"];

/// The first dated version.
const FIRST: &str = "2015-06-01";

/// A version of the API, as it was asked for: links to a next page repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiVersion(String);

impl ApiVersion {
    /// Takes the version of a query.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let day = text.strip_suffix("-preview").unwrap_or(text);
        if NUMBERED.contains(&day) || (is_date(day) && day >= FIRST) {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::bad(
            "The specified version in the query parameter api-version is not known: use 7.4, 2025-07-01 or a later date",
        ))
    }

    /// As it was asked for.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `YYYY-MM-DD`: the form, and no month or day that never is.
fn is_date(text: &str) -> bool {
    let part = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|part| part.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<u32>().ok()
    };
    let dashes = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    dashes
        && part(0..4).is_some()
        && part(5..7).is_some_and(|month| (1..=12).contains(&month))
        && part(8..10).is_some_and(|day| (1..=31).contains(&day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_sdk_and_later_ones_are_served() {
        for good in ["7.4", "7.6", "2016-10-01", "2025-07-01", "2026-03-01-preview", "2031-12-31"] {
            assert_eq!(ApiVersion::parse(good).unwrap().as_str(), good);
        }
        let wrong =
            ["", "7", "7.7", "8.0", "2014-01-01", "2025-13-01", "2025-07-32", "2025-7-1", "latest"];
        for wrong in wrong.into_iter().chain(["2025-07-01&x", "2025-07-é", "2025-07-01-beta"]) {
            assert!(ApiVersion::parse(wrong).is_err(), "{wrong}");
        }
    }
}
