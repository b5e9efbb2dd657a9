//! The attributes of a key's version that a request can set.

use serde::Deserialize;

use super::Problem;

/// Seconds since 1970-01-01 UTC.
pub type UnixSeconds = u64;

/// The last second of the year 9999: later ones are mistakes, and every client can show those before it.
const TIME_MAX: UnixSeconds = 253_402_300_799;

/// What is to be set; what is not there stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Whether the version may be used.
    pub enabled: Option<bool>,
    /// From when on.
    pub not_before: Option<UnixSeconds>,
    /// Until when.
    pub expires: Option<UnixSeconds>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wire {
    enabled: Option<bool>,
    nbf: Option<u64>,
    exp: Option<u64>,
    exportable: Option<bool>,
}

impl Wire {
    /// Judges the attributes of a request.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub(super) fn judge(self) -> Result<Attributes, Problem> {
        if self.exportable == Some(true) {
            return Err(Problem::bad(
                "no key here is exportable: leave attributes.exportable and release_policy out",
            ));
        }
        let times = [self.nbf, self.exp];
        if times.iter().flatten().any(|time| *time > TIME_MAX) {
            return Err(Problem::bad(
                "attributes.nbf and attributes.exp are whole seconds since 1970-01-01 UTC",
            ));
        }
        let Self { enabled, nbf: not_before, exp: expires, .. } = self;
        window(not_before, expires)?;
        Ok(Attributes { enabled, not_before, expires })
    }
}

/// Whether there is time between the two.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub fn window(
    not_before: Option<UnixSeconds>,
    expires: Option<UnixSeconds>,
) -> Result<(), Problem> {
    match (not_before, expires) {
        (Some(from), Some(to)) if from >= to => Err(Problem::bad(
            "attributes.nbf must be before attributes.exp: the key could never be used",
        )),
        _ => Ok(()),
    }
}
