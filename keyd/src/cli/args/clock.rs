//! Verbs on the clock.

use clap::Subcommand;
use keyd_client::message::{ClockConfirm, ClockShow};

pub(super) const EXAMPLES: &str = "\
keyd never goes behind a time that it has committed. What cannot be undone, to destroy deleted keys above all, is done
only by time that it saw pass: a clock that is further ahead must stand so for a day first, or be confirmed.

Examples:
  keyd clock show
  keyd clock confirm    # the host's clock is right: believe it at once";

/// Verbs on the clock.
#[derive(Debug, Subcommand)]
pub enum ClockVerb {
    /// What the host's clock says, and what keyd believes of it
    Show(ClockShow),
    /// Say that the host's clock is right
    Confirm(ClockConfirm),
}
