//! Changes that were made and are told as failed.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use keyd_client::{message::GrantRequest, permission::Permission};

use super::*;
use crate::audit::copies::Sink;

/// A required copy of the audit log that can be taken away.
#[derive(Clone, Default)]
struct Copy(Arc<AtomicBool>);

impl Copy {
    fn take_away(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Sink for Copy {
    fn path(&self) -> String {
        "elsewhere".to_owned()
    }

    fn put(&mut self, _line: &[u8], _refused: bool) -> io::Result<()> {
        self.renew()
    }

    fn settle(&mut self) -> io::Result<()> {
        self.renew()
    }

    fn renew(&mut self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::other("it is away")),
            false => Ok(()),
        }
    }
}

fn copied() -> (Daemon, Copy) {
    let (twin, copy) = (Twin::new(1), Copy::default());
    let store = testing::copied(twin.dir(), Box::new(copy.clone()));
    (Daemon::on(store, twin).filled(TERMS), copy)
}

/// The copy goes away behind the commit: what was asked for is durable, and is told as failed.
fn unrecorded(daemon: &Daemon, copy: &Copy, request: impl Into<Request>) {
    copy.take_away();
    let refused = daemon.refused(request);
    assert_eq!(refused.code, RefusalCode::Unavailable);
    assert!(refused.message.contains("audit copy elsewhere"), "{}", refused.message);
}

#[test]
fn holders_hear_of_a_loss_whose_record_found_no_copy() {
    let (daemon, copy) = copied();
    let disk = daemon.make_disk("s");
    let grant = |permissions: &[Permission]| GrantRequest::Set {
        principal: Principal::User(60),
        permissions: all(permissions),
    };
    daemon.ask(grant(&[Permission::Attach]));
    let mut holder = daemon.try_attach_as(60, disk).unwrap();
    unrecorded(&daemon, &copy, grant(&[Permission::Read]));
    assert!(holder.expect_revoked().0.contains("no permission 'attach'"));
}

#[test]
fn holders_hear_of_a_key_that_is_back_whose_record_found_no_copy() {
    let (daemon, copy) = copied();
    let mut holder = daemon.attach(daemon.make_disk("s"));
    daemon.ask(KeyRequest::Delete { name: id("k"), consent: Consent::Force, wait_ms: 0 });
    holder.expect_revoked();
    holder.fence();
    unrecorded(&daemon, &copy, KeyRequest::Recover { name: id("k") });
    holder.expect(&Event::Granted);
}
