//! One queue, in this process, on the disk's faulty twin: random tapes in every legal cut of descriptors, with
//! short and reordered I/O below, fences in between, and a disk that hangs during one. Of a full one tells
//! `queue_tape/space.rs`, of rings that stop and go on `queue_tape/stop.rs`, of flushes `queue_tape/commit.rs`.

#[path = "queue_tape/commit.rs"]
mod commit;
#[path = "queue_tape/space.rs"]
mod space;
#[path = "queue_tape/stop.rs"]
mod stop;

use images::SectorSize;
use keyd_client::message::Reaction;
use system_tests::{
    bench::{Bench, DATA_OFFSET},
    driver::{BlkRequest, Cut},
    tape::{Mix, Tape},
};
use vhost_backend::{
    disk::{Disk, sim::Faults},
    inflight::Region,
    limits::{BARE_OPERATIONS_MAX, BUFFERS},
    queue::command::Command,
};

const SIZE: u64 = 4 << 20;

fn mix(sector_size: SectorSize) -> Mix {
    let block = sector_size.bytes() as usize;
    Mix {
        block,
        first: 0,
        blocks: SIZE as usize / block,
        longest: (600 << 10) / block,
        discard: true,
    }
}

fn write(sector: u64, byte: u8) -> BlkRequest {
    BlkRequest { kind: 1, sector, out: vec![byte; 4096], room: 0 }
}

fn read(sector: u64) -> BlkRequest {
    BlkRequest { kind: 0, sector, out: vec![], room: 4096 }
}

#[test]
fn tapes_come_out_right_on_a_good_disk() {
    for sector_size in SectorSize::ALL {
        for cut in [Cut::Plain, Cut::Wild] {
            for seed in 0..10 {
                let mut tape = Tape::new(mix(sector_size), seed);
                Bench::new(sector_size, SIZE, cut, Faults::default(), seed).play(&mut tape, 300);
            }
        }
    }
}

#[test]
fn short_reordered_and_repeated_io_changes_nothing() {
    let faults = Faults { short: 60, again: 20, at_once: 100, reorder: true, ..Faults::default() };
    for sector_size in SectorSize::ALL {
        for seed in 0..10 {
            let mut tape = Tape::new(mix(sector_size), seed);
            Bench::new(sector_size, SIZE, Cut::Wild, faults, seed).play(&mut tape, 300);
        }
    }
}

#[test]
fn fences_at_any_moment_lose_nothing() {
    let faults = Faults { short: 30, again: 10, at_once: 60, reorder: true, ..Faults::default() };
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut tape = Tape::new(mix(SectorSize::B512), seed);
        let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Wild, faults, seed);
        for _ in 0..15 {
            for _ in 0..random.usize(1..6) {
                if bench.driver.has_room() {
                    let token = bench.driver.submit(&tape.request());
                    tape.submitted(token);
                }
                bench.queue.turn();
            }
            let confirmed = bench.fence(Reaction::Park);
            while confirmed.try_recv().is_err() {
                bench.queue.turn();
            }
            bench.driver.completions().iter().for_each(|completion| tape.judge(completion));
            (0..50).for_each(|_| {
                bench.queue.turn();
            });
            assert_eq!(bench.driver.completions(), [], "nothing is answered behind a fence");
            bench.give_key();
        }
        bench.play(&mut tape, 50);
    }
}

/// A disk with as many holes to punch as it takes operations, and slow at it.
fn crowded(seed: u64) -> Bench {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), seed);
    assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
    bench.queue.disk().set_stuck(true);
    for request in 0..9 {
        let range = |number: u64| {
            let sector = 1024 + (16 * request + number) * 16;
            [&sector.to_le_bytes()[..], &8u32.to_le_bytes(), &[0; 4]].concat()
        };
        let out = (0..16).flat_map(range).collect();
        bench.driver.submit(&BlkRequest { kind: 11, sector: 0, out, room: 0 });
    }
    bench.turns(2);
    assert_eq!(bench.queue.disk().in_flight(), BUFFERS + BARE_OPERATIONS_MAX);
    bench
}

#[test]
fn the_rest_of_a_short_call_waits_for_room_at_the_disk() {
    for seed in 0..20 {
        let mut bench = crowded(seed);
        // Half of what is submitted ends at once, and short; what does not finds no room.
        let faults = Faults { at_once: 128, short: 255, slow: 255, ..Faults::default() };
        bench.queue.disk().set_faults(faults);
        bench.queue.disk().set_stuck(false);
        bench.driver.submit(&write(16, 9));
        bench.driver.submit(&read(8));
        bench.turns(10);
        let mut answers = bench.driver.completions();
        bench.queue.disk().set_faults(Faults::default());
        bench.turns(10);
        answers.extend(bench.driver.completions());
        assert_eq!(answers.len(), 11);
        assert!(answers.iter().all(|answer| answer.status == 0), "seed {seed}");
        assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
        assert_eq!(bench.ask(&read(16)), Some((0, vec![9; 4096])));
    }
}

