//! What verbs that take keys away have in common: how sure the asker is, and whether to wait for those whom it hits.

use clap::Args;
use keyd_client::{message::Consent, value::millis};

/// How sure the asker is, and whether to wait for those whom it hits.
#[derive(Debug, Args)]
pub struct Sure {
    /// How sure the asker is
    #[command(flatten)]
    pub consent: Consent,
    /// Wait until every process that is to let go has confirmed it, for so long at most; exit code 4 if one has not
    #[arg(long = "wait", value_name = "TIME", value_parser = millis, num_args = 0..=1, default_missing_value = "2h",
        default_value = "0s", hide_default_value = true, conflicts_with = "dry_run")]
    pub wait_ms: u64,
}
