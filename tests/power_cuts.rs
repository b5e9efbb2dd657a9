//! One queue on the disk's faulty twin, and the power cut at every point: after each operation that began or ended
//! below, and after each answer. Whatever may have survived there is decrypted and judged by the history of every
//! sector: it is the last value that was made durable, or one that was asked for since.

use std::{ops::Range, sync::atomic::Ordering};

use images::{SectorSize, XtsCipher};
use system_tests::{
    bench::{Bench, DATA_OFFSET, dek},
    driver::Cut,
    history::{Author, Fault, History, SECTOR, Scene, Value},
    power::{PoweredDisk, Survivor},
};
use vhost_backend::disk::sim::{Change, Faults, Happening};

/// Small, so that requests meet each other.
const SIZE: usize = 96 << 10;
const SECTORS: usize = SIZE / SECTOR;

/// Requests of one run.
const REQUESTS: usize = 120;

/// Slow, so that operations overlap; pieces of a write end apart.
const FAULTS: Faults = Faults {
    short: 60,
    again: 10,
    error: 0,
    sync_error: 0,
    slow: 90,
    at_once: 60,
    late: 60,
    reorder: true,
    whole_sectors: true,
    page_cache: false,
    full: 0,
    full_late: 0,
};

/// What a run is about.
#[derive(Debug, Clone, Copy)]
struct Case {
    sector_size: SectorSize,
    write_through: bool,
    faults: Faults,
    seed: u64,
}

/// What was looked at.
#[derive(Debug, Default)]
struct Tally {
    points: usize,
    states: usize,
}

/// A disk as the power cut finds it, and who judges it.
struct Judge {
    disk: PoweredDisk,
    history: History,
    cipher: XtsCipher,
    random: fastrand::Rng,
    tally: Tally,
}

impl Judge {
    fn new(case: Case) -> Self {
        Self {
            disk: PoweredDisk::new(vec![0; DATA_OFFSET as usize + SIZE]),
            history: History::new(&[Value::Zeros; SECTORS], case.write_through),
            cipher: XtsCipher::new(dek(), case.sector_size).unwrap(),
            random: fastrand::Rng::with_seed(case.seed),
            tally: Tally::default(),
        }
    }

    /// Cuts the power here.
    fn cut(&mut self) -> Result<(), Fault> {
        self.tally.points += 1;
        self.tally.states += 1;
        self.judge(self.disk.medium(), 0..SECTORS)?;
        for Survivor { image, arrived } in self.disk.survivors(&mut self.random) {
            self.tally.states += 1;
            // The others are the medium's.
            let sector = |at| (at - DATA_OFFSET as usize) / SECTOR;
            self.judge(&image, arrived.into_iter().map(sector))?;
        }
        Ok(())
    }

    /// XTS blocks stand for themselves, so a sector of a unit that was torn is what it was or what it became.
    fn judge(&self, image: &[u8], sectors: impl IntoIterator<Item = usize>) -> Result<(), Fault> {
        let unit = self.cipher.sector_size().bytes() as usize / SECTOR;
        let data = &image[DATA_OFFSET as usize..];
        let mut clear = vec![0; unit * SECTOR];
        let mut opened = None;
        for sector in sectors {
            let first = sector / unit * unit;
            if opened.replace(first) != Some(first) {
                self.cipher.decrypt(
                    first as u64,
                    &data[first * SECTOR..][..clear.len()],
                    &mut clear,
                );
            }
            let hole = data[sector * SECTOR..][..SECTOR].iter().all(|&byte| byte == 0);
            let found = Value::read(&clear[(sector - first) * SECTOR..][..SECTOR]);
            self.history.judge_cut(sector, if hole { Some(Value::Zeros) } else { found })?;
        }
        Ok(())
    }
}

