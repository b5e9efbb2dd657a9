//! What is to be durable, in common: one sync at a time, and nothing that is told before it is so.

use std::sync::atomic::Ordering;

use rustix::io::Errno;
use vhost_backend::disk::sim::{Change, Happening};

use super::*;

const FLUSH: BlkRequest = BlkRequest { kind: 4, sector: 0, out: vec![], room: 0 };

/// A disk with a flush at it, and two more that came later.
fn flushing() -> Bench {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    bench.queue.disk().set_stuck(true);
    for _ in 0..3 {
        bench.driver.submit(&FLUSH);
        bench.turns(2);
        assert_eq!(bench.queue.disk().in_flight(), 1, "one at a time");
    }
    bench
}

fn statuses(bench: &mut Bench) -> Vec<u8> {
    bench.queue.disk().set_stuck(false);
    bench.turns(10);
    bench.driver.completions().iter().map(|answer| answer.status).collect()
}

#[test]
fn who_comes_while_a_sync_is_at_the_disk_shares_the_next() {
    let mut bench = flushing();
    assert_eq!(statuses(&mut bench), [0; 3]);
    assert_eq!(bench.queue.disk().syncs(), 2);
}

#[test]
fn a_sync_that_has_no_effect_yet_is_tried_again_for_all_of_its_requests() {
    let mut bench = flushing();
    bench.queue.disk().fail_next([Errno::AGAIN, Errno::INTR]);
    assert_eq!(statuses(&mut bench), [0; 3]);
    assert_eq!(bench.queue.disk().syncs(), 2);
}

#[test]
fn no_flush_that_was_under_way_beside_a_failed_one_ends_well() {
    let mut bench = flushing();
    bench.queue.disk().fail_next([Errno::IO]);
    assert_eq!(statuses(&mut bench), [1; 3]);
}

#[test]
fn writes_through_a_page_cache_are_made_durable_together() {
    let faults = Faults { page_cache: true, ..Faults::default() };
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, faults, 1);
    bench.shared.write_through.store(true, Ordering::Relaxed);
    bench.queue.disk().start_record();
    for number in 0..8 {
        bench.driver.submit(&write(8 * number, 7));
    }
    assert_eq!(statuses(&mut bench), [0; 8]);
    let record = bench.queue.disk().take_record();
    let durable = |happening: &Happening| {
        matches!(happening, Happening::Began(_, Change::Write { durable: true, .. }))
    };
    assert!(!record.iter().any(durable));
    let syncs = bench.queue.disk().syncs();
    assert!((1..=2).contains(&syncs), "{syncs}");
    bench.shared.write_through.store(false, Ordering::Relaxed);
    assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
    assert_eq!(bench.queue.disk().syncs(), syncs, "with the cache on nobody asks for it");
}

#[test]
fn a_write_through_a_page_cache_whose_sync_fails_is_an_error_and_the_last() {
    let faults = Faults { page_cache: true, sync_error: 255, ..Faults::default() };
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, faults, 1);
    bench.shared.write_through.store(true, Ordering::Relaxed);
    let statuses: Vec<u8> = (0..20).filter_map(|_| bench.ask(&write(8, 7))).map(|a| a.0).collect();
    assert_eq!(statuses.last(), Some(&1));
    bench.queue.disk().set_faults(Faults::default());
    assert_eq!(bench.ask(&write(8, 7)), Some((1, vec![])));
}

#[test]
fn who_waits_for_the_next_sync_holds_up_no_stop_and_is_in_the_ring_again() {
    let mut bench = flushing();
    let stopped = bench.stop();
    bench.turns(10);
    assert!(stopped.try_recv().is_err(), "one is at the disk");
    assert_eq!(statuses(&mut bench), [0]);
    let stands = stopped.try_recv().expect("it is over");
    assert_eq!((stands, bench.queue.disk().syncs()), (1, 1));
    bench.start(stands, None);
    assert_eq!(statuses(&mut bench), [0; 2]);
    assert_eq!(bench.queue.disk().syncs(), 2);
}

#[test]
fn who_waits_for_the_next_sync_goes_on_with_the_key() {
    let mut bench = flushing();
    let confirmed = bench.fence(Reaction::Park);
    std::thread::sleep(vhost_backend::limits::DRAIN_TIME);
    bench.queue.turn();
    assert_eq!(
        confirmed.try_recv().map(|fenced| (fenced.held, fenced.disk_is_idle)),
        Ok((3, false))
    );
    assert_eq!(statuses(&mut bench), [0]);
    assert_eq!(bench.queue.disk().in_flight(), 0, "behind the fence nothing is begun");
    bench.give_key();
    assert_eq!(statuses(&mut bench), [0; 2]);
}

#[test]
fn a_sync_without_room_at_the_disk_waits_for_some() {
    let mut bench = crowded(1);
    bench.driver.submit(&FLUSH);
    bench.turns(2);
    let answers = statuses(&mut bench);
    assert_eq!(answers, [0; 10]);
    assert_eq!(bench.queue.disk().syncs(), 1);
}
