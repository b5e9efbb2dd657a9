//! The daemon is dead, hangs, or cannot be reached: whatever the reason, I/O goes on to the end of the lease and no
//! longer, and goes on where it stood when the daemon is heard again. Prints a table of the times: `--nocapture`.

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use keyd_client::message::{EncryptionType, Terms, UnixMillis};
use rustix::process::Signal;
use system_tests::{
    audit,
    drill::{Drill, SIZE},
    relay::{Blocked, Relay},
    world::{TERMS, World},
};

const LEASE: Duration = Duration::from_secs(2);

/// What a fence may take beyond the end of its lease on a busy machine, its drain included.
const SLACK: Duration = Duration::from_millis(500);

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
    /// When it began, and when the last I/O was answered, by the clock on the wall.
    began: UnixMillis,
    last: UnixMillis,
}

impl Outage {
    /// The daemon is lost, under load: I/O comes to a halt.
    fn begin(drill: &mut Drill, what: &'static str, lose: impl FnOnce() + Send) -> Self {
        drill.load_for(Duration::from_millis(200));
        let (halt, ()) = drill.halt(lose);
        let ran = halt.last - halt.asked;
        assert!(ran < LEASE + SLACK, "{what}: I/O went on for {ran:?}");
        assert!(ran > LEASE / 3, "{what}: the lease lets I/O go on for its time, not {ran:?}");
        Self { what, ran, began: on_the_wall(halt.asked), last: on_the_wall(halt.last) }
    }

    /// The daemon has just been found: I/O goes on. One row of the table.
    fn end(&self, drill: &mut Drill) -> String {
        let found = Instant::now();
        let waited = drill.next_answer() - found;
        drill.assert_running();
        let said = drill.backend.said();
        let fence = said.rsplit("fenced in ").next().and_then(|rest| rest.split(',').next());
        let fence = fence.expect("a fence");
        let row = format!("{:<44} {:>9.2?} {fence:>11} {waited:>11.0?}", self.what, self.ran);
        println!("{row}");
        row
    }
}

fn on_the_wall(moment: Instant) -> UnixMillis {
    let time = (SystemTime::now() - moment.elapsed()).duration_since(UNIX_EPOCH);
    time.expect("after 1970").as_millis() as UnixMillis
}

#[test]
fn io_ends_with_the_lease_however_the_daemon_is_lost_and_goes_on_when_it_is_found() {
    let rows = [deaths(), partitions()].concat();
    println!(
        "\n{:<44} {:>9} {:>11} {:>11}",
        format!("a lease of {LEASE:?}"),
        "I/O for",
        "fence",
        "goes on in"
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
        let lost = Outage::begin(&mut drill, what, || relay.block(Blocked { up, down }));
        relay.block(Blocked::default());
        rows.push(lost.end(&mut drill));
        if up {
            assert_keyd_waited_for(&world, &lost);
        }
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

/// A lease that keyd sees run out has ended at the holder before: nothing is held that keyd does not know of.
fn assert_keyd_waited_for(world: &World, lost: &Outage) {
    let records = audit::tail(world);
    let mut ended = records.iter().filter(|record| record.operation == "lease-end");
    let ended = ended.rfind(|record| record.outcome == "ran out").expect("it ran out");
    assert!(lost.began <= ended.time, "{ended:?}");
    assert!(lost.last <= ended.time, "I/O at {}, but {ended:?}", lost.last);
}

#[test]
fn a_daemon_that_is_back_within_the_lease_is_not_noticed() {
    let mut world = World::new();
    let mut drill = Drill::new(&world, "d", 6);
    world.keyd.as_mut().unwrap().kill();
    drill.load_for(Duration::from_millis(300));
    world.start_keyd();
    drill.backend.wait_to_say("keyd is back");
    let answers = drill.load_for(Duration::from_secs(4));
    assert!(answers.right > 100);
    assert!(!drill.backend.said().contains("fenced"), "{}", drill.backend.said());
}

#[test]
fn a_key_disabled_while_the_daemon_was_away_stays_away_until_enabled() {
    let mut world = World::new();
    let mut drill = Drill::new(&world, "d", 7);
    world.disable("d");
    drill.assert_parked();
    world.keyd.as_mut().unwrap().kill();
    world.start_keyd();
    drill.backend.wait_to_say("keyd is back");
    drill.assert_parked();
    world.enable("d");
    drill.assert_running();
}
