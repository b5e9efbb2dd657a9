//! How sure the asker of a verb that takes keys away is: as data, and as options of a command line.

use clap::{ArgMatches, Args, Command, FromArgMatches, builder::NonEmptyStringValueParser};
use serde::{Deserialize, Serialize};

/// How sure the asker is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consent {
    /// Refuse if anything would be hit.
    #[default]
    IfUnused,
    /// Only tell what would be hit.
    DryRun,
    /// Whatever is hit.
    Force,
    /// What the dry run with this token told, and nothing else.
    Token(String),
}

/// The options.
#[derive(Debug, Args)]
struct Options {
    /// Only tell what would be hit
    #[arg(long, conflicts_with_all = ["force", "token"])]
    dry_run: bool,
    /// Do it whatever is hit
    #[arg(long, conflicts_with = "token")]
    force: bool,
    /// Do it if it hits what the dry run that printed this token told
    #[arg(long, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    token: Option<String>,
}

impl From<Options> for Consent {
    fn from(options: Options) -> Self {
        match options {
            Options { dry_run: true, .. } => Self::DryRun,
            Options { force: true, .. } => Self::Force,
            Options { token: Some(token), .. } => Self::Token(token),
            Options { .. } => Self::IfUnused,
        }
    }
}

impl FromArgMatches for Consent {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Options::from_arg_matches(matches).map(Self::from)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Consent {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args_for_update(command)
    }
}
