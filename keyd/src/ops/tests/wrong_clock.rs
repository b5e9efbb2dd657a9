//! A clock that is wrong: what cannot be undone is not done by it, and what has ended is not good again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{auth::Credentials, clock::Source, model::token::SecretHash, ops::due};

const HOUR: u64 = 3600 * 1000;

/// A host whose clock is set by hand.
#[derive(Debug)]
struct Host {
    wall: AtomicU64,
    boot: AtomicU64,
}

impl Source for Host {
    fn wall(&self) -> UnixMillis {
        self.wall.load(Ordering::Relaxed)
    }

    fn boot(&self) -> u64 {
        self.boot.load(Ordering::Relaxed)
    }
}

impl Host {
    fn new() -> Arc<Self> {
        Arc::new(Self { wall: AtomicU64::new(clock::now()), boot: AtomicU64::new(50_000) })
    }

    fn set(&self, wall: UnixMillis) {
        self.wall.store(wall, Ordering::Relaxed);
    }

    fn open(self: &Arc<Self>, twin: Twin) -> Daemon {
        let options = Options { time: self.clone(), ..Options::default() };
        let store = Store::open(twin.dir(), testing::seal(), &options, None).unwrap();
        Daemon::on(store, twin)
    }

    fn first(self: &Arc<Self>) -> Daemon {
        self.first_with(TERMS)
    }

    fn first_with(self: &Arc<Self>, terms: Terms) -> Daemon {
        self.open(Twin::new(1)).filled(terms)
    }

    /// The daemon ends, the host is started anew with another time on its clock, and the daemon with it.
    fn restart(self: &Arc<Self>, daemon: Daemon, wall: UnixMillis) -> Daemon {
        let Daemon { service, twin } = daemon;
        drop(service);
        self.set(wall);
        self.boot.store(20_000, Ordering::Relaxed);
        self.open(twin)
    }

    /// Time passes, in which the daemon does what is due.
    fn runs(&self, daemon: &Daemon, hours: u64) {
        for _ in 0..hours * 4 {
            self.wall.fetch_add(HOUR / 4, Ordering::Relaxed);
            self.boot.fetch_add(HOUR / 4, Ordering::Relaxed);
            due::enforce(daemon.core()).unwrap();
            due::purge(daemon.core()).unwrap();
            due::rotate(daemon.core()).unwrap();
        }
    }
}

fn is_there(daemon: &Daemon) -> bool {
    daemon.try_as(OWNER, KeyShow { name: id("k") }).is_ok()
}

/// Key `k` is deleted, to be destroyed in seven days, in a vault that protects it.
fn delete(host: &Host, daemon: &Daemon) {
    let now = host.wall();
    daemon.edit_key("k", |key| key.delete(now, now + days(7)).unwrap());
    daemon.ask(VaultProtect { name: VaultName::default_vault() });
}

#[test]
fn a_start_with_the_clock_ahead_destroys_no_deleted_key_before_a_day_has_passed() {
    let host = Host::new();
    let daemon = host.first();
    delete(&host, &daemon);
    let daemon = host.restart(daemon, host.wall() + days(8));
    host.runs(&daemon, 1);
    assert!(is_there(&daemon));
    let warned = daemon.warnings();
    assert!(warned.contains("8 days") && warned.contains("'keyd clock confirm'"), "{warned}");
    host.runs(&daemon, 22);
    assert!(is_there(&daemon));
    host.runs(&daemon, 2);
    assert!(!is_there(&daemon), "{}", daemon.warnings());
    assert!(!daemon.warnings().contains("clock"), "{}", daemon.warnings());
}

#[test]
fn a_clock_that_jumps_under_a_daemon_destroys_nothing_and_does_no_harm_when_it_is_mended() {
    let host = Host::new();
    let daemon = host.first();
    delete(&host, &daemon);
    let right = host.wall();
    host.set(right + days(8));
    host.runs(&daemon, 3);
    assert!(is_there(&daemon));
    host.set(right + 3 * HOUR);
    host.runs(&daemon, 6 * 24);
    assert!(is_there(&daemon), "its time comes after seven days");
    host.runs(&daemon, 24);
    assert!(!is_there(&daemon));
}

