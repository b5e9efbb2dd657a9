//! A VM is stored and goes on, here or elsewhere, by what Cloud Hypervisor says to its device.

#![allow(clippy::unwrap_used)] // a test that cannot begin has failed

use std::{
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, eventfd},
    pipe::pipe,
};
use system_tests::{
    driver::BlkRequest,
    front_end::{FrontEnd, Options, Stored},
    siege::{SIZE, Siege},
    world::World,
};
use vhost::vhost_user::message::VhostTransferStateDirection;

const LOAD: Duration = Duration::from_millis(50);

/// A disk `d` of two queues under load.
fn loaded(world: &World, seed: u64) -> Siege {
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(world, "d", 2, seed);
    siege.load_for(LOAD);
    siege
}

/// Requests wait for the key of such a disk.
fn parked(world: &World, seed: u64) -> Siege {
    let mut siege = loaded(world, seed);
    world.disable("d");
    siege.backend.wait_to_say("fenced in");
    siege.load_for(LOAD);
    siege
}

fn stored(siege: &mut Siege) -> Stored {
    siege.front_end.pause();
    siege.front_end.snapshot().expect("a snapshot")
}

/// Goes on with a stored VM in another process.
fn restored(world: &World, siege: &mut Siege, stored: &Stored) {
    assert!(siege.backend.terminate().success());
    assert!(siege.try_start(world), "{}", siege.backend.said());
    siege.front_end.restore(&world.path("d.sock"), stored);
}

/// Nothing is answered, and everything is as soon as the key is back.
fn waits_for_its_key(world: &World, siege: &mut Siege) {
    let before = siege.answered();
    siege.load_for(4 * LOAD);
    assert_eq!(siege.answered(), before, "held, and not failed");
    world.enable("d");
    siege.assert_intact();
}

/// Descriptors that can carry no state: what the front end keeps, and what it hands over.
fn no_channels() -> Vec<(OwnedFd, OwnedFd)> {
    let (local, remote) = UnixDatagram::pair().unwrap();
    let counter = || eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let (reading, writing) = pipe().unwrap();
    vec![(local.into(), remote.into()), (counter(), counter()), (writing, reading)]
}

#[test]
fn a_vm_goes_on_where_it_was_stored() {
    let world = World::new();
    let mut siege = loaded(&world, 1);
    for _ in 0..3 {
        let stored = stored(&mut siege);
        assert!(!stored.state.is_empty());
        siege.front_end.resume(&stored);
        siege.load_for(LOAD);
    }
    siege.assert_intact();
}

#[test]
fn a_vm_goes_on_in_another_process() {
    let world = World::new();
    let mut siege = loaded(&world, 2);
    let stored = stored(&mut siege);
    restored(&world, &mut siege, &stored);
    siege.assert_intact();
}

#[test]
fn a_halted_vm_is_stored_and_its_requests_wait_on() {
    let world = World::new();
    let mut siege = parked(&world, 3);
    let stored = stored(&mut siege);
    siege.front_end.resume(&stored);
    waits_for_its_key(&world, &mut siege);
}

#[test]
fn requests_of_a_halted_vm_are_done_in_another_process_that_has_the_key() {
    let world = World::new();
    let mut siege = parked(&world, 4);
    let stored = stored(&mut siege);
    world.enable("d");
    restored(&world, &mut siege, &stored);
    siege.assert_intact();
}

#[test]
fn requests_of_a_halted_vm_wait_on_in_another_process_that_has_no_key_either() {
    let world = World::new();
    let mut siege = parked(&world, 8);
    let stored = stored(&mut siege);
    restored(&world, &mut siege, &stored);
    waits_for_its_key(&world, &mut siege);
}

#[test]
fn a_cache_that_the_guest_switched_off_is_off_in_another_process() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let mut backend = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    front_end.switch_cache(0);
    front_end.pause();
    let stored = front_end.snapshot().expect("a snapshot");
    assert!(backend.terminate().success());
    let _next = world.start_backend("d", "");
    front_end.restore(&world.path("d.sock"), &stored);
    assert_eq!(front_end.config(32, 1), [0]);
    assert_eq!(front_end.ask(0, &BlkRequest::read(0, 512)).status, 0);
}

