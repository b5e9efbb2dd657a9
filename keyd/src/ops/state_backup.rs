//! Writes the whole state into a file, sealed to a recovery recipient.

use std::path::Path;

use keyd_client::message::Reply;

use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    recovery::{self, RecoveryError},
};

/// Writes a backup of this moment, in which the record of it is the newest. Everything goes on meanwhile.
///
/// # Errors
/// [`Refused::Backup`].
pub fn run(
    core: &Core,
    permit: Permit<op::StateBackup>,
    to: &Path,
    recipients: &[String],
) -> Result<Reply, Failure> {
    if !to.is_absolute() {
        let why = format!("{} is no absolute path: name the file from / on", to.display());
        return Err(Refused::Backup(why).into());
    }
    // Where the store was taken away this may be all that keyd can write in, and it cannot be told of another place
    // without ending: what is made there is moved from there.
    if core.store.lost().is_none() {
        recovery::outside(to, core.store.identity()?)?;
    }
    let recipients = recovery::recipients(recipients)?;
    // Before anything leaves: it holds every key.
    let detail = format!("to={}", recovery::names(&recipients));
    // A store that was taken away is still open: a backup is the way back, and lets nobody have a key by itself.
    let class = if core.store.lost().is_some() { Class::Withdrawal } else { Class::Use };
    core.commit(&permit, |txn| {
        txn.put_backed_up(core.now())?;
        Ok(((), permit.entry(to.display()).class(class).detail(detail)))
    })?;
    let whole = core.store.whole()?;
    let manifest = recovery::write(&whole, core.keyring.root(), &recipients, to)
        .map_err(RecoveryError::told)?;
    Ok(Reply::BackedUp(manifest.told(to)))
}