#[test]
fn a_clock_that_is_confirmed_is_believed_at_once_and_that_is_on_record() {
    let host = Host::new();
    let daemon = host.first();
    delete(&host, &daemon);
    let daemon = host.restart(daemon, host.wall() + days(8));
    let before = daemon.ask(ClockShow {});
    assert_eq!(before.clock - before.proven, days(8));
    assert!(before.wrong.is_some());
    assert_eq!(daemon.try_as(50, ClockConfirm {}).unwrap_err().code, RefusalCode::Forbidden);
    let after = daemon.ask(ClockConfirm {});
    assert_eq!((after.clock, after.now, after.wrong), (after.proven, after.proven, None));
    let record = daemon.records("clock-confirm").pop().unwrap();
    assert_eq!((record.outcome.as_str(), record.time), ("ok", after.clock));
    due::purge(daemon.core()).unwrap();
    assert!(!is_there(&daemon));
}

fn make_token(daemon: &Daemon, lifetime_ms: u64) -> Credentials {
    let app = || "ci".parse().unwrap();
    if daemon.records("principal-create").is_empty() {
        daemon.ask(AppCreate { name: app(), certificates: BTreeSet::new() });
    }
    let ask = TokenCreate { app: app(), label: String::new(), lifetime_ms };
    Credentials::Token(SecretHash::of(daemon.ask(ask).secret.expose()))
}

fn is_good(daemon: &Daemon, token: &Credentials) -> bool {
    let from = crate::core::refusals::Origin::remote("here", std::net::Ipv4Addr::LOCALHOST.into());
    daemon.service.identify(token, &from).is_ok()
}

#[test]
fn a_token_that_has_expired_is_not_made_good_again_by_a_clock_that_is_behind() {
    let host = Host::new();
    let daemon = host.first();
    let token = make_token(&daemon, HOUR);
    assert!(is_good(&daemon, &token));
    host.runs(&daemon, 2);
    assert!(!is_good(&daemon, &token));
    let right = host.wall();
    // Set back while it runs, then at a start, then in 1970.
    host.set(right - days(1));
    assert!(!is_good(&daemon, &token));
    let mut daemon = daemon;
    for wrong in [right - days(1), 0] {
        daemon = host.restart(daemon, wrong);
        assert!(!is_good(&daemon, &token), "{wrong}");
        let newest = daemon.records("authenticate").pop().unwrap();
        assert!(newest.time >= right, "records never go back");
        let warned = daemon.warnings();
        assert!(warned.contains("before the newest time"), "{warned}");
    }
}

#[test]
fn a_clock_that_is_ahead_refuses_a_token_and_does_not_forget_it() {
    let host = Host::new();
    let daemon = host.first();
    let token = make_token(&daemon, HOUR);
    let right = host.wall();
    host.set(right + days(8));
    assert!(!is_good(&daemon, &token));
    // Another one would make room for itself.
    let future = make_token(&daemon, HOUR);
    assert!(is_good(&daemon, &future));
    host.set(right + 1000);
    assert!(!is_good(&daemon, &token), "a time that was committed stays");
    daemon.ask(ClockConfirm {});
    assert!(is_good(&daemon, &token));
    assert!(!is_good(&daemon, &future), "it would be good for eight days");
}

