//! The key is pulled: by command, by the daemon's death, by its silence. I/O halts, nothing is lost, the key is
//! gone from memory, and everything goes on when the key comes back.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use system_tests::{
    driver::{BlkRequest, Completion, Cut},
    front_end::{FrontEnd, Options, Ring},
    memory_scan::Needles,
    process::Process,
    tape::{Mix, Tape},
    world::World,
};
use vhost_backend::limits::DRAIN_TIME;

const MIX: Mix = Mix { block: 512, first: 0, blocks: 16384, longest: 200, discard: true };

/// A host with one disk under load.
struct Drill {
    front_end: FrontEnd,
    tape: Vec<Tape>,
    backend: Process,
    world: World,
}

impl Drill {
    fn new(seed: u64) -> Self {
        let world = World::new();
        let _ = world.make_disk("d", "8M", "");
        let backend = world.start_backend("d", "");
        let options = Options { cut: Cut::Wild, depth: 12, seed, ..Options::default() };
        let front_end = FrontEnd::connect(&world.path("d.sock"), options);
        Self { world, backend, front_end, tape: vec![Tape::new(MIX, seed)] }
    }

    fn load_for(&mut self, time: Duration) -> (u64, Option<Instant>) {
        let end = Instant::now() + time;
        load(&mut self.front_end.rings[0], &mut self.tape[0], |_| Instant::now() >= end)
    }

    fn disable(&self) {
        let _ = self.world.keyd("key disable d --force").success();
    }

    /// The key is back, and everything that was held is answered, and rightly.
    fn enable(&mut self) {
        let _ = self.world.keyd("key enable d").success();
        self.assert_running();
    }

    /// The key is gone: full rings stay unanswered.
    fn assert_parked(&mut self) {
        // A fence may take its time to drain; what was answered until then is collected first.
        self.load_for(3 * DRAIN_TIME);
        let (answers, _) = self.load_for(Duration::from_millis(300));
        assert_eq!(answers, 0, "nothing is answered without a key");
        assert!(self.front_end.rings[0].driver.in_flight() > 0);
    }

    /// The key is back: everything that was held is answered, and rightly.
    fn assert_running(&mut self) {
        self.front_end.play(&mut self.tape, 200);
    }

    fn dek(&self) -> Vec<u8> {
        let file: PathBuf = self.world.path("vk");
        let id = self.world.disk_id(&self.world.path("d.img"));
        let _ =
            self.world.keyd(&format!("disk release-key {id} --to {}", file.display())).success();
        std::fs::read(file).unwrap()
    }
}

/// Keeps a ring full until it is over, given the moment of the last answer; gives the number of answers and that
/// moment.
fn load(
    ring: &mut Ring,
    tape: &mut Tape,
    mut is_over: impl FnMut(Option<Instant>) -> bool,
) -> (u64, Option<Instant>) {
    let (mut answers, mut last) = (0, None);
    while !is_over(last) {
        while ring.driver.has_room() {
            let token = ring.driver.submit(&tape.request());
            tape.submitted(token);
        }
        ring.kick.write(1).unwrap();
        for completion in ring.driver.completions() {
            tape.judge(&completion);
            (answers, last) = (answers + 1, Some(Instant::now()));
        }
    }
    (answers, last)
}

#[test]
fn a_disabled_key_halts_io_within_milliseconds_and_an_enabled_one_lets_it_go_on() {
    let mut drill = Drill::new(1);
    for _ in 0..3 {
        drill.load_for(Duration::from_millis(200));
        let (returned, last) = thread::scope(|scope| {
            let world = &drill.world;
            let disable = scope.spawn(move || {
                let _ = world.keyd("key disable d --force").success();
                Instant::now()
            });
            // Load goes on while the command runs, and until nothing has been answered for a while.
            let began = Instant::now();
            let is_over = |last: Option<Instant>| {
                let quiet = last.unwrap_or(began).elapsed() >= Duration::from_millis(200);
                disable.is_finished() && quiet
            };
            let (_, last) = load(&mut drill.front_end.rings[0], &mut drill.tape[0], is_over);
            (disable.join().unwrap(), last.unwrap_or(began))
        });
        match last.checked_duration_since(returned) {
            Some(after) => println!("last I/O {after:?} after 'key disable' returned"),
            None => println!("last I/O {:?} before 'key disable' returned", returned - last),
        }
        assert!(last < returned + Duration::from_millis(500), "I/O went on after the command");
        drill.assert_parked();
        drill.enable();
    }
    let audit = drill.world.keyd("audit tail -n 100").success();
    assert!(audit.contains("released"), "{audit}");
    let _ = drill.world.keyd("audit verify").success();
}

#[test]
fn after_a_fence_no_key_is_in_memory_and_before_it_only_the_schedule() {
    let mut drill = Drill::new(2);
    drill.load_for(Duration::from_millis(300));
    let dek = drill.dek();
    let pid = drill.backend.pid();
    let (key, rounds) = (Needles::of_dek(&dek), Needles::of_round_keys(&dek));
    assert_ne!(rounds.found_in(pid), Vec::<String>::new(), "the scan can find what is there");
    drill.disable();
    drill.backend.wait_to_say("fenced");
    drill.load_for(Duration::from_millis(50));
    assert_eq!(rounds.found_in(pid), Vec::<String>::new());
    assert_eq!(key.found_in(pid), Vec::<String>::new());
    for log in ["d.log", "keyd.log"] {
        let said = std::fs::read(drill.world.path(log)).unwrap();
        assert_eq!(key.found_in_bytes(&said), Vec::<String>::new());
    }
    let keyd = drill.world.keyd.as_ref().unwrap().pid();
    assert_eq!(key.found_in(keyd), Vec::<String>::new());
}

