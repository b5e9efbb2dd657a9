//! A holder that begins while its key is lost: it waits where a disk that runs would be parked, and nowhere else.

use super::*;

impl Daemon {
    fn begin(&self, disk: DiskId) -> Result<Holder<'_>, Refusal> {
        self.try_attach_or(IfLost::Park, OWNER, disk)
    }
}

/// Its key is back: it gets the DEK for the first time.
fn expect_first(holder: &mut Holder<'_>) -> Vec<u8> {
    holder.expect(&Event::Granted);
    holder.say(&HolderMessage::Reclaim);
    holder.expect(&Event::Reclaimed).expect("a DEK").expose().to_vec()
}

fn expire(daemon: &Daemon, expires: Bound) {
    let change = KeyChange { expires: Some(expires), ..KeyChange::default() };
    let (name, version, consent) = (id("k"), None, Consent::Force);
    daemon.ask(KeyUpdate { name, version, change, consent, wait_ms: 0 });
}

#[test]
fn it_waits_where_disks_park_and_goes_on_when_the_key_is_back() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let dek = daemon.dek(disk);
    daemon.ask(switch(false));
    let mut holder = daemon.begin(disk).unwrap();
    assert!(holder.attached.withheld.as_ref().unwrap().contains("is disabled"));
    assert_eq!(holder.attached.record.id, disk);
    assert_eq!(daemon.begin(disk).err().unwrap().code, RefusalCode::InUse, "one waits");
    let parked = daemon.records("attach").into_iter().find(|row| row.outcome.contains("parked"));
    assert!(parked.unwrap().outcome.contains("is disabled"));
    assert!(holder.expect_still_revoked().contains("is disabled"));
    daemon.ask(switch(true));
    assert_eq!(expect_first(&mut holder), dek);
    // From now on it is a holder like any other.
    daemon.ask(switch(false));
    holder.expect_revoked();
    holder.fence();
    daemon.ask(switch(true));
    assert_eq!(expect_first(&mut holder), dek);
}

#[test]
fn it_is_refused_where_disks_fail_or_the_next_attach_is_to_be_refused() {
    for on_revoke in [OnRevoke::Fail, OnRevoke::Azure1h, OnRevoke::Deferred] {
        let daemon = Daemon::with(Terms { on_revoke, ..TERMS });
        let disk = daemon.make_disk("s");
        daemon.ask(switch(false));
        let refusal = daemon.begin(disk).err().unwrap();
        assert_eq!(refusal.code, RefusalCode::KeyDisabled, "{on_revoke:?}");
        assert!(refusal.message.contains("key enable k"), "{}", refusal.message);
        daemon.ask(switch(true));
        assert_eq!(daemon.attachable(disk), Ok(()), "nobody holds it");
    }
}

/// Which terms hold is asked at each attach.
#[test]
fn it_goes_by_the_terms_of_the_moment() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    daemon.ask(switch(false));
    let on_revoke = Some(OnRevoke::Fail);
    let change = DesChange { on_revoke, ..DesChange::default() };
    daemon.ask(DesUpdate { name: des("s"), change, consent: Consent::Force });
    assert_eq!(daemon.begin(disk).err().unwrap().code, RefusalCode::KeyDisabled);
}

/// A key that has only expired bars new attaches, and running disks go on: there is nothing to wait for.
#[test]
fn it_is_refused_a_key_that_has_expired_where_that_halts_nobody() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    expire(&daemon, Bound::At(1));
    let refusal = daemon.begin(disk).err().unwrap();
    assert!(refusal.message.contains("has expired"), "{}", refusal.message);
}

#[test]
fn one_that_waits_does_not_get_a_key_that_bars_new_attaches_meanwhile() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    let dek = daemon.dek(disk);
    daemon.ask(switch(false));
    let mut holder = daemon.begin(disk).unwrap();
    expire(&daemon, Bound::At(1));
    daemon.ask(switch(true));
    holder.expect_nothing();
    assert!(holder.expect_still_revoked().contains("has expired"));
    holder.expect_nothing();
    expire(&daemon, Bound::Never);
    assert_eq!(expect_first(&mut holder), dek);
}

#[test]
fn a_key_that_never_comes_back_is_not_waited_for() {
    let daemon = Daemon::new();
    let disk = daemon.make_disk("s");
    testing::change(&daemon.core().store, |txn| txn.remove_key(&id("k")));
    assert_eq!(daemon.begin(disk).err().unwrap().code, RefusalCode::NotFound);
}
