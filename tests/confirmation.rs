//! A revocation that proves itself: who asks to wait is told of every holder that it has let go and when, or that it
//! has not said so and when its lease ends, or that it is gone.

use std::{thread, time::Duration};

use keyd_client::{
    DiskId,
    message::{
        Consent, DiskShow, DiskState, EncryptionType, FenceReport, HolderAnswer, KeyChange,
        KeyUpdate, Phase, Revocation, Terms, UnixMillis,
    },
};
use rustix::process::Signal;
use system_tests::{
    audit,
    clock::millis,
    drill::{Drill, SIZE},
    process::{PATIENCE, Process, eventually},
    world::{TERMS, World},
};

/// A host with three disks under one key, the first under load.
struct Three {
    drill: Drill,
    others: [Process; 2],
    disks: [DiskId; 3],
}

impl Three {
    fn new(world: &World, lease: Duration, seed: u64) -> Self {
        let lease_ms = lease.as_millis() as u64;
        world.make_set("d", EncryptionType::CustomerKey, Terms { lease_ms, ..TERMS });
        let disks = ["d", "e", "f"].map(|name| {
            let _ = world.image(&format!("create {name}.img --size {SIZE} --des d")).success();
            world.disk_id(&world.path(&format!("{name}.img"))).parse().expect("an id")
        });
        let mut drill = Drill::on(world, "d", seed);
        drill.load_for(Duration::from_millis(200));
        Self { drill, others: ["e", "f"].map(|name| world.start_backend(name, "")), disks }
    }
}

/// Whether a holder of the disk is in this state.
fn is(world: &World, id: DiskId, in_phase: impl Fn(Phase) -> bool) -> bool {
    world.ask(DiskShow { id }).holders.iter().any(|holder| in_phase(holder.state.phase))
}

/// Waits until each disk's key is held again.
fn all_hold(world: &World, disks: &[DiskId]) {
    let holds = |id: &DiskId| is(world, *id, |phase| phase == Phase::Running);
    eventually("key for everybody", || disks.iter().all(holds).then_some(()));
}

/// Disables the key and waits for the holders.
fn disable(world: &World, wait: Duration) -> Revocation {
    let change = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let (name, version, consent) = ("d".parse().expect("a name"), None, Consent::Force);
    let wait_ms = wait.as_millis() as u64;
    world.change(KeyUpdate { name, version, change, consent, wait_ms }).revocation
}

/// What the holder of a disk has answered.
fn answer(revocation: &Revocation, disk: DiskId) -> HolderAnswer {
    let row = revocation.holders.iter().find(|row| row.disk == disk);
    row.unwrap_or_else(|| panic!("{disk} has no holder: {revocation:?}")).clone()
}

fn confirmed(revocation: &Revocation, disk: DiskId) -> FenceReport {
    let answer = answer(revocation, disk);
    answer.report.unwrap_or_else(|| panic!("not confirmed: {answer:?}"))
}

/// When the lease of a holder ends that has not confirmed. Nothing prolongs it that comes after the loss of the key,
/// of which `other` has heard.
fn lease_ends(revocation: &Revocation, disk: DiskId, other: DiskId, lease: Duration) -> UnixMillis {
    let Phase::Halting { lease_ends } = answer(revocation, disk).state.phase else {
        panic!("{revocation:?}");
    };
    let heard = confirmed(revocation, other).ordered;
    assert!(lease_ends <= heard + lease.as_millis() as u64, "{revocation:?}");
    lease_ends
}

#[test]
fn every_holder_confirms_with_its_last_io_and_when_its_key_was_wiped() {
    let world = World::new();
    // None ends here: all confirm before.
    let Three { mut drill, others, disks } = Three::new(&world, PATIENCE, 1);
    let asked = millis();
    let (halt, revocation) = drill.halt(|| disable(&world, PATIENCE));
    let returned = millis();
    assert!(revocation.confirmed(), "{revocation:?}");
    assert_eq!((revocation.told, revocation.holders.len()), (3, 3));
    let pids: Vec<u32> = revocation.holders.iter().map(|row| row.pid).collect();
    for process in others.iter().chain([&drill.backend]) {
        assert!(pids.contains(&process.pid()), "{revocation:?}");
    }
    for disk in disks {
        let report = confirmed(&revocation, disk);
        assert!(asked <= report.ordered && report.ordered <= report.wiped, "{report:?}");
        assert!(report.wiped <= returned, "{report:?}");
        assert_eq!(report.last_io.is_some(), disk == disks[0], "only one had been asked anything");
        // The record of it is what was answered.
        assert_eq!(audit::fence_of(&world, disk, asked), report);
    }
    println!("confirmed by 3 holders in {:?}", halt.returned - halt.asked);
}

