//! Makes the backups that the daemon keeps by itself.

use keyd_client::message::StateBackup;

use crate::{
    audit::Entry,
    auth::Op,
    backups::Keeping,
    core::Core,
    error::{Failure, Refused},
    log,
    recovery::{self, RecoveryError},
};

/// Makes one if it is time. What fails is told by the status, and tried again.
///
/// # Errors
/// None.
pub fn run(core: &Core) -> Result<(), Failure> {
    let Some(keeping) = &core.backups else {
        return Ok(());
    };
    let now = core.now();
    if keeping.due(now) {
        keeping.note(now, backup(core, keeping, now).map_err(|failure| log::chain(&failure)));
    }
    Ok(())
}

fn backup(core: &Core, keeping: &Keeping, now: u64) -> Result<(), Failure> {
    let path = keeping.path(now);
    recovery::outside(&path, core.store.identity()?)?;
    let recipients = recovery::recipients(&keeping.ask.recipients)?;
    let detail = format!("to={}", recovery::names(&recipients));
    core.store.commit(|txn| {
        txn.put_backed_up(now)?;
        Ok(((), Entry::by_daemon(StateBackup::NAME, path.display()).detail(detail)))
    })?;
    let whole = core.store.whole()?;
    recovery::write(&whole, core.keyring.root(), &recipients, &path)
        .map_err(RecoveryError::told)?;
    // It is whole, and was read again: only now the oldest go.
    keeping.prune().map_err(|error| {
        let to = keeping.ask.to.display();
        Refused::Backup(format!("old backups stay in {to}: {error}")).into()
    })
}