#[test]
fn a_jump_ahead_halts_no_running_disk_by_an_end_and_attaches_none() {
    let host = Host::new();
    let daemon = host.first_with(Terms { on_expiry: OnExpiry::Revoke, ..TERMS });
    let (disk, other) = (daemon.make_disk("s"), daemon.make_disk("s"));
    let end = (host.wall() + days(2)) / 1000;
    daemon.ask(update(None, KeyChange { expires: Some(Bound::At(end)), ..KeyChange::default() }));
    let mut holder = daemon.attach(disk);
    host.set(host.wall() + days(3));
    due::enforce(daemon.core()).unwrap();
    holder.expect_nothing();
    let refused = daemon.attachable(other).unwrap_err();
    assert!(refused.message.contains("has expired"), "{refused:?}");
    daemon.ask(ClockConfirm {});
    due::enforce(daemon.core()).unwrap();
    assert!(holder.expect_revoked().0.contains("has expired"));
}

#[test]
fn a_grace_lasts_as_long_as_it_was_given_whatever_the_clock_does() {
    for jump in [days(30) as i64, -(days(30) as i64)] {
        let host = Host::new();
        let daemon = host.first_with(Terms { grace_ms: 2 * HOUR, ..TERMS });
        let disk = daemon.make_disk("s");
        let mut holder = daemon.attach(disk);
        daemon.ask(switch(false));
        host.set(host.wall().checked_add_signed(jump).unwrap());
        host.runs(&daemon, 1);
        holder.expect_nothing();
        host.runs(&daemon, 2);
        holder.expect_revoked();
    }
}

#[test]
fn a_jump_ahead_rotates_no_key() {
    let host = Host::new();
    let daemon = host.first();
    daemon.edit_key("k", |key| {
        key.rotation_policy = Some(RotationPolicy {
            rotate: Some(Trigger::AfterCreate(keyd_client::Period::days(90))),
            notify: None,
            expires_after: None,
            created: 0,
            updated: 0,
        });
    });
    host.set(host.wall() + days(400));
    host.runs(&daemon, 2);
    assert_eq!(daemon.key("k").versions.len(), 1);
    daemon.ask(ClockConfirm {});
    due::rotate(daemon.core()).unwrap();
    assert_eq!(daemon.key("k").versions.len(), 2);
}

/// Flips a bit in each row that has a text.
fn rot(daemon: &Daemon, text: &str) {
    daemon.twin.rot("store.redb", |bytes| {
        let has = |at: &usize| bytes[*at..].starts_with(text.as_bytes());
        let found: Vec<usize> = (0..bytes.len()).filter(has).collect();
        assert!(!found.is_empty());
        found.iter().for_each(|at| bytes[at + text.len() + 3] ^= 1);
    });
}

#[test]
fn all_is_checked_after_a_day_of_running_time_by_any_clock_and_what_has_rotted_is_named() {
    let host = Host::new();
    let daemon = host.first();
    let disk = daemon.make_disk("s");
    due::check(daemon.core()).unwrap();
    let begun = daemon.core().store.damage().checked;
    rot(&daemon, &format!("\"id\":\"{disk}\""));
    let told = format!("damaged in the store: disk {disk} (on the disk; in memory it is sound)");
    let checked = |hours: u64| {
        host.boot.fetch_add(hours * HOUR, Ordering::Relaxed);
        due::check(daemon.core()).unwrap();
        daemon.core().store.damage().checked != begun
    };
    // Neither brings the day nearer, or puts it off.
    for wrong in [begun + days(3), begun - days(5), 0] {
        host.set(wrong);
        assert!(!checked(0), "{wrong}");
    }
    assert!(!checked(23));
    assert!(!daemon.warnings().contains(&told));
    // The keeper does it by itself.
    host.boot.fetch_add(HOUR, Ordering::Relaxed);
    host.set(begun + days(1));
    let (_end, end) = UnixStream::pair().unwrap();
    let keeper = crate::keeper::Keeper::start(daemon.service.core(), &Arc::new(end));
    let since = std::time::Instant::now();
    while !daemon.warnings().contains(&told) {
        assert!(since.elapsed().as_secs() < 120, "{}", daemon.warnings());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(keeper);
    assert_eq!(daemon.core().store.damage().checked, begun + days(1));
}
