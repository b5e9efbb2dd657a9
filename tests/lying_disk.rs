//! The real programs on a disk that lies. What was answered and flushed is there, whatever the disk does short, late,
//! in another order or not at all, and whenever it loses its power; a flush that failed is not taken back.

use std::{
    thread,
    time::{Duration, Instant},
};

use system_tests::{
    driver::{BlkRequest, Cut, kind},
    front_end::{FrontEnd, Options},
    history::{Author, Fault, History, SECTOR, Scene, Stamp, Value},
    liar::{Liar, Lies},
    luks::cryptsetup,
    process::{PATIENCE, Process},
    world::World,
};
use vhost::vhost_user::{VhostUserFrontend, message::VhostUserConfigFlags};

const SIZE: usize = 4 << 20;
const SECTORS: usize = SIZE / SECTOR;
const QUEUES: usize = 3;

/// Requests under way at one time, for each queue.
const DEPTH: usize = 12;

/// The byte of the config space that switches the cache (virtio 1.2, 5.2.4).
const WRITEBACK: u32 = 32;

/// What a disk may do that no guest must notice.
const ODD: Lies = Lies {
    short: 60,
    again: 25,
    error: 0,
    full: 0,
    loss: 0,
    no_sync: 0,
    hung: false,
    late: Duration::from_millis(2),
};

/// A guest on a lying disk: what it asks on every queue, and what it knows.
struct Guest {
    front_end: FrontEnd,
    history: History,
    authors: Vec<Author>,
    backend: Process,
    liar: Liar,
    more: String,
    write_through: bool,
    /// Requests answered well, and others.
    well: u64,
    failed: u64,
    world: World,
}

impl Guest {
    /// `None` without FUSE.
    fn new(block: usize, more: &str, write_through: bool, seed: u64) -> Option<Self> {
        let world = World::new();
        let _ = world.make_disk("d", "4M", &format!("--sector-size {block}"));
        let liar = Liar::over(&world.path("d.img"), seed)?;
        let more = format!("--num-queues {QUEUES} {more}");
        let backend = world.start_backend("d", &more);
        let front_end = connect(&world, write_through);
        let scene = Scene { block, blocks: SIZE / block, longest: (48 << 10) / block };
        let author = |writer| Author::new(scene, writer, seed * 64 + u64::from(writer));
        let authors = (0..QUEUES as u32).map(author).collect();
        let history = History::new(&[Value::Zeros; SECTORS], write_through);
        let (well, failed) = (0, 0);
        Some(Self {
            front_end,
            history,
            authors,
            backend,
            liar,
            more,
            write_through,
            well,
            failed,
            world,
        })
    }