#[test]
fn a_stopped_holder_is_told_with_the_end_of_its_lease_and_a_killed_one_as_gone() {
    const WAIT: Duration = Duration::from_millis(3000);
    const LEASE: Duration = Duration::from_millis(10_000);
    let world = World::new();
    let Three { drill: mut stopped, others: [running, mut killed], disks } =
        Three::new(&world, LEASE, 2);
    stopped.backend.signal(Signal::STOP);
    // Else it would confirm before it can be killed.
    killed.signal(Signal::STOP);
    let asked = millis();
    let revocation = thread::scope(|scope| {
        let disabling = scope.spawn(|| disable(&world, WAIT));
        eventually("a word to the one that is to be killed", || {
            is(&world, disks[2], |phase| matches!(phase, Phase::Halting { .. })).then_some(())
        });
        killed.kill();
        disabling.join().expect("disabled")
    });
    let returned = millis();
    assert_eq!((revocation.told, revocation.confirmed()), (3, false));
    let DiskState { phase, since, .. } = answer(&revocation, disks[2]).state;
    assert!(phase == Phase::Gone && asked < since && since < returned, "{revocation:?}");
    let lease_ends = lease_ends(&revocation, disks[0], disks[1], LEASE);
    assert!(returned < lease_ends, "{revocation:?}");
    assert!(returned >= asked + WAIT.as_millis() as u64 - 1, "it waits for what may still come");
    assert_alarm(&world, disks[2], "holder hung up");

    // At the end of its lease the stopped one is given up: it runs again, too late, and stops by itself.
    assert_alarm(&world, disks[0], "lease ended");
    assert!(millis() >= lease_ends);
    let signal = stopped.backend.signaller();
    let (halt, ()) = stopped.halt(|| signal(Signal::CONT));
    println!("woken after its lease, it answered for {:?} more", halt.last - halt.asked);
    world.enable("d");
    stopped.assert_running();
    stopped.assert_intact();
    drop(running);
}

/// That a holder did not confirm is on record.
fn assert_alarm(world: &World, disk: DiskId, how: &str) {
    let subject = disk.to_string();
    let _ = eventually("end of the lease on record", || {
        let records = audit::tail(world).into_iter();
        records
            .filter(|record| record.operation == "lease-end" && record.subject == subject)
            .find(|record| record.outcome == "not confirmed" && record.detail.starts_with(how))
    });
}

#[test]
fn who_waits_longer_than_a_lease_is_answered_at_its_end() {
    const LEASE: Duration = Duration::from_millis(4000);
    let world = World::new();
    let Three { drill, others: _others, disks } = Three::new(&world, LEASE, 3);
    drill.backend.signal(Signal::STOP);
    let revocation = disable(&world, LEASE + PATIENCE * 2);
    let returned = millis();
    assert!(!revocation.confirmed());
    let lease_ends = lease_ends(&revocation, disks[0], disks[1], LEASE);
    confirmed(&revocation, disks[2]);
    assert!(returned >= lease_ends, "{revocation:?}");
    let patience = PATIENCE.as_millis() as u64;
    assert!(returned < lease_ends + patience, "nothing is to be waited for after it");
}

#[test]
fn the_command_line_says_who_has_not_confirmed_and_so_does_its_exit_code() {
    let world = World::new();
    let Three { mut drill, others, disks } = Three::new(&world, Duration::from_millis(4000), 4);
    let row = |said: &str, disk: usize| {
        let id = disks[disk].to_string();
        let row = said.lines().find(|line| line.starts_with(&id));
        row.unwrap_or_else(|| panic!("no row for {id}: {said}")).to_owned()
    };
    let (_, all) = drill.halt(|| world.keyd("key disable d --force --wait 20s"));
    assert_eq!(all.code, 0, "{}{}", all.out, all.err);
    for (disk, process) in [&drill.backend, &others[0], &others[1]].into_iter().enumerate() {
        let row = row(&all.out, disk);
        assert!(row.contains("confirmed, took") && row.contains(&process.pid().to_string()));
    }
    println!("{}", all.out);
    world.enable("d");
    all_hold(&world, &disks);
    others[0].signal(Signal::STOP);
    let (_, but_one) = drill.halt(|| world.keyd("key disable d --force --wait 20s"));
    assert_eq!(but_one.code, 4, "{}{}", but_one.out, but_one.err);
    assert!(row(&but_one.out, 1).contains("not confirmed, lease ends at"));
    assert!(row(&but_one.out, 2).contains("confirmed, took"));
    println!("{}", but_one.out);
}