#[test]
fn the_reaction_fail_answers_errors_and_recovers() {
    let mut drill = Drill::new(3);
    let _ = drill.world.keyd("key create f --bits 2048").success();
    let _ = drill.world.keyd("des create f --key f --on-revoke fail").success();
    let _ = drill.world.make_disk("f", "8M", "");
    let _backend = drill.world.start_backend("f", "");
    let mut front_end = FrontEnd::connect(&drill.world.path("f.sock"), Options::default());
    let write = BlkRequest { kind: 1, sector: 8, out: vec![5; 4096], room: 0 };
    let read = BlkRequest { kind: 0, sector: 8, out: vec![], room: 4096 };
    assert_eq!(front_end.ask(0, &write).status, 0);
    let _ = drill.world.keyd("key disable f --force").success();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(front_end.ask(0, &write).status, 1);
    assert_eq!(front_end.ask(0, &read).status, 1);
    let _ = drill.world.keyd("key enable f").success();
    let deadline = Instant::now() + Duration::from_secs(10);
    let answer: Completion = loop {
        let answer = front_end.ask(0, &read);
        if answer.status == 0 || Instant::now() > deadline {
            break answer;
        }
    };
    assert_eq!((answer.status, answer.data), (0, vec![5; 4096]));
    // The other disk's key was not touched.
    drill.assert_running();
}

#[test]
fn a_dead_daemon_is_fenced_at_the_end_of_the_lease_and_its_return_resumes() {
    let mut drill = Drill::new(4);
    drill.world.keyd.as_mut().unwrap().kill();
    let killed = Instant::now();
    let (answers, last) = drill.load_for(Duration::from_secs(5));
    assert!(answers > 0, "the lease lets I/O go on for its time");
    let ran = last.unwrap() - killed;
    println!("I/O went on for {ran:?} of a lease of 3 s after keyd was killed");
    assert!(ran < Duration::from_millis(3500), "{ran:?}");
    drill.assert_parked();
    drill.world.start_keyd();
    drill.assert_running();
}

#[test]
fn a_daemon_that_is_back_within_the_lease_is_not_noticed() {
    let mut drill = Drill::new(5);
    drill.world.keyd.as_mut().unwrap().kill();
    drill.load_for(Duration::from_millis(300));
    drill.world.start_keyd();
    drill.backend.wait_to_say("keyd is back");
    let (answers, _) = drill.load_for(Duration::from_secs(4));
    assert!(answers > 100);
    assert!(!drill.backend.said().contains("fenced"), "{}", drill.backend.said());
}

#[test]
fn a_daemon_that_hangs_counts_as_dead() {
    let mut drill = Drill::new(6);
    drill.world.keyd.as_ref().unwrap().signal(Signal::STOP);
    drill.load_for(Duration::from_millis(3500));
    drill.assert_parked();
    drill.world.keyd.as_ref().unwrap().signal(Signal::CONT);
    drill.assert_running();
}

#[test]
fn a_key_disabled_while_the_daemon_was_away_stays_away_until_enabled() {
    let mut drill = Drill::new(7);
    drill.disable();
    drill.assert_parked();
    drill.world.keyd.as_mut().unwrap().kill();
    drill.world.start_keyd();
    drill.backend.wait_to_say("keyd is back");
    drill.assert_parked();
    drill.enable();
}

#[test]
fn a_rotation_is_not_noticed() {
    let mut drill = Drill::new(8);
    for _ in 0..3 {
        drill.load_for(Duration::from_millis(100));
        let _ = drill.world.keyd("key rotate d").success();
        drill.assert_running();
    }
    assert!(!drill.backend.said().contains("fenced"));
    let shown = drill.world.keyd("key show d").success();
    assert_eq!(shown.lines().filter(|line| line.contains(" 2048 ")).count(), 4, "{shown}");
    // And the new version is the one that counts.
    drill.disable();
    drill.assert_parked();
    drill.enable();
}

#[test]
fn a_ring_can_be_stopped_and_restarted_while_the_key_is_away() {
    let mut drill = Drill::new(9);
    drill.load_for(Duration::from_millis(100));
    drill.disable();
    drill.backend.wait_to_say("fenced");
    drill.assert_parked();
    let base = drill.front_end.stop(0);
    drill.front_end.start(0, base);
    drill.assert_parked();
    drill.enable();
}

#[test]
fn a_front_end_may_leave_and_come_back_while_the_key_is_away() {
    let mut drill = Drill::new(10);
    drill.front_end.play(&mut drill.tape, 50);
    drill.disable();
    drill.backend.wait_to_say("fenced");
    let Drill { world, front_end, mut tape, .. } = drill;
    // A device has one front end at a time: the first must be gone before the next is served.
    drop(front_end);
    let options = Options { cut: Cut::Wild, depth: 12, seed: 11, ..Options::default() };
    let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
    let token = front_end.rings[0].driver.submit(&tape[0].request());
    tape[0].submitted(token);
    front_end.rings[0].kick.write(1).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(front_end.rings[0].driver.completions(), []);
    let _ = world.keyd("key enable d").success();
    front_end.play(&mut tape, 200);
}
