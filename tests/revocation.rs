//! The key is pulled: I/O halts, nothing is lost, the key is gone from memory, and everything goes on when the key
//! comes back.

use std::time::Duration;

use system_tests::{audit, clock::millis, drill::Drill, memory_scan::Needles, world::World};

#[test]
fn a_disabled_key_halts_io_before_the_command_returns_and_an_enabled_one_lets_it_go_on() {
    let world = World::new();
    let mut drill = Drill::new(&world, "d", 1);
    let disk = world.disk_id(&world.path("d.img")).parse().unwrap();
    for _ in 0..3 {
        drill.load_for(Duration::from_millis(200));
        let asked = millis();
        let disable = || (world.keyd("key disable d --force --wait 30s").success(), millis());
        let (halt, (said, returned)) = drill.halt(disable);
        assert!(said.contains("confirmed, took"), "{said}");
        println!("'key disable' took {:?}: {said}", halt.returned - halt.asked);
        // When answers were seen is another matter: on a busy machine they are seen late.
        let report = audit::fence_of(&world, disk, asked);
        let last = report.last_io.expect("it was under load");
        assert!(asked <= last && last <= report.wiped && report.wiped <= returned, "{report:?}");
        drill.assert_halted();
        world.enable("d");
        drill.assert_running();
    }
    let audit = world.keyd("audit tail -n 100").success();
    assert!(audit.contains("released"), "{audit}");
    let _ = world.keyd("audit verify").success();
}

#[test]
fn after_a_fence_no_key_is_in_memory_and_before_it_only_the_schedule() {
    let world = World::new();
    let mut drill = Drill::new(&world, "d", 2);
    drill.load_for(Duration::from_millis(300));
    let dek = world.release_key(&world.disk_id(&world.path("d.img")));
    let pid = drill.backend.pid();
    let (key, rounds) = (Needles::of_dek(&dek), Needles::of_round_keys(&dek));
    assert_ne!(rounds.found_in(pid), Vec::<String>::new(), "the scan can find what is there");
    world.disable("d");
    drill.backend.wait_to_say("fenced");
    drill.load_for(Duration::from_millis(50));
    assert_eq!(rounds.found_in(pid), Vec::<String>::new());
    assert_eq!(key.found_in(pid), Vec::<String>::new());
    for log in ["d.log", "keyd.log"] {
        let said = std::fs::read(world.path(log)).unwrap();
        assert_eq!(key.found_in_bytes(&said), Vec::<String>::new());
    }
    let keyd = world.keyd.as_ref().unwrap().pid();
    assert_eq!(key.found_in(keyd), Vec::<String>::new());
}

#[test]
fn a_ring_can_be_stopped_and_restarted_while_the_key_is_away() {
    let world = World::new();
    let mut drill = Drill::new(&world, "d", 9);
    drill.load_for(Duration::from_millis(100));
    world.disable("d");
    drill.backend.wait_to_say("fenced");
    drill.assert_halted();
    let base = drill.front_end.stop(0);
    drill.front_end.start(0, base);
    drill.assert_halted();
    world.enable("d");
    drill.assert_running();
}

#[test]
fn a_front_end_may_leave_and_come_back_while_the_key_is_away() {
    let world = World::new();
    let mut drill = Drill::new(&world, "d", 10);
    drill.assert_running();
    world.disable("d");
    drill.backend.wait_to_say("fenced");
    let mut drill = drill.reconnected(&world, "d", 11);
    drill.assert_halted();
    world.enable("d");
    drill.assert_running();
    drill.assert_intact();
}
