//! Values of options as people write them.

use std::collections::BTreeSet;

use keyd_client::{
    Period,
    message::{Bound, KeyOperation},
    value::duration,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::clock;

/// A period by the calendar (ISO 8601), or whole days, with or without their `d`.
pub(super) fn period(text: &str) -> Result<Period, String> {
    let days = text.strip_suffix('d').unwrap_or(text).parse().map(Period::days);
    days.or_else(|_| text.parse()).map_err(|_| {
        format!(
            "'{text}' is no time: write it as 90 or 90d for days, or as P18M or P1Y6M (ISO 8601)"
        )
    })
}

/// A moment by RFC 3339, or a time from now; `never` takes a bound away.
pub(super) fn moment(text: &str) -> Result<Bound, String> {
    let wrong = || {
        format!(
            "'{text}' is no moment: write it as 2027-01-01T00:00:00Z, as a time from now such as 30d, or 'never'"
        )
    };
    if text == "never" {
        return Ok(Bound::Never);
    }
    if let Ok(from_now) = duration(text) {
        let at = (clock::now() / 1000).checked_add(from_now.as_secs());
        return at.map(Bound::At).ok_or_else(wrong);
    }
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    u64::try_from(moment.unix_timestamp()).map(Bound::At).map_err(|_| wrong())
}

/// Operations of a key, separated by commas; `none` is none of them.
pub(super) fn operations(text: &str) -> Result<BTreeSet<KeyOperation>, String> {
    if text == "none" {
        return Ok(BTreeSet::new());
    }
    let operation = |name: &str| {
        let all = KeyOperation::ALL;
        all.into_iter().find(|op| op.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known = all.map(KeyOperation::name).join(", ");
            format!("no operation '{name}': there are {known}")
        })
    };
    text.split(',').map(operation).collect()
}

/// `NAME=VALUE`.
pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    let tag = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let tag = tag.ok_or_else(|| format!("'{text}' is no tag: write it as NAME=VALUE"))?;
    Ok((tag.0.to_owned(), tag.1.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read() {
        assert_eq!((period("90"), period("28d")), (Ok(Period::days(90)), Ok(Period::days(28))));
        assert_eq!(period("P18M"), Ok("P18M".parse().unwrap()));
        for wrong in ["1.5", "d", "-1", "P", "18M", "65536"] {
            assert!(period(wrong).is_err(), "{wrong}");
        }
    }

    /// Seconds from GNU date.
    #[test]
    fn moments_are_read_in_every_zone_and_from_now() {
        assert_eq!(moment("2027-01-01T00:00:00Z"), Ok(Bound::At(1_798_761_600)));
        assert_eq!(moment("2027-01-01T02:00:00+02:00"), Ok(Bound::At(1_798_761_600)));
        assert_eq!(moment("2000-02-29T12:34:56.789Z"), Ok(Bound::At(951_827_696)));
        assert_eq!(moment("never"), Ok(Bound::Never));
        assert_eq!(moment("1970-01-01T00:00:00Z"), Ok(Bound::At(0)));
        let soon = moment("90s").unwrap().moment().unwrap();
        assert!(soon.abs_diff(clock::now() / 1000 + 90) <= 1);
        for wrong in [
            "",
            "now",
            "2027-01-01",
            "2027-01-01 00:00",
            "2027-02-29T00:00:00Z",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn operations_and_tags_are_read() {
        let unwrap = BTreeSet::from([KeyOperation::UnwrapKey]);
        assert_eq!(operations("unwrapkey"), Ok(unwrap));
        assert!(operations("unwrap").unwrap_err().contains("unwrapKey"));
        assert_eq!(tag("owner=a=b"), Ok(("owner".to_owned(), "a=b".to_owned())));
        assert!(tag("owner").is_err() && tag("=x").is_err());
    }
}
