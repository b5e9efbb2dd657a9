//! A disk under load, on which something is about to happen: what was answered until when, and that it was right.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    driver::{BlkRequest, Cut},
    front_end::{FrontEnd, Options},
    process::{PATIENCE, Process},
    tape::{Mix, Tape},
    world::World,
};

/// Size of a drill's disk, as `image create` takes it.
pub const SIZE: &str = "8M";

/// All of such a disk, in the smallest blocks.
const MIX: Mix = Mix { block: 512, first: 0, blocks: 16384, longest: 200, discard: true };

/// Requests under way at one time.
const DEPTH: u64 = 12;

/// For so long a halted disk is listened to.
const QUIET: Duration = Duration::from_millis(200);

/// A disk under load.
pub struct Drill {
    /// The front end.
    pub front_end: FrontEnd,
    /// The backend.
    pub backend: Process,
    /// Whether I/O errors are answers, too: the guest's, under the reaction `fail`.
    pub may_fail: bool,
    tapes: Vec<Tape>,
}

/// What was answered in some time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers {
    /// Right answers.
    pub right: u64,
    /// I/O errors.
    pub failed: u64,
    /// When the last right answer came.
    pub last: Option<Instant>,
}

/// How a disk came to a halt.
#[derive(Debug, Clone, Copy)]
pub struct Halt {
    /// When what halts it was asked for.
    pub asked: Instant,
    /// When that returned.
    pub returned: Instant,
    /// When the last right answer came.
    pub last: Instant,
}

impl Drill {
    /// Makes a disk `name` under a set and a key of its own, and serves it.
    #[must_use]
    pub fn new(world: &World, name: &str, seed: u64) -> Self {
        let _ = world.make_disk(name, SIZE, "");
        Self::on(world, name, seed)
    }

    /// Serves an untouched disk `name`.
    #[must_use]
    pub fn on(world: &World, name: &str, seed: u64) -> Self {
        Self::of(world, name, seed, world.start_backend(name, ""))
    }

    /// Loads an untouched disk `name` that is served.
    #[must_use]
    pub fn of(world: &World, name: &str, seed: u64, backend: Process) -> Self {
        let front_end = connect(world, name, seed);
        Self { front_end, backend, may_fail: false, tapes: vec![Tape::new(MIX, seed)] }
    }

    /// Another front end takes the place of this one, of whose requests none may be under way.
    #[must_use]
    pub fn reconnected(self, world: &World, name: &str, seed: u64) -> Self {
        let Self { front_end, backend, may_fail, tapes } = self;
        // A device has one front end at a time: the first must be gone before the next is served.
        drop(front_end);
        Self { front_end: connect(world, name, seed), backend, may_fail, tapes }
    }

    /// Keeps the ring full until it is over, given what was answered so far.
    pub fn load(&mut self, mut is_over: impl FnMut(&Answers) -> bool) -> Answers {
        let (ring, tape) = (&mut self.front_end.rings[0], &mut self.tapes[0]);
        let mut answers = Answers::default();
        while !is_over(&answers) {
            if ring.driver.has_room() {
                while ring.driver.has_room() {
                    let token = ring.driver.submit(&tape.request());
                    tape.submitted(token);
                }
                ring.kick.write(1).expect("a kick");
            }
            let completions = ring.driver.completions();
            if completions.is_empty() {
                // The cores are the programs', too.
                thread::sleep(Duration::from_micros(20));
            }
            for completion in completions {
                if self.may_fail && tape.judge_or_fail(&completion) {
                    answers.failed += 1;
                    continue;
                }
                if !self.may_fail {
                    tape.judge(&completion);
                }
                (answers.right, answers.last) = (answers.right + 1, Some(Instant::now()));
            }
        }
        answers
    }

    /// Keeps the ring full for some time.
    pub fn load_for(&mut self, time: Duration) -> Answers {
        let end = Instant::now() + time;
        self.load(|_| Instant::now() >= end)
    }

    /// Keeps the ring full until the next right answer, and tells when that came.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn next_answer(&mut self) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        let answers = self.load(|answers| answers.right > 0 || Instant::now() > deadline);
        answers.last.expect("requests are answered again")
    }

    /// Keeps the ring full while something is done, and until the backend has said that it fenced the disk and nothing
    /// has been answered for a while.
    ///
    /// # Panics
    /// If the disk does not halt.
    pub fn halt<T: Send>(&mut self, act: impl FnOnce() -> T + Send) -> (Halt, T) {
        let (began, said) = (Instant::now(), self.backend.listener());
        let fences = move || said().matches("fenced in").count();
        let before = fences();
        thread::scope(|scope| {
            let acting = scope.spawn(|| {
                let asked = Instant::now();
                let done = act();
                (asked, Instant::now(), done)
            });
            let answers = self.load(|answers| {
                assert!(began.elapsed() < PATIENCE, "the disk does not halt");
                let is_quiet = answers.last.unwrap_or(began).elapsed() >= QUIET;
                is_quiet && acting.is_finished() && fences() > before
            });
            let (asked, returned, done) = acting.join().expect("what halts the disk was done");
            (Halt { asked, returned, last: answers.last.unwrap_or(began) }, done)
        })
    }

    /// The key is gone: full rings stay unanswered, or everything fails.
    ///
    /// # Panics
    /// If they do not.
    pub fn assert_halted(&mut self) {
        // What was at the disk when the fence's time was up is answered when it ends: no more than was under way.
        let mut late = 0;
        let failed = loop {
            let answers = self.load_for(Duration::from_millis(300));
            if answers.right == 0 {
                break answers.failed;
            }
            late += answers.right;
            assert!(late <= DEPTH, "{late} requests are answered without a key");
        };
        assert_eq!(failed > 0, self.may_fail);
        assert!(self.may_fail || self.front_end.rings[0].driver.in_flight() > 0);
    }

    /// The key is there: everything that was held is answered, and rightly.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_running(&mut self) {
        self.front_end.play(&mut self.tapes, 200);
    }

    /// The whole disk is what it must be. Nothing may be under way.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_intact(&mut self) {
        const STEP: usize = 1 << 20;
        assert_eq!(self.front_end.rings[0].driver.in_flight(), 0);
        for at in (0..self.tapes[0].oracle().len()).step_by(STEP) {
            let sector = (at / 512) as u64;
            let read = BlkRequest::read(sector, STEP);
            let answer = self.front_end.ask(0, &read);
            assert_eq!(answer.status, 0, "1 MiB at sector {sector}");
            assert_eq!(self.tapes[0].first_difference(at, &answer.data), None);
        }
    }
}

fn connect(world: &World, name: &str, seed: u64) -> FrontEnd {
    let options = Options { cut: Cut::Wild, depth: DEPTH, seed, ..Options::default() };
    FrontEnd::connect(&world.path(&format!("{name}.sock")), options)
}
