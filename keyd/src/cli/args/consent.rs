//! What verbs that take keys away have in common: how sure the asker is, and whether to wait for those whom it hits.

use std::time::Duration;

use clap::Args;
use keyd_client::message::Consent;

use super::value::{duration, millis};

/// How sure the asker is.
#[derive(Debug, Args)]
pub struct Sure {
    /// Only tell what would be hit
    #[arg(long, conflicts_with_all = ["force", "token"])]
    pub dry_run: bool,
    /// Do it whatever is hit
    #[arg(long, conflicts_with = "token")]
    pub force: bool,
    /// Do it if it hits what the dry run that printed this token told
    #[arg(long, value_name = "TOKEN", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub token: Option<String>,
}

impl From<Sure> for Consent {
    fn from(sure: Sure) -> Self {
        match sure {
            Sure { dry_run: true, .. } => Self::DryRun,
            Sure { force: true, .. } => Self::Force,
            Sure { token: Some(token), .. } => Self::Token(token),
            Sure { .. } => Self::IfUnused,
        }
    }
}

/// Whether to wait for those whom it hits.
#[derive(Debug, Args)]
pub struct Wait {
    /// Wait until every process that is to let go has confirmed it, for so long at most; exit code 4 if one has not
    #[arg(
        long,
        value_parser = duration,
        num_args = 0..=1,
        default_missing_value = "2h",
        value_name = "TIME",
        conflicts_with = "dry_run"
    )]
    pub wait: Option<Duration>,
}

impl Wait {
    /// Milliseconds to wait; 0 is not at all.
    #[must_use]
    pub fn millis(&self) -> u64 {
        self.wait.map_or(0, millis)
    }
}