#[test]
fn a_snapshot_that_is_refused_leaves_the_rings_as_they_were_and_says_why() {
    let world = World::new();
    let mut siege = loaded(&world, 5);
    for (local, remote) in no_channels() {
        assert!(siege.front_end.snapshot_through(local, remote).is_err());
        siege.assert_running();
    }
    // What was switched off stays so until it is switched on.
    for (local, remote) in no_channels() {
        siege.front_end.pause();
        assert!(siege.front_end.snapshot_through(local, remote).is_err());
        let before = siege.answered();
        siege.load_for(2 * LOAD);
        assert_eq!(siege.answered(), before, "paused");
        siege.front_end.unpause();
        siege.assert_running();
    }
    let said = siege.backend.said();
    assert!(said.contains("a pipe, a stream socket or a file"), "{said}");
    assert!(said.contains("Bad file descriptor"), "the end for reading: {said}");
    assert!(!said.contains("front end refused"), "{said}");
    let stored = stored(&mut siege);
    siege.front_end.resume(&stored);
    siege.assert_intact();
}

/// It does not know that they have gone on meanwhile.
#[test]
fn a_front_end_that_starts_its_rings_again_after_a_refusal_has_nothing_done_twice() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let _backend = world.start_backend("d", "");
    let mut front_end = FrontEnd::connect(&world.path("d.sock"), Options::default());
    for byte in 1..=5 {
        let base = front_end.stop(0);
        let counter = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        assert!(front_end.transfer(VhostTransferStateDirection::SAVE, counter).is_err());
        let write = BlkRequest::write(8, vec![byte; 4096]);
        assert_eq!(front_end.ask(0, &write).status, 0);
        front_end.start(0, base);
        assert_eq!(front_end.ask(0, &BlkRequest::read(8, 4096)).data, [byte; 4096]);
    }
}

#[test]
fn a_state_that_is_none_is_refused_with_the_reason_and_the_device_goes_on() {
    let world = World::new();
    let mut siege = loaded(&world, 6);
    for state in [&b""[..], b"another backend's", &[7; 4096]] {
        assert!(siege.front_end.load_state(state).is_err());
    }
    let said = siege.backend.said();
    assert_eq!(said.matches("not the state of such a device").count(), 3, "{said}");
    siege.assert_intact();
}

/// A front end writes all of a state before it asks whether it was taken, and nothing says how long one may be.
#[test]
fn whoever_brings_a_state_longer_than_any_channel_holds_hears_that_it_is_none() {
    let world = World::new();
    let mut siege = loaded(&world, 9);
    let long = vec![7; 8 << 20];
    for (ours, theirs) in [pipe().map(|(from, to)| (to, from)).unwrap(), {
        let (local, remote) = UnixStream::pair().unwrap();
        (local.into(), remote.into())
    }] {
        assert!(siege.front_end.load_state_through(ours, theirs, &long).is_err());
    }
    let said = siege.backend.said();
    assert_eq!(said.matches("not the state of such a device").count(), 2, "{said}");
    siege.assert_intact();
}

/// What a pipe is to QEMU a pair of sockets is to Cloud Hypervisor, which reads to the end.
#[test]
fn a_state_goes_through_a_pipe_and_a_pair_of_sockets_alike() {
    let world = World::new();
    let mut siege = loaded(&world, 7);
    let (from, to) = pipe().unwrap();
    let by_pipe = siege.front_end.snapshot_through(from, to).expect("by a pipe");
    siege.front_end.resume(&by_pipe);
    let (from, to) = UnixStream::pair().unwrap();
    let by_socket = siege.front_end.snapshot_through(from.into(), to.into()).expect("by a socket");
    assert_eq!(by_pipe.state, by_socket.state);
    siege.front_end.resume(&by_socket);
    siege.assert_intact();
}
