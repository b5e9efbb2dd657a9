//! The daemon is dead, hangs, or cannot be reached: whatever the reason, I/O goes on to the end of the lease and no
//! longer, and goes on where it stood when the daemon is heard again. Prints a table of the times: `--nocapture`.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, SystemTimeError, UNIX_EPOCH},
};

use keyd_client::message::{AuditRecord, EncryptionType, Terms};
use rustix::process::Signal;
use system_tests::{
    audit,
    drill::{Drill, SIZE},
    process::{PATIENCE, eventually},
    relay::{Blocked, Relay},
    world::{TERMS, World},
};

const LEASE: Duration = Duration::from_secs(2);

/// What a fence may take beyond the end of its lease on a busy machine, its drain included.
const SLACK: Duration = Duration::from_secs(2);

/// Makes a disk `d` on [`LEASE`].
fn make_disk(world: &World) {
    let terms = Terms { lease_ms: LEASE.as_millis() as u64, ..TERMS };
    world.make_set("d", EncryptionType::CustomerKey, terms);
    let _ = world.make_disk("d", SIZE, "");
}

/// A time without a daemon.
struct Outage {
    what: &'static str,
    /// How long I/O went on.
    ran: Duration,
    /// When it began, and when the backend had let go of its key, by the clock on the wall.
    began: SystemTime,
    fenced: SystemTime,
    /// How much later the lease was over for keyd, if it saw it run out.
    keyd_waited: Option<Duration>,
}

impl Outage {
    /// The daemon is lost, under load: I/O comes to a halt.
    fn begin(drill: &mut Drill, what: &'static str, lose: impl FnOnce() + Send) -> Self {
        drill.load_for(Duration::from_millis(200));
        let (halt, ()) = drill.halt(lose);
        let ran = halt.last - halt.asked;
        assert!(ran < LEASE + SLACK, "{what}: I/O went on for {ran:?}");
        assert!(ran > LEASE / 3, "{what}: the lease lets I/O go on for its time, not {ran:?}");
        // It said so at once, and nothing else since.
        let fenced = drill.backend.spoke_last();
        let began = SystemTime::now() - halt.asked.elapsed();
        Self { what, ran, began, fenced, keyd_waited: None }
    }

    /// A lease that keyd sees run out has ended at the holder before: nothing is held that keyd does not know of.
    fn check_against(&mut self, world: &World) {
        let ran_out = |record: &AuditRecord| {
            let time = UNIX_EPOCH + Duration::from_millis(record.time + 1);
            let is_it = record.operation == "lease-end" && record.outcome == "ran out";
            (is_it && time > self.began).then_some(time)
        };
        let ended = eventually("end at keyd", || audit::tail(world).iter().find_map(ran_out));
        let waited = ended.duration_since(self.fenced);
        // When the backend wrote its line is a little after it let go, and later on a busy machine.
        let late = |error: &SystemTimeError| error.duration() > SLACK;
        assert!(!waited.as_ref().is_err_and(late), "fenced too late: {waited:?}");
        self.keyd_waited = waited.ok();
    }

    /// The daemon has just been found: I/O goes on. One row of the table.
    fn end(&self, drill: &mut Drill) -> String {
        let found = Instant::now();
        let waited = drill.next_answer() - found;
        drill.assert_running();
        let said = drill.backend.said();
        let fence = said.rsplit("fenced in ").next().and_then(|rest| rest.split(',').next());
        let fence = fence.expect("a fence");
        let keyd = self.keyd_waited.map_or_else(String::new, |time| format!("{time:.0?} later"));
        let row =
            format!("{:<40} {:>8.2?} {fence:>10} {keyd:>12} {waited:>9.0?}", self.what, self.ran);
        println!("{row}");
        row
    }
}

#[test]
fn io_ends_with_the_lease_however_the_daemon_is_lost_and_goes_on_when_it_is_found() {
    let rows = [deaths(), partitions()].concat();
    println!(
        "\n{:<40} {:>8} {:>10} {:>12} {:>9}",
        format!("a lease of {LEASE:?}"),
        "I/O for",
        "fence",
        "ends at keyd",
        "goes on"
    );
    rows.iter().for_each(|row| println!("{row}"));
}

fn deaths() -> Vec<String> {
    let mut world = World::new();
    make_disk(&world);
    let mut drill = Drill::on(&world, "d", 4);
    let keyd = world.keyd.as_mut().expect("running");
    let killed = Outage::begin(&mut drill, "keyd killed (SIGKILL)", || keyd.kill());
    world.start_keyd();
    let killed = killed.end(&mut drill);
    let keyd = world.keyd.as_ref().expect("running");
    let hung = Outage::begin(&mut drill, "keyd hangs (SIGSTOP)", || keyd.signal(Signal::STOP));
    keyd.signal(Signal::CONT);
    let hung = hung.end(&mut drill);
    drill.assert_intact();
    vec![killed, hung]
}