/// Plays a run and cuts the power at every point of it. `lie` may change what is told of the disk below, or keep it
/// back: to show that the judge would see it.
fn enumerate(case: Case, lie: impl Fn(Happening) -> Option<Happening>) -> Result<Tally, Fault> {
    let block = case.sector_size.bytes() as usize;
    let mut bench = Bench::new(case.sector_size, SIZE as u64, Cut::Wild, case.faults, case.seed);
    bench.shared.write_through.store(case.write_through, Ordering::Relaxed);
    bench.queue.disk().start_record();
    let longest = (12 << 10) / block;
    let mut author = Author::new(Scene { block, blocks: SIZE / block, longest }, 1, case.seed);
    let mut judge = Judge::new(case);
    let mut asked = 0;
    while asked < REQUESTS || bench.driver.in_flight() > 0 {
        if asked < REQUESTS && bench.driver.has_room() {
            let request = author.request();
            let token = bench.driver.submit(&request);
            judge.history.asked((0, token), &request);
            asked += 1;
        }
        bench.queue.turn();
        for happening in bench.queue.disk().take_record().into_iter().filter_map(&lie) {
            judge.disk.happen(happening);
            judge.cut()?;
        }
        for completion in bench.driver.completions() {
            judge.history.answered(0, &completion)?;
            judge.cut()?;
        }
    }
    Ok(judge.tally)
}

fn cases(faults: Faults, seeds: Range<u64>) -> Vec<Case> {
    let mut cases = Vec::new();
    for sector_size in SectorSize::ALL {
        for write_through in [false, true] {
            cases.extend(seeds.clone().map(|seed| Case {
                sector_size,
                write_through,
                faults,
                seed,
            }));
        }
    }
    cases
}

fn assert_all_good(faults: Faults, seeds: Range<u64>, least: usize) {
    let mut all = Tally::default();
    for case in cases(faults, seeds) {
        let tally = enumerate(case, Some).unwrap_or_else(|fault| panic!("{case:?}: {fault}"));
        all.points += tally.points;
        all.states += tally.states;
    }
    println!("{} points cut, {} states judged", all.points, all.states);
    assert!(all.states > least, "{all:?}");
}

/// What would be found if the disk did not do what the queue asked of it, or the queue did not ask it.
fn assert_seen(write_through: bool, lie: impl Fn(Happening) -> Option<Happening>) {
    for case in cases(FAULTS, 0..2).into_iter().filter(|case| case.write_through == write_through) {
        let fault = enumerate(case, &lie).expect_err("a lie is seen");
        println!("seed {}: {fault}", case.seed);
    }
}

#[test]
fn a_power_cut_at_any_point_takes_nothing_that_was_flushed() {
    assert_all_good(FAULTS, 0..3, 30_000);
}

#[test]
fn nor_after_a_flush_that_failed_and_lost_what_it_was_to_write() {
    // So slow that flushes would overlap, and the good one be told first.
    let faults = Faults { sync_error: 100, error: 4, slow: 225, at_once: 10, late: 128, ..FAULTS };
    assert_all_good(faults, 0..6, 20_000);
}

#[test]
fn nor_through_a_page_cache_where_no_write_is_durable_by_itself() {
    assert_all_good(Faults { page_cache: true, ..FAULTS }, 0..2, 10_000);
}

#[test]
fn a_flush_without_a_sync_would_be_seen() {
    assert_seen(false, |happening| match happening {
        Happening::Began(number, Change::Sync) => {
            Some(Happening::Began(number, Change::Punch { at: 0, len: 0 }))
        }
        other => Some(other),
    });
}

#[test]
fn a_discard_without_a_sync_would_be_seen_with_the_cache_off() {
    assert_seen(true, |happening| match happening {
        Happening::Began(number, Change::Sync) => {
            Some(Happening::Began(number, Change::Punch { at: 0, len: 0 }))
        }
        other => Some(other),
    });
}

#[test]
fn a_write_that_is_not_durable_would_be_seen_with_the_cache_off() {
    assert_seen(true, |happening| match happening {
        Happening::Began(number, Change::Write { at, bytes, .. }) => {
            let durable = false;
            Some(Happening::Began(number, Change::Write { at, bytes, durable }))
        }
        other => Some(other),
    });
}
