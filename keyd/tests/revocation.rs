//! A key is taken away from a disk in use, and comes back.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use common::{Held, Keyd, attach, refusal};
use keyd_client::{
    DiskId, KeyId,
    lease::Lease,
    message::{Consent, Event, KeyChange, KeyDelete, KeyUpdate, Phase, RefusalCode},
};

fn in_use() -> (Keyd, DiskId, Held) {
    let keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let disk = keyd.make_disk(Some("s"));
    let held = attach(&keyd, disk, false).unwrap();
    (keyd, disk, held)
}

#[test]
fn a_disabled_key_halts_its_holders_and_comes_back() {
    let (keyd, disk, mut held) = in_use();
    let dek = held.dek.take().unwrap();
    assert_eq!((held.attached.lease_ms, held.attached.record.generation), (5000, 1));
    let begun = Instant::now();
    assert_eq!(keyd.switch(false), 1);
    let reason = held.expect_revoked();
    println!("from the request to the event: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(4), "a lease is told of it before its end");
    assert!(reason.contains("'k'"), "{reason}");
    let phase = |keyd: &Keyd| keyd.disk(disk).holders[0].state.phase;
    assert!(matches!(phase(&keyd), Phase::Halting { .. }));

    held.fence();
    let record = keyd.audited("lease-fenced", "released");
    assert!(record.detail.contains("took_us=1234"), "{}", record.detail);
    assert_eq!(record.subject, disk.to_string());
    let status = keyd.disk(disk);
    assert_eq!((status.holders[0].state.phase, status.key_enabled), (Phase::Parked, false));

    held.lease.reclaim().unwrap();
    let (event, none) = held.hear(Duration::from_secs(5)).unwrap();
    assert!(matches!(event, Event::StillRevoked(r) if r.code == RefusalCode::KeyDisabled));
    assert!(none.is_none());

    assert_eq!(keyd.switch(true), 1);
    held.expect(&Event::Granted);
    held.lease.reclaim().unwrap();
    let again = held.expect(&Event::Reclaimed).unwrap();
    assert_eq!(again.expose(), dek.expose());
    assert_eq!(keyd.audited("reclaim", "ok").subject, disk.to_string());
    keyd.verify();
}

#[test]
fn a_fence_that_reports_after_the_key_is_back_is_granted_at_once() {
    let (keyd, _, mut held) = in_use();
    keyd.switch(false);
    held.expect_revoked();
    assert_eq!(keyd.switch(true), 0, "it has not confirmed yet");
    held.fence();
    held.expect(&Event::Granted);
    held.lease.reclaim().unwrap();
    assert!(held.expect(&Event::Reclaimed).is_some());
}

#[test]
fn a_holder_that_does_not_confirm_is_written_down() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(1000);
    let disk = keyd.make_disk(Some("s"));
    let mut held = attach(&keyd, disk, false).unwrap();
    keyd.switch(false);
    held.expect_revoked();
    // Renewals no longer help.
    held.lease.renew().unwrap();
    let record = keyd.audited("lease-end", "not confirmed");
    assert!(record.detail.starts_with("lease ended at 2"), "{}", record.detail);
    assert!(keyd.disk(disk).holders.is_empty());
}

#[test]
fn a_lease_runs_out_unless_it_is_renewed() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(3000);
    let disk = keyd.make_disk(Some("s"));
    let mut held = attach(&keyd, disk, false).unwrap();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(1000));
        held.lease.renew().unwrap();
        held.expect(&Event::Renewed { lease_ms: 3000 });
    }
    assert_eq!(keyd.disk(disk).holders.len(), 1);
    keyd.audited("lease-end", "ran out");
    assert!(keyd.disk(disk).holders.is_empty());
}

