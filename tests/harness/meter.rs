//! A steady load of 4 KiB reads and writes at random places: how long each answer takes, and that it is right.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU64,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::thread::set_current_timer_slack;

use crate::{
    driver::{BlkRequest, Completion, Cut},
    front_end::{FrontEnd, Options},
    process::PATIENCE,
};

/// Bytes of a request.
const BLOCK: usize = 4096;

/// Requests under way at one time.
const DEPTH: u64 = 8;

/// How often answers are looked for: the error of a latency.
const LOOK: Duration = Duration::from_micros(20);

struct Asked {
    at: Instant,
    block: usize,
    reads: bool,
}

/// A front end under a steady load. What a block holds follows from its number and how often it was written.
pub struct Meter {
    front_end: FrontEnd,
    written: Vec<u32>,
    busy: Vec<bool>,
    asked: HashMap<u64, Asked>,
    random: fastrand::Rng,
}

/// What was measured in some time.
#[derive(Debug, Clone)]
pub struct Figures {
    time: Duration,
    /// Of each answer, ascending.
    latencies: Vec<Duration>,
}

impl Meter {
    /// Connects, and writes every block of a disk of so many bytes once.
    #[must_use]
    pub fn connect(socket: &Path, len: usize, seed: u64) -> Self {
        // Sleeps as short as asked for, or nearly.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        let options = Options { depth: DEPTH, cut: Cut::Plain, seed, ..Options::default() };
        let blocks = len / BLOCK;
        let mut meter = Self {
            front_end: FrontEnd::connect(socket, options),
            written: vec![0; blocks],
            busy: vec![false; blocks],
            asked: HashMap::new(),
            random: fastrand::Rng::with_seed(seed),
        };
        for block in 0..blocks {
            meter.wait_for_room();
            meter.submit(block, false);
        }
        meter.drain();
        meter
    }

    /// Loads the disk until it is over.
    pub fn run(&mut self, mut is_over: impl FnMut() -> bool) -> Figures {
        let (began, mut latencies) = (Instant::now(), Vec::new());
        while !is_over() {
            while self.front_end.rings[0].driver.has_room() {
                let block = self.free_block();
                let reads = self.random.bool();
                self.submit(block, reads);
            }
            latencies.append(&mut self.collect());
        }
        latencies.append(&mut self.drain());
        latencies.sort_unstable();
        Figures { time: began.elapsed(), latencies }
    }

    /// Loads the disk for some time.
    pub fn run_for(&mut self, time: Duration) -> Figures {
        let end = Instant::now() + time;
        self.run(|| Instant::now() >= end)
    }

    /// Loads the disk while something is done.
    ///
    /// # Panics
    /// If that panics.
    pub fn run_during<T: Send>(&mut self, act: impl FnOnce() -> T + Send) -> (Figures, T) {
        thread::scope(|scope| {
            let acting = scope.spawn(act);
            let figures = self.run(|| acting.is_finished());
            (figures, acting.join().expect("it was done"))
        })
    }

    fn free_block(&mut self) -> usize {
        loop {
            let block = self.random.usize(0..self.busy.len());
            if !self.busy[block] {
                return block;
            }
        }
    }

    fn submit(&mut self, block: usize, reads: bool) {
        let sector = (block * BLOCK / 512) as u64;
        let request = if reads {
            BlkRequest::read(sector, BLOCK)
        } else {
            self.written[block] += 1;
            BlkRequest::write(sector, content(block, self.written[block]))
        };
        let ring = &mut self.front_end.rings[0];
        let at = Instant::now();
        let token = ring.driver.submit(&request);
        ring.kick.write(1).expect("a kick");
        self.busy[block] = true;
        self.asked.insert(token, Asked { at, block, reads });
    }

    /// Takes the answers that have come, or sleeps for a moment.
    fn collect(&mut self) -> Vec<Duration> {
        let answers = self.front_end.rings[0].driver.completions();
        let now = Instant::now();
        if answers.is_empty() {
            let oldest = self.asked.values().map(|asked| asked.at).min();
            let waited = oldest.map_or(Duration::ZERO, |at| now - at);
            assert!(waited < PATIENCE, "a request is not answered");
            thread::sleep(LOOK);
        }
        answers.iter().map(|answer| now - self.judge(answer)).collect()
    }

    /// When what is answered was asked.
    fn judge(&mut self, answer: &Completion) -> Instant {
        let asked = self.asked.remove(&answer.token).expect("was under way");
        assert_eq!(answer.status, 0, "block {}, read: {}", asked.block, asked.reads);
        if asked.reads {
            let expected = content(asked.block, self.written[asked.block]);
            assert!(answer.data == expected, "block {} is not what was written", asked.block);
        }
        self.busy[asked.block] = false;
        asked.at
    }

    fn wait_for_room(&mut self) {
        while !self.front_end.rings[0].driver.has_room() {
            self.collect();
        }
    }

    fn drain(&mut self) -> Vec<Duration> {
        let mut latencies = Vec::new();
        while !self.asked.is_empty() {
            latencies.append(&mut self.collect());
        }
        latencies
    }
}

/// What a block holds after so many writes: like nothing else on the disk.
fn content(block: usize, written: u32) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    fastrand::Rng::with_seed(((block as u64) << 32) | u64::from(written)).fill(&mut bytes);
    bytes
}

impl Figures {
    /// Answers.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.latencies.len()
    }

    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }

    /// The heading of the columns that a row of figures has.
    pub const HEADING: &str = "   time      IOPS      p50      p99      max";
}

/// One row: seconds, answers a second, milliseconds.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        let iops = self.answers() as f64 / seconds;
        let [p50, p99, max] = [50, 99, 100].map(|percent| self.percentile(percent));
        write!(f, "{seconds:>5.2} s {iops:>9.0} {p50:>5.2} ms {p99:>5.1} ms {max:>5.1} ms")
    }
}
