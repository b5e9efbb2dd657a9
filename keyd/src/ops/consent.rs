//! What an asker says to what a verb would hit: do it if it hits nothing, only tell, do it all the same, or do what was
//! told before.

use std::{fmt, time::Duration};

use keyd_client::message::{Consent, Impact};

use super::impact::summary;
use crate::{error::Refused, limits::WAIT_MS_MAX};

/// What is asked, in words, and how.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The verb as the command line has it.
    pub verb: &'static str,
    /// On what.
    pub subject: String,
    /// What the command line says behind that.
    pub arguments: String,
    /// How sure the asker is.
    pub consent: &'a Consent,
    /// Wait so long for the holders' confirmations, milliseconds.
    wait_ms: u64,
}

impl<'a> Asked<'a> {
    /// A verb on something.
    #[must_use]
    pub fn new(verb: &'static str, subject: impl fmt::Display, consent: &'a Consent) -> Self {
        let (subject, arguments) = (subject.to_string(), String::new());
        Self { verb, subject, arguments, consent, wait_ms: 0 }
    }

    /// With what the command line says behind it.
    #[must_use]
    pub fn with(self, arguments: String) -> Self {
        Self { arguments, ..self }
    }

    /// The holders' confirmations are waited for.
    #[must_use]
    pub fn waiting(self, wait_ms: u64) -> Self {
        Self { wait_ms, ..self }
    }

    /// Whether nothing is to be done, but what would be hit is to be told.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        *self.consent == Consent::DryRun
    }

    /// How long the holders' confirmations are waited for.
    #[must_use]
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.min(WAIT_MS_MAX))
    }
}

/// Whether the asker may go on.
///
/// # Errors
/// [`Refused::InUseBy`], [`Refused::StaleToken`].
pub fn check(asked: &Asked<'_>, impact: &Impact) -> Result<(), Refused> {
    let nothing = impact.disks + impact.snapshots + impact.images == 0;
    let (verb, subject) = (asked.verb, format!("{}{}", asked.subject, asked.arguments));
    match asked.consent {
        Consent::Force => Ok(()),
        Consent::Token(token) if says_yes(token, impact) => Ok(()),
        // Less than was told: a rotation that was under way has ended since.
        Consent::Token(_) if nothing => Ok(()),
        Consent::Token(token) => {
            Err(Refused::StaleToken { verb, subject, token: token.chars().take(32).collect() })
        }
        Consent::IfUnused | Consent::DryRun if nothing => Ok(()),
        Consent::IfUnused | Consent::DryRun => {
            Err(Refused::InUseBy { verb, subject, hit: summary(impact) })
        }
    }
}

/// Whether a token that was told before says yes to what would be hit now: the same disks, and none by the clock sooner
/// than it was told.
fn says_yes(token: &str, impact: &Impact) -> bool {
    let parts = |token: &str| match token.split_once('-') {
        Some((hash, end)) => Some((hash.to_owned(), u64::from_str_radix(end, 16).ok()?)),
        None => Some((token.to_owned(), 0)),
    };
    let (Some((told, told_end)), Some((now, end))) = (parts(token), parts(&impact.token)) else {
        return false;
    };
    told == now && end >= told_end
}
