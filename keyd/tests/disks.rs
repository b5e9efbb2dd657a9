//! The life of a disk's record before it has an image, and lists of many.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Keyd, PATIENCE, attach, geometry};
use keyd_client::message::{
    Consent, DiskAbandon, DiskConfirm, DiskCreate, DiskGrow, DiskList, DiskShow, Geometry,
    KeyChange, KeyUpdate, Listing, QueueEngines, RefusalCode, Serving,
};

#[test]
fn an_unconfirmed_disk_can_be_forgotten_a_confirmed_one_not() {
    let keyd = Keyd::start();
    let (kept, forgotten) = (keyd.make_disk(None), keyd.make_disk(None));
    keyd.ask(DiskConfirm { id: kept });
    keyd.ask(DiskConfirm { id: kept });
    assert_eq!(keyd.refused(DiskAbandon { id: kept }).code, RefusalCode::Conflict);
    let held = attach(&keyd, forgotten, false).unwrap();
    let abandon = DiskAbandon { id: forgotten };
    assert_eq!(keyd.refused(abandon.clone()).code, RefusalCode::InUse);
    drop(held);
    keyd.audited("lease-end", "ok");
    keyd.ask(abandon);
    assert_eq!(keyd.refused(DiskShow { id: forgotten }).code, RefusalCode::NotFound);
    assert!(attach(&keyd, forgotten, false).is_err());
    let counts: u64 = keyd.key("platform/platform").versions.iter().map(|v| v.wrapped_deks).sum();
    assert_eq!(counts, 1);
}

#[test]
fn wrong_shapes_are_refused() {
    let keyd = Keyd::start();
    for wrong in [
        Geometry { sector_size: 1024, ..geometry() },
        Geometry { size: 0, ..geometry() },
        Geometry { size: 1000, ..geometry() },
        Geometry { size: u64::MAX, ..geometry() },
        Geometry { data_offset: 4096, ..geometry() },
    ] {
        let request = DiskCreate { des: None, geometry: wrong };
        assert_eq!(keyd.refused(request.clone()).code, RefusalCode::BadRequest, "{wrong:?}");
    }
    let nowhere = DiskCreate { des: Some("x".parse().unwrap()), geometry: geometry() };
    assert_eq!(keyd.refused(nowhere).code, RefusalCode::NotFound);
}

/// Outcomes of an operation in the daemon's log, and in the audit log.
fn outcomes(keyd: &Keyd, operation: &str) -> (Vec<String>, Vec<String>) {
    let log = keyd.log();
    let said = log.lines().filter(|line| line.contains(&format!(" {operation} ")));
    let said = said.filter_map(|line| Some(line.rsplit_once(": ")?.1.to_owned())).collect();
    let audit = keyd.audit().into_iter().filter(|row| row.operation == operation);
    (said, audit.map(|row| row.outcome.to_string()).collect())
}

#[test]
fn a_dry_run_reads_in_no_log_as_if_it_had_been_done() {
    let keyd = Keyd::start();
    let id = keyd.make_disk(None);
    keyd.ask(DiskConfirm { id });
    let grow = |dry_run| DiskGrow { id, size: 2 << 30, dry_run };
    keyd.ask(grow(true));
    assert_eq!(outcomes(&keyd, "disk-grow"), (vec!["dry run".into()], vec![]));
    keyd.ask(grow(false));
    let (said, audited) = outcomes(&keyd, "disk-grow");
    assert_eq!((said, audited), (vec!["dry run".into(), "ok".into()], vec!["ok".into()]));
    keyd.make_key_and_set(60_000);
    let (name, consent) = ("k".parse().unwrap(), Consent::DryRun);
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    keyd.ask(KeyUpdate { name, version: None, change, consent, wait_ms: 0 });
    let dry_run = vec!["dry run".to_owned()];
    assert_eq!(outcomes(&keyd, "key-update"), (dry_run.clone(), dry_run));
}

/// By the account of its process, which makes no line of its own in anybody's terminal.
#[test]
fn a_disk_that_is_served_slowly_or_with_an_odd_header_is_shown_and_warned_of_while_it_is() {
    let keyd = Keyd::start();
    let id = keyd.make_disk(None);
    let status = || {
        let ended = keyd.run(&["status"]);
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
    };
    let before = status();
    assert!(!before.1.contains(&id.to_string()), "{}", before.1);
    let mut held = attach(&keyd, id, false).unwrap();
    assert_eq!(keyd.disk(id).holders[0].serving, None, "who only reads a key serves nothing");
    let serving = Serving {
        queues: QueueEngines { io_uring: 1, threads: 3, ..QueueEngines::default() },
        no_ring: Some("no memory\nfor rings".into()),
        stock_fault: Some("it is odd".into()),
    };
    held.lease.tell_serving(serving.clone()).unwrap();
    let begun = std::time::Instant::now();
    while keyd.disk(id).holders[0].serving.is_none() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(keyd.disk(id).holders[0].serving, Some(serving));
    let (code, said) = status();
    assert_eq!(code, Some(5), "{said}");
    for line in [
        format!(
            "disk {id} has threads in place of io_uring, which is slower: no memory\\nfor rings;"
        ),
        format!("disk {id}: it is odd; the disk is served, but a released volume key"),
    ] {
        assert!(said.contains(&line), "'{line}' is not in: {said}");
    }
    let shown = keyd.run(&["disk", "show", &id.to_string()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for words in ["QUEUES", "1 on io_uring, 3 on threads", "no memory\\nfor rings", "it is odd"] {
        assert!(shown.contains(words), "'{words}' is not in: {shown}");
    }
    let listed = keyd.run(&["disk", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let told = &listed[0]["holders"][0]["serving"];
    assert_eq!(
        (&told["queues"]["threads"], &told["stock_fault"]),
        (&3.into(), &"it is odd".into())
    );
    held.lease.release().unwrap();
    keyd.audited("lease-end", "ok");
    let after = status();
    assert!(after.0 == before.0 && !after.1.contains(&id.to_string()), "{}", after.1);
}

#[test]
fn many_disks_come_page_by_page() {
    let keyd = Keyd::start();
    let mut made: Vec<_> = (0..600).map(|_| keyd.make_disk(None)).collect();
    made.sort_unstable();
    let mut listed = Vec::new();
    let mut pages = 0;
    loop {
        let after = listed.last().copied();
        let Listing { items, more } = keyd.ask(DiskList { after });
        listed.extend(items.iter().map(|disk| disk.record.id));
        pages += 1;
        assert!(pages < 10, "it goes round in circles");
        if !more {
            break;
        }
    }
    assert_eq!((listed, pages), (made, 2));
    let printed = keyd.run(&["disk", "list"]);
    assert_eq!(String::from_utf8(printed.stdout).unwrap().lines().count(), 601);
}