#[test]
fn one_writer_until_it_hangs_up() {
    let (keyd, disk, held) = in_use();
    let refused = refusal(attach(&keyd, disk, false));
    assert_eq!(refused.code, RefusalCode::InUse);
    assert!(refused.message.contains(&std::process::id().to_string()), "{}", refused.message);
    assert!(Lease::attach(&keyd.socket(), disk, true, false).is_err(), "nor a reader");
    drop(held);
    let again = attach(&keyd, disk, false).unwrap();
    assert!(again.dek.is_some());
    drop(again);
    let readers = [(); 2].map(|()| Lease::attach(&keyd.socket(), disk, true, false).unwrap());
    assert_eq!(keyd.disk(disk).holders.len(), 2);
    assert_eq!(refusal(attach(&keyd, disk, false)).code, RefusalCode::InUse);
    drop(readers);
}

#[test]
fn a_disabled_key_is_refused_or_waited_for() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(5000);
    let disk = keyd.make_disk(Some("s"));
    let dek = keyd.release(disk);
    keyd.switch(false);
    let refused = refusal(attach(&keyd, disk, false));
    assert_eq!(refused.code, RefusalCode::KeyDisabled);
    assert!(refused.message.contains("keyd key enable k"), "{}", refused.message);
    assert!(keyd.disk(disk).holders.is_empty());

    let mut waiting = attach(&keyd, disk, true).unwrap();
    assert!(waiting.dek.is_none());
    assert_eq!(keyd.disk(disk).holders[0].state.phase, Phase::Parked);
    assert!(waiting.hear(Duration::from_millis(200)).is_none());
    assert_eq!(keyd.switch(true), 1);
    waiting.expect(&Event::Granted);
    waiting.lease.reclaim().unwrap();
    let got = waiting.expect(&Event::Reclaimed).unwrap();
    assert_eq!(got.expose(), dek.expose());
}

/// Attaches that race with a disable are refused, or told; none is forgotten.
#[test]
fn no_attach_slips_past_a_disable() {
    let keyd = Keyd::start();
    keyd.make_key_and_set(60_000);
    let disks: Vec<_> = (0..24).map(|_| keyd.make_disk(Some("s"))).collect();
    let (mut had, mut refused) = (0, 0);
    for round in 0..6 {
        keyd.switch(true);
        let done = AtomicUsize::new(0);
        let some = |disks: &[DiskId]| -> Vec<Option<Held>> {
            let one = |disk: &DiskId| {
                let held = attach(&keyd, *disk, false).ok();
                done.fetch_add(1, Ordering::Relaxed);
                held
            };
            disks.iter().map(one).collect()
        };
        let outcomes = std::thread::scope(|scope| {
            let attaching: Vec<_> =
                disks.chunks(6).map(|disks| scope.spawn(|| some(disks))).collect();
            // In the middle of it, however slow the machine is.
            while done.load(Ordering::Relaxed) < 3 * round {
                std::thread::yield_now();
            }
            keyd.switch(false);
            attaching.into_iter().flat_map(|a| a.join().unwrap()).collect::<Vec<_>>()
        });
        for held in outcomes {
            match held {
                Some(mut held) => {
                    held.expect_revoked();
                    had += 1;
                }
                None => refused += 1,
            }
        }
    }
    println!("{had} held and were told, {refused} were refused");
    assert!(had > 0 && refused > 0, "{had} {refused}");
    keyd.verify();
}

/// The platform's key is an administrator's to pull, knowingly; it cannot be deleted.
#[test]
fn the_platform_key_is_pulled_with_force_and_never_deleted() {
    let keyd = Keyd::start();
    let disk = keyd.make_disk(None);
    let mut held = attach(&keyd, disk, false).unwrap();
    let (name, consent) = (KeyId::platform(), Consent::IfUnused);
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let update = |consent| KeyUpdate {
        name: name.clone(),
        version: None,
        change: change.clone(),
        consent,
        wait_ms: 0,
    };
    assert_eq!(keyd.refused(update(consent)).code, RefusalCode::NeedsConsent);
    keyd.ask(update(Consent::Force));
    held.expect_revoked();
    let delete = KeyDelete { name, consent: Consent::Force, wait_ms: 0 };
    assert_eq!(keyd.refused(delete).code, RefusalCode::Conflict);
}
