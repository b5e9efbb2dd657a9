//! Verbs on the audit log.

use clap::Subcommand;

pub(super) const EXAMPLES: &str = "\
Examples:
  keyd audit tail -n 100
  keyd audit tail --json | jq 'map(select(.outcome != \"ok\"))'
  keyd audit verify";

/// Verbs on the audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// The newest records
    Tail {
        /// How many at most, up to 500
        #[arg(short = 'n', default_value_t = 20)]
        count: u32,
    },
    /// Check that no record was changed, cut or added
    Verify,
}
