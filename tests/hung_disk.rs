//! A disk below that hangs, under the real programs: it keeps no key from being taken away, and what it does at last
//! harms nobody, not even when its process is gone by then.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use system_tests::{
    drill::{self, Drill},
    driver::BlkRequest,
    front_end::Base,
    liar::{Liar, Lies},
    memory_scan::Needles,
    process::{PATIENCE, eventually, run},
    siege::{self, Siege},
    world::World,
};
use vhost_backend::limits::FENCE_TIME;

fn hung() -> Lies {
    Lies { hung: true, ..Lies::default() }
}

/// Loads a disk that hangs from now on, until something does.
fn hang(liar: &Liar, drill: &mut Drill) {
    liar.set(hung());
    let deadline = Instant::now() + PATIENCE;
    let _ = drill.load(|_| liar.hung() > 0 || Instant::now() > deadline);
}

#[test]
fn it_keeps_no_key_from_being_taken_away_and_loses_nothing() {
    let world = World::new();
    let id = world.make_disk("d", drill::SIZE, "");
    let Some(liar) = Liar::over(&world.path("d.img"), 1) else { return };
    let mut drill = Drill::on(&world, "d", 1);
    let dek = world.release_key(&id);
    let (key, rounds) = (Needles::of_dek(&dek), Needles::of_round_keys(&dek));
    for _ in 0..2 {
        let _ = drill.load_for(Duration::from_millis(50));
        hang(&liar, &mut drill);
        // What comes after it hangs, too, or waits for its lock in the kernel: how many do which is chance.
        let _ = drill.load_for(Duration::from_millis(50));
        let pid = drill.backend.pid();
        assert_ne!(rounds.found_in(pid), Vec::<String>::new(), "it has the key");
        let said = world.keyd("key disable d --force --wait 30s").success();
        assert!(said.contains("confirmed, took"), "{said}");
        assert!(liar.hung() > 0, "nothing has moved");
        assert_eq!(rounds.found_in(pid), Vec::<String>::new());
        assert_eq!(key.found_in(pid), Vec::<String>::new());
        // Writes were ciphertext by then, and end; reads are done again when there is a key.
        liar.set(Lies::default());
        liar.wake();
        drill.assert_halted();
        assert_eq!(liar.hung(), 0);
        world.enable("d");
        drill.assert_running();
    }
    drill.assert_intact();
    assert!(drill.backend.terminate().success());
}

/// As in a container that is paused: time passes, and no queue can answer.
#[test]
fn a_process_that_is_stopped_in_its_fence_completes_it_when_it_goes_on() {
    let world = World::new();
    let _ = world.make_disk("d", drill::SIZE, "");
    let Some(liar) = Liar::over(&world.path("d.img"), 4) else { return };
    let mut drill = Drill::on(&world, "d", 4);
    let said = drill.backend.listener();
    let fences = || said().matches("fenced in").count();
    // Whether it was stopped before the fence was complete, which takes a tenth of a second where something hangs.
    let mut in_time = 0;
    for _ in 0..5 {
        hang(&liar, &mut drill);
        let before = fences();
        let _ = world.keyd("key disable d --force").success();
        drill.backend.signal(Signal::STOP);
        in_time += u8::from(fences() == before);
        thread::sleep(FENCE_TIME + Duration::from_millis(200));
        drill.backend.signal(Signal::CONT);
        eventually("the end of the fence", || (fences() > before).then_some(()));
        liar.set(Lies::default());
        liar.wake();
        drill.assert_halted();
        world.enable("d");
        drill.assert_running();
        if in_time == 2 {
            break;
        }
    }
    assert!(in_time > 0, "stopped too late each time");
    drill.assert_intact();
    assert!(drill.backend.terminate().success());
}

/// On FUSE a write waits for a lock that a flush holds until it is answered.
#[test]
fn a_flush_that_hangs_keeps_no_queue_from_letting_go_of_its_key() {
    for cache in ["direct", "buffered"] {
        let world = World::new();
        let _ = world.make_disk("d", drill::SIZE, "");
        let Some(liar) = Liar::over(&world.path("d.img"), 3) else { return };
        let mut backend = world.start_backend("d", &format!("--cache {cache}"));
        let mut front_end = world.front_end("d");
        liar.set(hung());
        let mut ask = |request: BlkRequest| {
            let ring = &mut front_end.rings[0];
            let _ = ring.driver.submit(&request);
            ring.kick.write(1).expect("a kick");
        };
        ask(BlkRequest::flush());
        eventually("a flush at the disk", || (liar.hung() > 0).then_some(()));
        ask(BlkRequest::write(8, vec![7; 4096]));
        ask(BlkRequest::read(8, 4096));
        let said = world.keyd("key disable d --force --wait 30s").success();
        assert!(said.contains("confirmed, took"), "{said}");
        world.enable("d");
        liar.set(Lies::default());
        liar.wake();
        let mut answers = Vec::new();
        eventually("three answers", || {
            answers.extend(front_end.rings[0].driver.completions());
            (answers.len() == 3).then_some(())
        });
        assert!(answers.iter().all(|answer| answer.status == 0), "{answers:?}");
        drop(front_end);
        assert!(backend.terminate().success());
    }
}

#[test]
fn what_a_killed_process_left_at_it_comes_before_all_that_its_successor_does() {
    let world = World::new();
    let _ = world.make_disk("d", siege::SIZE, "");
    let Some(liar) = Liar::over(&world.path("d.img"), 2) else { return };
    let mut siege = Siege::of(&world, "d", 2, 2);
    for base in [Base::Used, Base::Avail, Base::Used] {
        siege.load_for(Duration::from_millis(50));
        liar.set(hung());
        siege.load_for(Duration::from_millis(20));
        eventually("a request at the disk", || (liar.hung() > 0).then_some(()));
        siege.backend.signal(Signal::KILL);
        liar.set(Lies::default());
        // The kernel still has what the other asked for.
        let refusal = run(&mut world.backend_command("d", "--num-queues 2")).failure();
        assert!(refusal.contains("in use"), "{refusal}");
        assert!(liar.hung() > 0);
        liar.wake();
        siege.restart(&world, base);
    }
    siege.assert_intact();
    println!("{} requests", siege.answered());
}
