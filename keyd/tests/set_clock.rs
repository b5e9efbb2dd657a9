//! The real daemon on a host whose clock was set while it did not run. libfaketime (Debian's package of that name)
//! tells it another time than it is; time since the host's start, which nobody sets, is left as it is.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{
    Keyd, PATIENCE,
    https::{connect_local, exchange, request},
    vaults::Vaults,
};
use rustix::process::{Pid, Signal, kill_process};

/// Where Debian has the library, for whatever architecture.
fn library() -> Option<PathBuf> {
    let found = fs::read_dir("/usr/lib").unwrap().find_map(|entry| {
        let library = entry.unwrap().path().join("faketime/libfaketimeMT.so.1");
        library.exists().then_some(library)
    });
    if found.is_none() {
        must_run::skip("there is no libfaketime (Debian: apt install libfaketime)");
    }
    found
}

/// Ends the daemon, and starts it at another time: so long from now, or behind an `@` itself.
fn restart_at(keyd: &mut Keyd, library: &Path, time: &str) {
    assert_eq!(keyd.end(), Some(0));
    forget(keyd.pid());
    let text = |text: &str| text.to_owned();
    keyd.resume_in(vec![
        ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
        ("FAKETIME", text(time)),
        ("FAKETIME_DONT_FAKE_MONOTONIC", text("1")),
        ("NO_FAKE_STAT", text("1")),
        ("TZ", text("UTC")),
    ]);
}

/// Takes away what the library leaves where its process may not remove anything.
fn forget(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // It is there only if that process had the library.
        let _ = fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

fn said(keyd: &Keyd, args: &[&str]) -> String {
    let output = keyd.run(args);
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Returns when the keeper has done all that was due at the call: it answers a signal in each of its rounds.
fn what_is_due_is_done(keyd: &Keyd) {
    for _ in 0..2 {
        let answered = |keyd: &Keyd| keyd.log().matches("SIGHUP").count();
        let (before, begun) = (answered(keyd), Instant::now());
        kill_process(Pid::from_raw(keyd.pid() as i32).unwrap(), Signal::HUP).unwrap();
        while answered(keyd) == before {
            assert!(begun.elapsed() < PATIENCE, "{}", keyd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_clock_that_is_days_ahead_after_a_stop_destroys_no_key_until_somebody_says_that_it_is_right() {
    let Some(library) = library() else { return };
    let mut keyd = Keyd::start();
    for args in [
        "vault create bank --retention 7",
        "key create bank/gone --bits 2048",
        "key delete bank/gone --force",
        "key create bank/later --bits 2048",
    ] {
        let done = keyd.run(&args.split(' ').collect::<Vec<_>>());
        assert!(done.status.success(), "{args}: {done:?}");
    }
    restart_at(&mut keyd, &library, "+8d");
    // Deleted today, whatever day that is: it has its seven days.
    assert!(keyd.run(&["key", "delete", "bank/later", "--force"]).status.success());
    what_is_due_is_done(&keyd);
    assert!(said(&keyd, &["key", "show", "bank/gone"]).contains("bank/gone"));
    keyd.audited("key-delete", "ok");
    assert!(!keyd.audit().iter().any(|row| row.operation == "key-purge"));
    let told = said(&keyd, &["status"]);
    let told = told.lines().find(|line| line.contains("the clock says")).expect("a warning");
    assert!(told.contains("8 days 0 h more than keyd saw pass"), "{told}");
    let command = told.split('\'').find_map(|text| text.strip_prefix("keyd ")).expect("a command");
    assert_eq!(command, "clock confirm");
    let done = keyd.run(&command.split(' ').collect::<Vec<_>>());
    assert!(done.status.success(), "{done:?}");
    what_is_due_is_done(&keyd);
    assert_eq!(keyd.run(&["key", "show", "bank/gone"]).status.code(), Some(1));
    assert!(said(&keyd, &["key", "show", "bank/later"]).contains("bank/later"));
    let purged: Vec<_> =
        keyd.audit().into_iter().filter(|row| row.operation == "key-purge").collect();
    assert_eq!(purged.len(), 1, "{purged:?}");
    assert_eq!((purged[0].subject.as_str(), purged[0].outcome.as_str()), ("bank/gone", "ok"));
    assert!(!said(&keyd, &["status"]).contains("the clock says"));
    assert_eq!(keyd.end(), Some(0));
    forget(keyd.pid());
}

#[test]
fn an_expired_token_stays_expired_under_a_clock_that_is_a_day_behind_or_in_1970() {
    let Some(library) = library() else { return };
    let mut vaults = Vaults::start();
    let token = vaults.token("full", 3_600_000);
    let status = |keyd: &Keyd| {
        let mut stream = connect_local(&keyd.socket()).unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let bytes = request("GET", "/keys?api-version=7.4", "prod.localhost", &headers, b"");
        exchange(&mut *stream, &bytes).unwrap().status
    };
    let keyd = &mut vaults.keyd;
    assert_eq!(status(keyd), 200);
    restart_at(keyd, &library, "+2h");
    assert_eq!(status(keyd), 401);
    for wrong in ["-1d", "@1970-01-01 00:01:00"] {
        restart_at(keyd, &library, wrong);
        assert_eq!(status(keyd), 401, "{wrong}");
        let told = said(keyd, &["status"]);
        assert!(told.contains("before the newest time that keyd has committed"), "{told}");
    }
    // With the right time, and somebody's word for it, it has its hour.
    restart_at(keyd, &library, "+0");
    assert_eq!(status(keyd), 401);
    assert!(keyd.run(&["clock", "confirm"]).status.success());
    assert_eq!(status(keyd), 200);
    assert_eq!(keyd.end(), Some(0));
    forget(keyd.pid());
}
