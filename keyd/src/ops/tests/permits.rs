//! A permission that is taken away while what it permitted waits for its turn: it is asked for again there.

use std::fmt::Debug;

use super::*;
use crate::{
    audit::Entry,
    auth::{Op, Permit, Place, op},
    error::{Failure, Refused},
    ops::{self, operation::Operation},
};

const USER: u32 = 60;

fn grant(daemon: &Daemon, permissions: &[Permission]) {
    daemon.ask(grant_to(USER, permissions, Scope::All));
}

/// As a request that is permitted now, and waits for a commit that is under way.
fn permitted<O: Op>(daemon: &Daemon, place: impl Into<Place>) -> Permit<O> {
    let view = daemon.core().store.snapshot().unwrap();
    daemon.core().auth.authorize(&Caller::local(USER, 77), place, &view).unwrap()
}

fn is_forbidden<T: Debug>(result: Result<T, Failure>) {
    match result {
        Err(Failure::Refused(
            Refused::Forbidden { .. }
            | Refused::ForbiddenIn { .. }
            | Refused::OutOfReach { .. }
            | Refused::NotYours { .. },
        )) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_attach_that_waited_for_the_loss_of_its_permission_is_refused() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    grant(&daemon, &[Permission::Attach]);
    let permit = permitted::<Attach>(&daemon, disk);
    grant(&daemon, &[Permission::Read]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let ask = Attach { id: disk, read_only: false, if_lost: IfLost::Refuse };
    is_forbidden(ops::attach::run(daemon.core(), permit, ask, &Arc::new(ours)));
    let heard = wire::receive::<message::Answer<Attached>>(&mut &theirs);
    assert!(matches!(heard, Err(WireError::Io(_) | WireError::Closed)), "nothing was handed over");
    assert_eq!(daemon.attachable(disk), Ok(()), "nobody holds it");
}

#[test]
fn a_reclaim_that_waited_for_the_loss_of_its_permission_is_refused() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    grant(&daemon, &[Permission::Attach]);
    let mut holder = daemon.try_attach_as(USER, disk).unwrap();
    daemon.ask(switch(false));
    holder.expect_revoked();
    holder.fence();
    daemon.ask(switch(true));
    holder.expect(&Event::Granted);
    let permit = permitted::<op::Reclaim>(&daemon, disk);
    grant(&daemon, &[Permission::Read]);
    is_forbidden(ops::reclaim::run(daemon.core(), permit, holder.lease));
    holder.expect_nothing();
}

/// Whatever the operation: in a vault, and with what only an administrator may do besides.
#[test]
fn nothing_is_committed_by_a_permission_that_is_gone() {
    let daemon = Daemon::new();
    let change = |_: &crate::store::Txn<'_>| Ok(((), Entry::by_daemon("late", "test")));
    let vault = VaultName::default_vault();
    daemon.ask(policy(&Principal::User(USER), &[KeyPermission::Rotate]));
    let rotate = permitted::<KeyRotate>(&daemon, Some(&vault));
    daemon.core().commit(&rotate, change).unwrap();
    daemon.ask(policy(&Principal::User(USER), &[]));
    is_forbidden(daemon.core().commit(&rotate, change));
    is_forbidden(KeyRotate { name: id("k") }.run(daemon.core(), rotate));
    assert_eq!(daemon.key("k").versions.len(), 1);
    grant(&daemon, &[Permission::Administer]);
    let confirm = permitted::<DiskConfirm>(&daemon, daemon.make_disk("s"));
    grant(&daemon, &[Permission::CreateDisk]);
    is_forbidden(daemon.core().commit(&confirm, change));
    assert_eq!(daemon.records("late").len(), 1);
}