#[test]
fn a_disk_that_hangs_does_not_keep_the_key() {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
    bench.queue.disk().set_stuck(true);
    bench.driver.submit(&read(8));
    bench.driver.submit(&write(16, 9));
    bench.queue.turn();
    let confirmed = bench.fence(Reaction::Park);
    assert!(confirmed.try_recv().is_err(), "the drain has its time");
    std::thread::sleep(vhost_backend::limits::DRAIN_TIME);
    bench.queue.turn();
    assert_eq!(
        confirmed.try_recv().map(|fenced| (fenced.held, fenced.disk_is_idle)),
        Ok((2, false))
    );
    // The disk wakes up: the write was ciphertext and is answered; the read needs the key and waits for it.
    bench.queue.disk().set_stuck(false);
    (0..10).for_each(|_| {
        bench.queue.turn();
    });
    assert_eq!(bench.driver.completions().len(), 1);
    assert_eq!(
        bench.queue.disk().in_flight(),
        0,
        "without a key nothing more is asked of the disk"
    );
    let confirmed = bench.fence(Reaction::Park);
    std::thread::sleep(vhost_backend::limits::DRAIN_TIME);
    bench.queue.turn();
    assert!(
        confirmed.try_recv().is_ok_and(|fenced| fenced.disk_is_idle),
        "nothing is at the disk now"
    );
    bench.give_key();
    (0..10).for_each(|_| {
        bench.queue.turn();
    });
    let answers = bench.driver.completions();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].status, &answers[0].data), (0, &vec![7; 4096]));
}

#[test]
fn a_queue_that_is_to_end_takes_nothing_more_while_a_hung_disk_keeps_it() {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    bench.queue.disk().set_stuck(true);
    bench.driver.submit(&write(8, 7));
    bench.turns(2);
    bench.tell(Command::Exit);
    bench.driver.submit(&write(16, 9));
    bench.turns(10);
    assert_eq!(bench.queue.disk().in_flight(), 1);
    bench.queue.disk().set_stuck(false);
    bench.turns(10);
    assert_eq!(bench.driver.completions().len(), 1);
}

/// A ring with long requests that have begun, and cannot end without a key.
fn half_done(region: Option<&Region>) -> Bench {
    const LEN: usize = 1 << 20;
    let mut bench = Bench::new(SectorSize::B4096, SIZE, Cut::Plain, Faults::default(), 1);
    bench.start(0, region);
    bench.queue.disk().set_stuck(true);
    for number in 0..10u64 {
        let sector = number % 4 * (LEN as u64 / 512);
        bench.driver.submit(&BlkRequest { kind: 1, sector, out: vec![7; LEN], room: 0 });
    }
    // More pieces than there are buffers: some requests have begun, some have not, none has ended.
    bench.queue.turn();
    let confirmed = bench.fence(Reaction::Park);
    std::thread::sleep(vhost_backend::limits::DRAIN_TIME);
    bench.queue.turn();
    assert_eq!(confirmed.try_recv().map(|fenced| fenced.held), Ok(10));
    bench.queue.disk().set_stuck(false);
    bench.turns(100);
    bench
}

#[test]
fn requests_that_a_hung_disk_left_half_done_go_on_with_the_key() {
    let mut bench = half_done(None);
    assert_eq!(bench.queue.disk().in_flight(), 0);
    let before = bench.driver.completions();
    assert!(before.len() < 10, "some need the key to go on");
    bench.give_key();
    (0..100).for_each(|_| {
        bench.queue.turn();
    });
    let after = bench.driver.completions();
    assert_eq!(before.len() + after.len(), 10);
    assert!(before.iter().chain(&after).all(|completion| completion.status == 0));
    assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
}

#[test]
fn the_reaction_fail_answers_with_errors_until_the_key_is_back() {
    let mut bench = Bench::new(SectorSize::B4096, SIZE, Cut::Plain, Faults::default(), 1);
    assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
    bench.fence(Reaction::Fail);
    assert_eq!(bench.ask(&write(8, 9)), Some((1, vec![])));
    assert_eq!(bench.ask(&read(8)).map(|(status, _)| status), Some(1));
    bench.give_key();
    assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
}

#[test]
fn an_error_of_the_disk_is_an_error_to_the_guest_and_only_there() {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
    bench.queue.disk().set_faults(Faults { error: 255, ..Faults::default() });
    let statuses: Vec<u8> = (0..20).filter_map(|_| bench.ask(&write(8, 9))).map(|a| a.0).collect();
    assert!(statuses.iter().filter(|&&status| status == 1).count() > 15);
    bench.queue.disk().set_faults(Faults::default());
    assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
    assert_eq!(bench.ask(&read(8)), Some((0, vec![7; 4096])));
}

