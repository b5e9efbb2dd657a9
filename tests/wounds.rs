//! What another server of encrypted disks did in production, each by its name, and what a front end may do to the
//! memory under requests: with a guest's own eyes, on the real binary.
//!
//! Two more of those wounds have their tests elsewhere: descriptors that leak with each connection
//! (`hostile_peers::a_thousand_front_ends_come_and_go_without_a_trace`), and requests completed twice or never after a
//! restart (`crash.rs`, `vhost-backend/src/inflight/tests.rs`).

use std::{
    fs,
    time::{Duration, Instant},
};

use system_tests::{
    driver::{BlkRequest, Completion, NEXT, WRITE, kind::WRITE_ZEROES, range},
    front_end::FrontEnd,
    hostile::{BUFFERS, DESCRIPTORS, HostileGuest, MEMORY, peak_memory},
    process::{PATIENCE, Process},
    refusal::{mark_is_there, marked_and_served},
    world::World,
};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, vhost_user::VhostUserFrontend};

/// Sectors of the disk.
const SECTORS: u64 = (8 << 20) / 512;

/// Sectors of which a request for eight reaches behind the end: by one, by all, by far, and by a byte offset that wraps
/// around to the disk's first.
const PAST_THE_END: [u64; 6] =
    [SECTORS - 7, SECTORS, 1 << 32, 1 << 55, (1 << 55) + 8, u64::MAX - 7];

fn served(world: &World) -> (Process, FrontEnd) {
    let backend = marked_and_served(world, "");
    (backend, world.front_end("d"))
}

#[test]
fn a_read_past_the_end_fails_and_brings_nothing() {
    let world = World::new();
    let (_backend, mut front_end) = served(&world);
    // A buffer of the device has something that another read left there.
    assert_eq!(front_end.ask(0, &BlkRequest::read(0, 4096)).status, 0);
    for sector in PAST_THE_END {
        let Completion { status, data, written, .. } =
            front_end.ask(0, &BlkRequest::read(sector, 4096));
        assert_eq!((status, written), (1, 1), "at {sector}");
        assert!(data == [0xff; 4096], "at {sector} the guest's buffer was written");
    }
    assert_eq!(
        front_end.ask(0, &BlkRequest::read(SECTORS - 8, 4096)).status,
        0,
        "the last block is there"
    );
}

#[test]
fn a_write_past_the_end_fails_and_neither_grows_nor_changes_the_file() {
    let world = World::new();
    let (_backend, mut front_end) = served(&world);
    let before = fs::read(world.path("d.img")).expect("the image");
    for sector in PAST_THE_END {
        let write = BlkRequest::write(sector, vec![7; 4096]);
        assert_eq!(front_end.ask(0, &write).status, 1, "at {sector}");
        let zero = BlkRequest::ranges(WRITE_ZEROES, range(sector, 8, true));
        assert_eq!(front_end.ask(0, &zero).status, 1, "zeros at {sector}");
    }
    assert_eq!(front_end.ask(0, &BlkRequest::flush()).status, 0);
    let after = fs::read(world.path("d.img")).expect("the image");
    assert_eq!(after.len(), before.len(), "the file has grown");
    assert!(after == before, "the file was written");
    drop(front_end);
    mark_is_there(&world, "d");
}

#[test]
fn get_id_without_a_place_for_the_id_fails_and_the_queue_goes_on() {
    let world = World::new();
    let (_backend, mut front_end) = served(&world);
    for room in [0, 19] {
        let answer = front_end.ask(0, &BlkRequest::get_id(room));
        assert_eq!((answer.status, answer.data), (1, vec![0xff; room]), "room for {room}");
    }
    assert_eq!(front_end.ask(0, &BlkRequest::read(0, 4096)).status, 0);
}

