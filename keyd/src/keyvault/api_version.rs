//! `api-version`: required, no default. What is served is the part that all versions have in common, so a version to
//! come is served as well, and so is every preview: azure-cli asks for `7.6-preview.2`.

use super::Problem;

/// The first dated version.
const FIRST: &str = "2015-06-01";

/// Digits of a number, more than any version has.
const DIGITS_MAX: usize = 4;

/// A version of the API, as it was asked for: links to a next page repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiVersion(String);

impl ApiVersion {
    /// Takes the version of a query: `7.` and a number, or a date; with `-preview` or `-preview.` and a number behind
    /// it, or without.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let version = match text.split_once("-preview") {
            Some((version, "")) => Some(version),
            Some((version, number)) => {
                number.strip_prefix('.').filter(|number| is_number(number)).map(|_| version)
            }
            None => Some(text),
        };
        let known = |version: &str| {
            version.strip_prefix("7.").is_some_and(is_number)
                || (is_date(version) && version >= FIRST)
        };
        if version.is_some_and(known) {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::bad(
            "The specified version in the query parameter api-version is not known: it is a number or a date, such as 7.4, 7.6-preview.2 or 2025-07-01",
        ))
    }

    /// As it was asked for.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A number as versions have it: no sign, and no zero before other digits.
fn is_number(text: &str) -> bool {
    let digits = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
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
    fn versions_of_every_client_previews_and_later_ones_are_served() {
        let numbered = ["7.0", "7.4", "7.6", "7.7", "7.10", "7.2-preview", "7.6-preview.2"];
        let dated = [
            "2015-06-01",
            "2016-10-01",
            "2025-07-01",
            "2026-03-01-preview",
            "2025-06-01-preview.1",
            "2031-12-31",
        ];
        for good in numbered.into_iter().chain(dated) {
            assert_eq!(ApiVersion::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for wrong in [
            "",
            "7",
            "7.",
            "7.04",
            "7.4.1",
            "7.-1",
            "7.99999",
            "07.4",
            "8.0",
            "6.0",
            "v7.4",
            "2014-01-01",
            "2025-13-01",
            "2025-07-32",
            "2025-7-1",
            "latest",
            "preview",
            "-preview",
            "7.6-preview.",
            "7.6-preview.x",
            "7.6-preview.01",
            "7.6-preview.2.3",
            "7.6-preview2",
            "7.6-preview.2 ",
            "7.6-beta.1",
            "2025-07-01&x",
            "2025-07-é",
            "2025-07-01-beta",
            "2025-07-01-preview-preview",
        ] {
            assert!(ApiVersion::parse(wrong).is_err(), "{wrong}");
        }
    }
}
