//! Moves old rows of the audit log elsewhere.

use std::path::Path;

use keyd_client::message::Reply;

use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    files::SystemDir,
};

/// Moves closed files whose rows all come before `before`. The log begins behind them from then on.
///
/// # Errors
/// [`Refused::ArchivePath`], and those of [`crate::store::Store::archive_audit`].
pub fn run(
    core: &Core,
    permit: Permit<op::AuditArchive>,
    before: u64,
    to: &Path,
) -> Result<Reply, Failure> {
    // The daemon's own working directory is nobody's business.
    if !to.is_absolute() || !to.is_dir() {
        return Err(Refused::ArchivePath(to.to_owned()).into());
    }
    let entry = permit.entry(to.display());
    let done = core.store.archive_audit(before, &SystemDir::new(to), entry)?;
    Ok(Reply::AuditArchived { files: done.files as u64, first: done.begin })
}