#[test]
fn descriptors_of_four_gib_take_no_memory() {
    let world = World::new();
    let backend = marked_and_served(&world, "");
    let mut guest = HostileGuest::connect(&world.path("d.sock"));
    guest.start();
    let mark = guest.good_read();
    let before = peak_memory(backend.pid());
    const STATUS: u64 = BUFFERS + 0x8000;
    // Type: READ, WRITE, DISCARD, WRITE_ZEROES.
    for (kind, direction) in [(0u32, WRITE), (1, 0), (11, 0), (13, 0)] {
        for len in [u32::MAX, u32::MAX - 511] {
            guest.write(BUFFERS, &kind.to_le_bytes());
            guest.write(STATUS, &[0xff]);
            guest.descriptor(DESCRIPTORS, 0, BUFFERS, 16, NEXT, 1);
            guest.descriptor(DESCRIPTORS, 1, BUFFERS + 0x1000, len, NEXT | direction, 2);
            guest.descriptor(DESCRIPTORS, 2, STATUS, 1, WRITE, 0);
            guest.offer(0);
            assert!(guest.comes_back_within(Duration::from_secs(20)), "type {kind} is kept");
            assert_eq!(guest.read(STATUS, 1), [1], "type {kind}");
        }
    }
    assert_eq!(guest.good_read(), mark);
    let grown = peak_memory(backend.pid()) - before;
    assert!(grown < 4 << 10, "{grown} KiB for a descriptor of 4 GiB");
}

#[test]
fn memory_that_is_taken_away_fails_its_requests_and_then_the_ring_that_lies_in_it() {
    let world = World::new();
    let mut backend = marked_and_served(&world, "--num-queues 2");
    let mut guest = HostileGuest::connect(&world.path("d.sock"));
    guest.start();
    let mark = guest.good_read();
    // The same pages once more, behind all others: a region of its own.
    let far = VhostUserMemoryRegionInfo {
        guest_phys_addr: 1 << 30,
        userspace_addr: guest.host() + (1 << 40),
        ..guest.region()
    };
    let into_far = |guest: &mut HostileGuest| {
        const STATUS: u64 = BUFFERS + 0x8000;
        guest.write(BUFFERS, &[0; 16]);
        guest.write(STATUS, &[0xff]);
        guest.descriptor(DESCRIPTORS, 0, BUFFERS, 16, NEXT, 1);
        guest.descriptor(DESCRIPTORS, 1, (1 << 30) + MEMORY / 2, 4096, NEXT | WRITE, 2);
        guest.descriptor(DESCRIPTORS, 2, STATUS, 1, WRITE, 0);
        guest.offer(0);
        assert!(guest.comes_back_within(Duration::from_secs(20)), "kept");
        guest.read(STATUS, 1)[0]
    };
    for _ in 0..3 {
        assert_eq!(into_far(&mut guest), 1, "before it is there");
        guest.connection.add_mem_region(&far).expect("added");
        assert_eq!(into_far(&mut guest), 0);
        guest.connection.remove_mem_region(&far).expect("removed");
    }
    assert_eq!(guest.good_read(), mark);
    let region = guest.region();
    guest.connection.remove_mem_region(&region).expect("removed");
    guest.jump(1);
    backend.wait_to_say("is not in guest memory");
    assert!(guest.connection.get_features().is_ok(), "the control side still talks");
    drop(guest);
    mark_is_there(&world, "d");
}

#[test]
fn a_new_memory_table_under_requests_changes_nothing() {
    let world = World::new();
    let (_backend, mut front_end) = served(&world);
    let write = |n: u64| BlkRequest::write(64 + 8 * n, vec![n as u8; 4096]);
    for round in 0..50 {
        let tokens: Vec<u64> =
            (0..8).map(|n| front_end.rings[0].driver.submit(&write(8 * round + n))).collect();
        front_end.rings[0].kick.write(1).expect("a kick");
        front_end.share();
        let mut ended: Vec<Completion> = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while ended.len() < tokens.len() {
            ended.extend(front_end.rings[0].driver.completions());
            assert!(Instant::now() < deadline, "round {round}: {} answers", ended.len());
        }
        assert!(ended.iter().all(|done| done.status == 0), "round {round}");
    }
    for n in (0..400).step_by(7) {
        assert!(
            front_end.ask(0, &BlkRequest::read(64 + 8 * n, 4096)).data == [n as u8; 4096],
            "block {n}"
        );
    }
}
