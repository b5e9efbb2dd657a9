//! How what a principal may is changed: the same for a vault and for the daemon.

use clap::Args;
use keyd_client::message::Edit;

/// More, less, or something else.
#[derive(Debug, Clone, Copy, Args)]
pub struct How {
    /// These too; so it is if nothing is said
    #[arg(long, group = "how")]
    pub add: bool,
    /// These no more
    #[arg(long, group = "how")]
    pub remove: bool,
    /// These and no others; 'none' takes all away
    #[arg(long, group = "how", alias = "replace")]
    pub set: bool,
}

impl How {
    /// As the daemon takes it. That a principal may nothing is said in one word, with which nothing can be added.
    ///
    /// # Errors
    /// Nothing can be added to or taken from what a principal may.
    pub fn edit(self, nothing: bool) -> Result<Edit, &'static str> {
        match self {
            Self { add: true, .. } | Self { remove: true, .. } if nothing => {
                Err("'none' is no permission to add or to remove: it takes all away, with --set")
            }
            Self { remove: true, .. } => Ok(Edit::Remove),
            Self { set: true, .. } => Ok(Edit::Replace),
            _ if nothing => Ok(Edit::Replace),
            _ => Ok(Edit::Add),
        }
    }
}