    /// Keeps every queue full for some time. Requests meet each other.
    fn load_for(&mut self, time: Duration) -> Result<(), Fault> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for (queue, author) in self.authors.iter_mut().enumerate() {
                let ring = &mut self.front_end.rings[queue];
                while ring.driver.has_room() && ring.driver.in_flight() < DEPTH {
                    let request = author.request();
                    let token = ring.driver.submit(&request);
                    self.history.asked((queue, token), &request);
                    ring.kick.write(1).unwrap();
                }
            }
            self.take_answers()?;
            thread::sleep(Duration::from_micros(20));
        }
        Ok(())
    }

    /// Keeps the rings full until so many requests were answered well, and so many with errors.
    fn load_until(&mut self, well: u64, failed: u64) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        while self.well < well || self.failed < failed {
            assert!(Instant::now() < deadline, "{} well, {} failed", self.well, self.failed);
            self.load_for(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Waits until all is answered.
    fn drain(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        while self.front_end.rings.iter().any(|ring| ring.driver.in_flight() > 0) {
            assert!(Instant::now() < deadline, "requests are not answered");
            self.take_answers()?;
            thread::sleep(Duration::from_micros(20));
        }
        Ok(())
    }

    fn take_answers(&mut self) -> Result<(), Fault> {
        for (queue, ring) in self.front_end.rings.iter_mut().enumerate() {
            for completion in ring.driver.completions() {
                let count = if completion.status == 0 { &mut self.well } else { &mut self.failed };
                *count += 1;
                self.history.answered(queue, &completion)?;
            }
        }
        Ok(())
    }

    /// Cuts the power, and brings everything up again on what is left. The guest has lost all but its disk.
    fn cut_power(&mut self) -> Result<(), Fault> {
        self.liar.cut_power();
        self.backend.kill();
        self.liar.set(Lies::default());
        self.liar.give_power();
        self.assert_header_is_good();
        self.backend = self.world.start_backend("d", &self.more);
        self.front_end = connect(&self.world, self.write_through);
        let values = self.read_all();
        for (sector, &value) in values.iter().enumerate() {
            self.history.judge_cut(sector, value)?;
        }
        let values: Vec<Value> = values.into_iter().flatten().collect();
        self.history = History::new(&values, self.write_through);
        Ok(())
    }

    /// By the account of our own tool and of cryptsetup.
    fn assert_header_is_good(&self) {
        let about = self.world.image("info d.img --json").success();
        assert!(about.contains(&self.world.disk_id(&self.world.path("d.img"))), "{about}");
        let _ = cryptsetup(&self.world.path(""), "luksDump d.img").success();
    }

    fn read_all(&mut self) -> Vec<Option<Value>> {
        const STEP: usize = 1 << 20;
        let mut values = Vec::new();
        for at in (0..SIZE).step_by(STEP) {
            let sector = (at / SECTOR) as u64;
            let read = BlkRequest::read(sector, STEP);
            let answer = self.front_end.ask(0, &read);
            assert_eq!(answer.status, 0, "at sector {sector}");
            values.extend(answer.data.chunks(SECTOR).map(Value::read));
        }
        values
    }
}

fn connect(world: &World, write_through: bool) -> FrontEnd {
    let options =
        Options { queues: QUEUES, depth: DEPTH as u64, cut: Cut::Wild, ..Options::default() };
    let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
    if write_through {
        let writable = VhostUserConfigFlags::WRITABLE;
        front_end.connection.set_config(WRITEBACK, writable, &[0]).unwrap();
    }
    front_end
}

fn good<T>(result: Result<T, Fault>) -> T {
    result.unwrap_or_else(|fault| panic!("{fault}"))
}

fn one_sector(kind: u32) -> BlkRequest {
    match kind {
        kind::FLUSH => BlkRequest::flush(),
        kind::READ => BlkRequest::read(8, SECTOR),
        _ => {
            let stamp = Stamp { address: 8, writer: 99, sequence: 1 };
            BlkRequest::write(8, stamp.bytes().to_vec())
        }
    }
}

#[test]
fn what_a_disk_does_short_late_and_in_another_order_is_not_noticed() {
    for (block, more) in [(512, "--cache direct"), (4096, "--cache buffered")] {
        let Some(mut guest) = Guest::new(block, more, false, 1) else { return };
        guest.liar.set(ODD);
        good(guest.load_for(Duration::from_millis(700)));
        good(guest.load_until(100, 0));
        good(guest.drain());
        assert_eq!(guest.failed, 0, "{}", guest.backend.said());
        println!("{more}: {} requests", guest.well);
    }
}

#[test]
fn errors_of_a_disk_are_errors_of_their_requests_and_of_no_other() {
    let Some(mut guest) = Guest::new(512, "", false, 2) else { return };
    guest.liar.set(Lies { error: 10, full: 20, ..ODD });
    good(guest.load_until(100, 10));
    good(guest.drain());
    guest.liar.set(Lies::default());
    let failed = guest.failed;
    good(guest.load_for(Duration::from_millis(100)));
    good(guest.drain());
    assert_eq!(guest.failed, failed, "the disk is well again");
}

fn assert_survives(block: usize, more: &str, write_through: bool, cuts: u32, seed: u64) {
    let Some(mut guest) = Guest::new(block, more, write_through, seed) else { return };
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..cuts {
        guest.liar.set(ODD);
        good(guest.load_for(Duration::from_millis(random.u64(20..250))));
        good(guest.cut_power());
    }
    println!(
        "{more}: {cuts} cuts, {} sectors judged, {} requests answered",
        cuts as usize * SECTORS,
        guest.well
    );
    assert_eq!(guest.failed, 0);
}

#[test]
fn a_power_cut_under_load_takes_nothing_that_was_flushed() {
    assert_survives(512, "--cache direct", false, 4, 3);
}

#[test]
fn nor_of_large_units_through_the_page_cache() {
    assert_survives(4096, "--cache buffered", false, 3, 4);
}

#[test]
fn with_the_cache_off_it_takes_nothing_that_was_answered() {
    assert_survives(512, "--cache direct", true, 3, 5);
}

#[test]
#[ignore = "takes minutes: cargo test -p system-tests --test lying_disk -- --ignored --nocapture"]
fn hundreds_of_power_cuts_take_nothing_either() {
    for (block, more) in [(512, "--cache direct"), (4096, "--cache buffered")] {
        for write_through in [false, true] {
            assert_survives(block, more, write_through, 100, 100 + block as u64);
        }
    }
}

#[test]
fn a_disk_that_forgets_its_flushes_is_seen() {
    let Some(mut guest) = Guest::new(512, "", false, 6) else { return };
    guest.liar.set(Lies { no_sync: 255, ..ODD });
    let seen = (0..5).any(|_| {
        good(guest.load_for(Duration::from_millis(200)));
        let cut = guest.cut_power();
        guest.liar.set(Lies { no_sync: 255, ..ODD });
        cut.inspect_err(|fault| println!("{fault}")).is_err()
    });
    assert!(seen, "five cuts without a flush took nothing");
}

#[test]
fn after_a_flush_that_failed_nothing_is_promised_until_the_disk_is_opened_anew() {
    let Some(mut guest) = Guest::new(512, "--cache buffered", false, 7) else { return };
    for _ in 0..4 {
        guest.liar.set(Lies { loss: 60, ..ODD });
        // Until one has failed, on any queue; others are under way.
        let deadline = Instant::now() + PATIENCE;
        while !guest.backend.said().contains("a flush failed") {
            assert!(Instant::now() < deadline, "no flush fails");
            good(guest.load_for(Duration::from_millis(20)));
        }
        guest.liar.set(Lies::default());
        good(guest.drain());
        for queue in 0..QUEUES {
            for kind in [kind::FLUSH, kind::WRITE, kind::FLUSH] {
                assert_eq!(guest.front_end.ask(queue, &one_sector(kind)).status, 1, "{kind}");
            }
            assert_eq!(guest.front_end.ask(queue, &one_sector(kind::READ)).status, 0);
        }
        // What it lost, it never promised.
        good(guest.cut_power());
    }
    for kind in [kind::WRITE, kind::FLUSH] {
        assert_eq!(guest.front_end.ask(0, &one_sector(kind)).status, 0);
    }
}

/// Linux tells each open file once of what it could not write: what two queues had in common, one would hear for both.
#[test]
fn each_queue_flushes_an_open_file_of_its_own() {
    let Some(mut guest) = Guest::new(512, "", false, 8) else { return };
    for queue in 0..QUEUES {
        assert_eq!(guest.front_end.ask(queue, &one_sector(kind::FLUSH)).status, 0);
    }
    assert_eq!(guest.liar.files_flushed(), QUEUES);
}
