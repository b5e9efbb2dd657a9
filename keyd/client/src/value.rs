//! Values of options as people write them.

use std::{collections::BTreeSet, fmt::Display, fs, str::FromStr, time::Duration};

use thiserror::Error;

use crate::{
    ids::{IdError, Principal},
    limits::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN},
};

/// A text that names nobody.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NobodyError {
    /// No such user.
    #[error("no user '{0}' in /etc/passwd: give the number of the user id")]
    User(String),
    /// Not a principal.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// A principal: `uid:1000`, `app:ci`, `des:prod`, a user's number, or a user's name.
///
/// # Errors
/// [`NobodyError`].
pub fn principal(text: &str) -> Result<Principal, NobodyError> {
    if text.contains(':') {
        return Ok(text.parse()?);
    }
    let uid = text.parse().ok().or_else(|| uid_of(text));
    uid.map(Principal::User).ok_or_else(|| NobodyError::User(text.to_owned()))
}

/// Users of directories (LDAP) are given by number: resolving them needs the C library's name service.
fn uid_of(user: &str) -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        (name == user).then_some(uid)
    })
}

/// A whole number and `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: write it as 30s, 500ms, 5m, 1h or 90d");
    let too_long = || format!("'{text}' is longer than any time here");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    if number.is_empty() {
        return Err(wrong());
    }
    // Digits alone: what does not parse is too large.
    let number: u64 = number.parse().map_err(|_| too_long())?;
    let total = number.checked_mul(millis).ok_or_else(too_long)?;
    Ok(Duration::from_millis(total))
}

/// The same in milliseconds; which there can be is the daemon's to say.
///
/// # Errors
/// As [`duration`].
pub fn millis(text: &str) -> Result<u64, String> {
    duration(text).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Days that a vault keeps what was deleted; which there can be is the daemon's to say.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn retention(text: &str) -> Result<u16, String> {
    text.strip_suffix('d').unwrap_or(text).parse().map_err(|_| {
        format!("a vault keeps deleted keys for {RETENTION_DAYS_MIN} to {RETENTION_DAYS_MAX} days, such as 30")
    })
}

/// The length of an RSA key; which there are is the daemon's to say.
///
/// # Errors
/// What is wrong, and which there are.
pub fn bits(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "RSA keys have 2048, 3072 or 4096 bits".to_owned())
}

/// Names, separated by commas; `none` is none of them.
///
/// # Errors
/// The first that is none.
pub fn names<T: FromStr<Err: Display> + Ord>(text: &str) -> Result<BTreeSet<T>, String> {
    if text == "none" {
        return Ok(BTreeSet::new());
    }
    text.split(',').map(|name| name.parse().map_err(|error: T::Err| error.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::Permission;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(millis("2d"), Ok(172_800_000));
        for wrong in ["", "30", "s", "-1s", "1.5s", "30 s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_known_ones_or_none() {
        let both = BTreeSet::from([Permission::Read, Permission::Audit]);
        assert_eq!(names("audit,read"), Ok(both));
        assert_eq!(names::<Permission>("none"), Ok(BTreeSet::new()));
        assert!(names::<Permission>("read,").unwrap_err().contains("create-disk"));
    }
}