#[test]
fn after_a_failed_flush_nothing_pretends() {
    let flush = BlkRequest { kind: 4, sector: 0, out: vec![], room: 0 };
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    assert_eq!(bench.ask(&flush), Some((0, vec![])));
    assert_eq!(bench.queue.disk().syncs(), 1);
    bench.queue.disk().set_faults(Faults { error: 255, ..Faults::default() });
    assert!((0..20).filter_map(|_| bench.ask(&flush)).any(|answer| answer.0 == 1));
    bench.queue.disk().set_faults(Faults::default());
    assert_eq!(bench.ask(&flush), Some((1, vec![])));
    assert_eq!(bench.ask(&write(8, 7)), Some((1, vec![])));
    assert_eq!(bench.ask(&read(8)).map(|answer| answer.0), Some(0));
}

/// The kernel may have said of it what it had to say of a write that was answered before.
#[test]
fn after_a_failed_write_that_was_to_be_durable_nothing_pretends() {
    let flush = BlkRequest { kind: 4, sector: 0, out: vec![], room: 0 };
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    for durable in [false, true] {
        bench.shared.write_through.store(durable, std::sync::atomic::Ordering::Relaxed);
        bench.queue.disk().fail_next([rustix::io::Errno::IO]);
        assert_eq!(bench.ask(&write(8, 7)), Some((1, vec![])));
        assert_eq!(bench.ask(&flush), Some((u8::from(durable), vec![])));
    }
    assert_eq!(bench.ask(&write(8, 7)), Some((1, vec![])));
    assert_eq!(bench.ask(&read(8)).map(|answer| answer.0), Some(0));
}

#[test]
fn with_the_cache_off_a_punch_is_durable_when_it_is_answered() {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    let discard: Vec<u8> = [&8u64.to_le_bytes()[..], &8u32.to_le_bytes(), &[0; 4]].concat();
    let discard = BlkRequest { kind: 11, sector: 0, out: discard, room: 0 };
    assert_eq!(bench.ask(&discard), Some((0, vec![])));
    assert_eq!(bench.queue.disk().syncs(), 0);
    bench.shared.write_through.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bench.ask(&discard), Some((0, vec![])));
    assert_eq!(bench.queue.disk().syncs(), 1);
}

#[test]
fn the_disk_holds_no_plaintext_and_holes_read_as_zeros() {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    let marker = b"a marker that must never reach the disk in clear";
    let mut request = write(8, 0);
    request.out[100..100 + marker.len()].copy_from_slice(marker);
    assert_eq!(bench.ask(&request), Some((0, vec![])));
    let image = bench.queue.disk().image();
    assert!(image[DATA_OFFSET as usize..].iter().any(|&byte| byte != 0), "it was written");
    assert!(!image.windows(16).any(|window| window == &marker[..16]));
    assert_eq!(bench.ask(&read(1024)), Some((0, vec![0; 4096])));
}

#[test]
fn a_zero_written_without_unmap_is_no_hole() {
    let mut bench = Bench::new(SectorSize::B512, SIZE, Cut::Plain, Faults::default(), 1);
    let zeroes = |unmap: u8| {
        let out = [&8u64.to_le_bytes()[..], &8u32.to_le_bytes(), &[unmap, 0, 0, 0]].concat();
        BlkRequest { kind: 13, sector: 0, out, room: 0 }
    };
    let at = DATA_OFFSET as usize + 8 * 512;
    assert_eq!(bench.ask(&zeroes(0)), Some((0, vec![])));
    assert!(bench.queue.disk().image()[at..at + 4096].iter().any(|&byte| byte != 0));
    assert_eq!(bench.ask(&read(8)), Some((0, vec![0; 4096])));
    assert_eq!(bench.ask(&zeroes(1)), Some((0, vec![])));
    assert!(bench.queue.disk().image()[at..at + 4096].iter().all(|&byte| byte == 0));
    assert_eq!(bench.ask(&read(8)), Some((0, vec![0; 4096])));
}

#[test]
fn of_a_unit_that_was_torn_over_a_hole_the_rest_reads_as_zeros() {
    for cut in [Cut::Plain, Cut::Wild] {
        let mut bench = Bench::new(SectorSize::B4096, SIZE, cut, Faults::default(), 1);
        assert_eq!(bench.ask(&write(8, 7)), Some((0, vec![])));
        let mut image = bench.queue.disk().image().to_vec();
        // The third and the last sector of the unit did not arrive.
        let unit = &mut image[DATA_OFFSET as usize + 8 * 512..][..4096];
        unit[1024..1536].fill(0);
        unit[3584..].fill(0);
        let mut after = Bench::on(image, SectorSize::B4096, cut, Faults::default(), 1);
        let mut expected = vec![7; 4096];
        expected[1024..1536].fill(0);
        expected[3584..].fill(0);
        assert_eq!(after.ask(&read(8)), Some((0, expected)));
        assert_eq!(after.ask(&read(0)), Some((0, vec![0; 4096])));
    }
}
