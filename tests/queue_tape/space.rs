//! A full disk below: what needs space waits, all else goes on, and nothing holds up a fence or a stop.

use std::time::Instant;

use rustix::io::Errno;
use system_tests::process::PATIENCE;
use vhost_backend::limits::SPACE_RETRY_TIME;

use super::*;

fn full_disk(at_once: u8) -> Faults {
    Faults { full: 255, at_once, ..Faults::default() }
}

fn discard(sector: u64) -> BlkRequest {
    let range = [&sector.to_le_bytes()[..], &8u32.to_le_bytes(), &[0; 4]].concat();
    BlkRequest { kind: 11, sector: 0, out: range, room: 0 }
}

const FLUSH: BlkRequest = BlkRequest { kind: 4, sector: 0, out: vec![], room: 0 };

/// A disk with something on it that has become full, with a write and a discard under way.
fn full(at_once: u8) -> Bench {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
    bench.queue.disk().set_faults(full_disk(at_once));
    bench.driver.submit(&write(16, 9));
    bench.driver.submit(&discard(24));
    bench.turns(10);
    assert_eq!((bench.driver.completions(), bench.queue.disk().in_flight()), (vec![], 0));
    bench
}

/// Statuses of the next answers, which take their time.
fn statuses(bench: &mut Bench, count: usize) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
    let mut statuses = Vec::new();
    while statuses.len() < count {
        bench.queue.turn();
        statuses.extend(bench.driver.completions().iter().map(|answer| answer.status));
        assert!(Instant::now() < deadline, "{statuses:?}");
    }
    statuses
}

#[test]
fn what_needs_space_waits_for_it_and_nothing_else_does() {
    for at_once in [0, 255] {
        let mut bench = full(at_once);
        assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
        assert_eq!(bench.ask(&FLUSH), Some((0, vec![])));
        std::thread::sleep(2 * SPACE_RETRY_TIME.0);
        bench.turns(10);
        assert_eq!(bench.driver.completions(), [], "tried again, and in vain");
        bench.queue.disk().set_faults(Faults { at_once, ..Faults::default() });
        assert_eq!(statuses(&mut bench, 2), [0, 0]);
        assert_eq!(bench.ask(&read(16)), Some((0, vec![9; 4096])));
        assert_eq!(bench.ask(&FLUSH), Some((0, vec![])));
    }
}

#[test]
fn tapes_come_out_right_on_a_disk_that_is_full_now_and_then() {
    let faults =
        Faults { short: 60, again: 10, at_once: 100, full: 8, reorder: true, ..Faults::default() };
    for seed in 0..4 {
        let mut tape = Tape::new(mix(SectorSize::B512), seed);
        Bench::new(SectorSize::B512, SIZE, Cut::Wild, faults, seed).play(&mut tape, 200);
    }
}

/// Of one request, a piece fails and another finds no space: it has failed, and nothing of it is done later.
#[test]
fn tapes_come_out_right_on_a_disk_that_is_full_now_and_then_and_fails_now_and_then() {
    let faults = Faults { short: 30, at_once: 60, full: 50, error: 30, ..Faults::default() };
    for seed in 0..60 {
        let faults = Faults { reorder: seed % 2 == 0, ..faults };
        let mut tape = Tape::new(mix(SectorSize::B512), seed);
        let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Wild, faults, seed);
        bench.play_or_fail(&mut tape, 40);
    }
}

/// The first piece of a long request fails, the second finds no space.
#[test]
fn a_request_of_which_a_piece_has_failed_does_not_wait_for_space() {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    bench.queue.disk().set_stuck(true);
    bench.driver.submit(&BlkRequest { kind: 1, sector: 1024, out: vec![5; 256 << 10], room: 0 });
    bench.queue.turn();
    assert_eq!(bench.queue.disk().in_flight(), 2);
    bench.queue.disk().fail_next([Errno::IO, Errno::NOSPC]);
    bench.queue.disk().set_stuck(false);
    assert_eq!(statuses(&mut bench, 1), [1]);
    // The next request that takes its slot.
    assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
    std::thread::sleep(2 * SPACE_RETRY_TIME.0);
    bench.turns(10);
    assert_eq!(bench.driver.completions(), [], "nothing is answered twice");
    assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
    for sector in [1024, 1024 + 256] {
        assert_eq!(bench.ask(&read(sector)), Some((0, vec![0; 4096])), "nothing came later");
    }
}

#[test]
fn a_fence_does_not_wait_for_space() {
    let mut bench = full(0);
    let confirmed = bench.fence(Reaction::Park);
    // In the turn that hears of it, long before the drain's time is up.
    assert_eq!(confirmed.try_recv().map(|fenced| fenced.held), Ok(2));
    bench.queue.disk().set_faults(Faults::default());
    std::thread::sleep(2 * SPACE_RETRY_TIME.0);
    bench.turns(10);
    assert_eq!(bench.driver.completions(), [], "there is space, and no key");
    bench.give_key();
    assert_eq!(statuses(&mut bench, 2), [0, 0]);
    assert_eq!(bench.ask(&read(16)), Some((0, vec![9; 4096])));
}

#[test]
fn the_reaction_fail_ends_what_waits_for_space_before_the_queue_sleeps() {
    let mut bench = full(0);
    let confirmed = bench.fence(Reaction::Fail);
    assert!(confirmed.try_recv().is_ok());
    let statuses: Vec<u8> = bench.driver.completions().iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [1, 1]);
    bench.queue.disk().set_faults(Faults::default());
    bench.give_key();
    assert_eq!(bench.ask(&read(16)), Some((0, vec![0; 4096])));
}

#[test]
fn a_flush_that_finds_no_space_has_failed_and_so_has_what_waits_for_some() {
    let mut bench = full(0);
    bench.queue.disk().set_faults(Faults { full_late: 255, ..full_disk(0) });
    assert_eq!(bench.ask(&FLUSH), Some((1, vec![])));
    bench.queue.disk().set_faults(Faults::default());
    assert_eq!(statuses(&mut bench, 2), [1, 1]);
    assert_eq!(bench.ask(&FLUSH), Some((1, vec![])), "it could not be trusted");
    assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
}