fn partitions() -> Vec<String> {
    let world = World::new();
    make_disk(&world);
    let (run, away) = (world.path("run"), world.path("run.away"));
    fs::create_dir(&run).expect("a directory");
    let relay = Relay::start(&run.join("keyd.sock"), &world.socket());
    let backend = world.start_backend_to(&run.join("keyd.sock"), "d", "");
    let mut drill = Drill::of(&world, "d", 5, backend);
    let mut rows = Vec::new();
    for (what, up, down) in [
        ("cut off both ways", true, true),
        ("keyd does not hear the backend", true, false),
        ("the backend does not hear keyd", false, true),
    ] {
        let mut lost = Outage::begin(&mut drill, what, || relay.block(Blocked { up, down }));
        // A renewal that keyd heard prolonged the lease for keyd, whether or not its answer was heard.
        if up {
            lost.check_against(&world);
        }
        relay.block(Blocked::default());
        rows.push(lost.end(&mut drill));
    }
    // Only who has to connect anew needs the socket's name.
    fs::rename(&run, &away).expect("renamed");
    assert!(drill.load_for(LEASE + SLACK).right > 0);
    drill.assert_running();
    let what = "socket's directory moved away, hung up";
    let lost = Outage::begin(&mut drill, what, || relay.hang_up());
    fs::rename(&away, &run).expect("renamed");
    rows.push(lost.end(&mut drill));
    drill.assert_intact();
    let _ = world.keyd("audit verify").success();
    rows
}

#[test]
fn a_daemon_that_is_back_within_the_lease_is_not_noticed() {
    // Long enough for a start of the daemon on a busy machine.
    const LEASE: Duration = Duration::from_secs(6);
    let mut world = World::new();
    let terms = Terms { lease_ms: LEASE.as_millis() as u64, ..TERMS };
    world.make_set("d", EncryptionType::CustomerKey, terms);
    let mut drill = Drill::new(&world, "d", 6);
    world.keyd.as_mut().unwrap().kill();
    let killed = Instant::now();
    drill.load_for(Duration::from_millis(300));
    world.start_keyd();
    drill.backend.wait_to_say("keyd is back");
    // Over the end of the lease that the one before had given.
    drill.load(|_| killed.elapsed() > LEASE + Duration::from_millis(500));
    drill.next_answer();
    assert!(!drill.backend.said().contains("fenced"), "{}", drill.backend.said());
}

/// It takes longer than the first attempt to attach anew may take: a second that may take longer finds it.
#[test]
fn a_daemon_that_takes_seconds_for_an_answer_halts_no_disk_but_by_a_revocation() {
    const SLOWNESS: Duration = Duration::from_millis(1200);
    let world = World::new();
    world.make_set("d", EncryptionType::CustomerKey, Terms { lease_ms: 15_000, ..TERMS });
    let _ = world.make_disk("d", SIZE, "");
    let relay = Relay::start(&world.path("slow.sock"), &world.socket());
    relay.slow_down(SLOWNESS);
    let backend = world.start_backend_to(&world.path("slow.sock"), "d", "");
    let mut drill = Drill::of(&world, "d", 8, backend);
    // Over the first renewal.
    assert!(drill.load_for(Duration::from_secs(6)).right > 0);
    relay.hang_up();
    let deadline = Instant::now() + PATIENCE;
    while !drill.backend.said().contains("keyd is back") {
        assert!(drill.load_for(Duration::from_millis(500)).right > 0 && Instant::now() < deadline);
    }
    assert!(!drill.backend.said().contains("fenced"), "{}", drill.backend.said());
    let (_, ()) = drill.halt(|| world.disable("d"));
    drill.assert_halted();
    world.enable("d");
    drill.assert_running();
    drill.assert_intact();
    assert!(drill.backend.terminate().success());
}

#[test]
fn a_key_disabled_while_the_daemon_was_away_stays_away_until_enabled() {
    let mut world = World::new();
    let mut drill = Drill::new(&world, "d", 7);
    world.disable("d");
    drill.assert_halted();
    world.keyd.as_mut().unwrap().kill();
    world.start_keyd();
    drill.backend.wait_to_say("keyd is back");
    drill.assert_halted();
    world.enable("d");
    drill.assert_running();
}
