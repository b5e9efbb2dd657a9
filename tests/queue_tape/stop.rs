//! Rings that are stopped and go on, here or elsewhere: what waited for a key or for space is in the ring again, and
//! the guest hears of nothing.

use vhost_backend::inflight::Region;

use super::*;

/// Runs until the ring has stopped: where it stands.
fn stop(bench: &mut Bench) -> u16 {
    let stopped = bench.stop();
    let mut stands = (0..2000).map(|_| {
        bench.turns(1);
        stopped.try_recv()
    });
    stands.find_map(Result::ok).expect("a stop waits for no key and no space")
}

fn statuses(bench: &mut Bench) -> Vec<u8> {
    bench.turns(300);
    bench.driver.completions().iter().map(|completion| completion.status).collect()
}

/// With and without a front end that keeps track.
fn regions() -> [Option<Region>; 2] {
    [None, Some(Bench::inflight())]
}

#[test]
fn what_has_begun_and_cannot_end_without_a_key_begins_again_with_it() {
    for region in regions() {
        let mut bench = half_done(region.as_ref());
        let stands = stop(&mut bench);
        let before = statuses(&mut bench);
        assert!(!before.is_empty() && before.len() < 10, "{before:?}");
        assert_eq!(before.len(), usize::from(stands));
        bench.start(stands, region.as_ref());
        assert!(statuses(&mut bench).is_empty(), "there is no key");
        bench.give_key();
        assert_eq!([before, statuses(&mut bench)].concat(), [0; 10]);
        assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
    }
}

/// A device is lost with requests in flight, and the next one is stopped before it has taken any of them: its ring is
/// not enabled yet.
#[test]
fn what_a_predecessor_left_is_in_the_ring_again() {
    for key in [true, false] {
        let region = Bench::inflight();
        let mut bench = Bench::new(SectorSize::B4096, SIZE, Cut::Plain, Faults::default(), 1);
        bench.start(0, Some(&region));
        bench.queue.disk().set_stuck(true);
        (0..10).for_each(|number| {
            bench.driver.submit(&write(8 * number, 7));
        });
        bench.turns(2);
        bench.succeed();
        if key {
            bench.give_key();
        }
        bench.tell(Command::Enable(false));
        bench.set_up(4711, Some(&region));
        let stands = stop(&mut bench);
        assert_eq!((statuses(&mut bench), stands), (vec![], 0));
        // Elsewhere, where nothing but the ring is known.
        bench.succeed();
        bench.give_key();
        bench.start(stands, None);
        assert_eq!(statuses(&mut bench), [0; 10]);
        assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
    }
}

#[test]
fn what_waits_for_space_is_in_the_ring_again_and_what_does_not_is_answered() {
    let full = Faults { full: 255, ..Faults::default() };
    for region in regions() {
        let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, full, 1);
        bench.start(0, region.as_ref());
        bench.driver.submit(&write(16, 9));
        bench.turns(10);
        bench.queue.disk().set_stuck(true);
        bench.driver.submit(&read(8));
        bench.queue.turn();
        let stopped = bench.stop();
        bench.turns(10);
        assert!(stopped.try_recv().is_err(), "a read is at the disk");
        bench.queue.disk().set_stuck(false);
        assert_eq!(statuses(&mut bench), [0]);
        let stands = stopped.try_recv();
        assert_eq!(stands, Ok(1));
        bench.queue.disk().set_faults(Faults::default());
        bench.start(1, region.as_ref());
        assert_eq!(statuses(&mut bench), [0]);
        assert_eq!(bench.ask(&read(16)), Some((0, vec![9; 4096])));
    }
}

/// Sixteen times all of the disk, on a disk that is done at once.
#[test]
fn a_long_request_keeps_its_queue_from_nothing() {
    let at_once = Faults { at_once: 255, ..Faults::default() };
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, at_once, 1);
    let all = [&0u64.to_le_bytes()[..], &(SIZE as u32 / 512).to_le_bytes(), &[0; 4]].concat();
    bench.driver.submit(&BlkRequest { kind: 13, sector: 0, out: all.repeat(16), room: 0 });
    bench.turns(1);
    assert_eq!(bench.driver.completions(), [], "a turn has its end");
    let stopped = bench.stop();
    assert_eq!(stopped.try_recv(), Ok(0), "and so has the request, for now");
    assert_eq!(bench.driver.completions(), []);
    bench.start(0, None);
    assert_eq!(statuses(&mut bench), [0]);
}

#[test]
fn with_the_reaction_fail_a_stop_finds_nothing_that_waits() {
    let mut bench = half_done(None);
    assert!(bench.fence(Reaction::Fail).try_recv().is_ok());
    bench.turns(10);
    let stands = stop(&mut bench);
    let statuses = statuses(&mut bench);
    assert_eq!((statuses.len(), stands), (10, 10));
    assert!(statuses.contains(&1) && statuses.contains(&0), "{statuses:?}");
}

/// Where a ring stood is as a front end stores it, but that one which keeps track may not know it.
#[test]
fn stops_at_any_moment_lose_nothing() {
    let faults = Faults {
        short: 30,
        again: 10,
        at_once: 60,
        full: 40,
        slow: 120,
        reorder: true,
        ..Faults::default()
    };
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let region = random.bool().then(Bench::inflight);
        let mut tape = Tape::new(mix(SectorSize::B512), seed);
        let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Wild, faults, seed);
        stop(&mut bench);
        bench.start(0, region.as_ref());
        for _ in 0..20 {
            for _ in 0..random.usize(1..8) {
                if bench.driver.has_room() {
                    let token = bench.driver.submit(&tape.request());
                    tape.submitted(token);
                }
                bench.turns(random.usize(0..3));
            }
            let key = random.bool();
            let fenced = (!key).then(|| bench.fence(Reaction::Park));
            let stands = stop(&mut bench);
            bench.driver.completions().iter().for_each(|completion| tape.judge(completion));
            let known = region.is_none() || random.bool();
            bench.start(if known { stands } else { 4711 }, region.as_ref());
            assert!(fenced.is_none_or(|fenced| fenced.try_recv().is_ok()));
            if !key {
                bench.give_key();
            }
        }
        bench.queue.disk().set_faults(Faults { full: 0, ..faults });
        bench.play(&mut tape, 50);
    }
}
