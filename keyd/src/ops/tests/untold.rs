//! Changes that were made and are told as failed, and a store that cannot be written any more.

use std::{
    io::{self, Read},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::*;
use crate::{audit::copies::Sink, keeper::Keeper};

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

    fn look(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
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
    let grant = |permissions: &[Permission]| grant_to(60, permissions, Scope::All);
    daemon.ask(grant(&[Permission::Attach]));
    let mut holder = daemon.try_attach_as(60, disk).unwrap();
    unrecorded(&daemon, &copy, grant(&[Permission::Read]));
    assert!(holder.expect_revoked().0.contains("no permission 'attach'"));
}

#[test]
fn holders_hear_of_a_key_that_is_back_whose_record_found_no_copy() {
    let (daemon, copy) = copied();
    let mut holder = daemon.attach(daemon.make_disk("s"));
    daemon.ask(KeyDelete { name: id("k"), consent: Consent::Force, wait_ms: 0 });
    holder.expect_revoked();
    holder.fence();
    unrecorded(&daemon, &copy, KeyRecover { name: id("k") });
    holder.expect(&Event::Granted);
}

/// Nothing can take a key away any more: so nobody has one for longer than they were promised.
#[test]
fn beside_a_store_that_cannot_be_written_no_lease_is_prolonged() {
    let daemon = Daemon::new();
    let mut holder = daemon.attach(daemon.make_disk("s"));
    holder.expect_renewal(TERMS.lease_ms);
    daemon.twin.arm(1);
    assert_eq!(daemon.refused(switch(false)).code, RefusalCode::Internal);
    daemon.twin.mend();
    assert_eq!(daemon.refused(switch(false)).code, RefusalCode::Internal, "it stays so");
    let renew = HolderMessage::Renew;
    assert!(daemon.service.holder_says(&holder.caller, holder.lease, &renew).is_err());
    holder.expect_nothing();
}

#[test]
fn a_daemon_whose_store_cannot_be_written_ends_for_another_to_begin() {
    let daemon = Daemon::new();
    let (end, mut ended) = UnixStream::pair().unwrap();
    let keeper = Keeper::start(daemon.service.core(), &Arc::new(end));
    ended.set_read_timeout(Some(Duration::from_millis(2500))).unwrap();
    assert_eq!(ended.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    daemon.twin.arm(1);
    daemon.refused(switch(false));
    ended.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(ended.read(&mut [0]).unwrap(), 1);
    drop(keeper);
}
