//! The real binary under a real front end: random tapes at both sector sizes and on several queues, restarts of
//! rings and connections, the cache switch, and what the raw file may never contain.

use std::{fs, os::unix::fs::FileExt};

use rustix::process::Signal;
use system_tests::{
    driver::{
        BlkRequest, Cut,
        kind::{DISCARD, WRITE_ZEROES},
        range,
    },
    front_end::{CONFIG_WCE, EVENT_IDX, FrontEnd, Options},
    loop_device::LoopDevice,
    tape::{Mix, Tape},
    world::World,
};

const SIZE: usize = 48 << 20;

fn tapes(queues: usize, block: usize, seed: u64) -> Vec<Tape> {
    let blocks = SIZE / block / queues;
    let mix = |queue| Mix {
        block,
        first: queue * blocks,
        blocks,
        longest: (700 << 10) / block,
        discard: true,
    };
    (0..queues).map(|queue| Tape::new(mix(queue), seed * 100 + queue as u64)).collect()
}

fn play(block: usize, queues: usize, seeds: std::ops::Range<u64>) {
    let world = World::new();
    for seed in seeds {
        let name = format!("tape{seed}");
        let _ = world.make_disk(&name, "48M", &format!("--sector-size {block}"));
        let _backend = world.start_backend(&name, &format!("--num-queues {queues}"));
        let without = if seed % 2 == 0 { 0 } else { EVENT_IDX };
        let options = Options { queues, cut: Cut::Wild, without, seed, ..Options::default() };
        let socket = world.path(&format!("{name}.sock"));
        let mut tapes = tapes(queues, block, seed);
        FrontEnd::connect(&socket, options).play(&mut tapes, 400);
        // The next front end finds what the last one left, from sector 0 of each tape on.
        let mut again = FrontEnd::connect(&socket, options);
        for (queue, tape) in tapes.iter_mut().enumerate() {
            let first = (queue * (SIZE / queues) / 512) as u64;
            for (at, expected) in (first..).step_by(2048).zip(tape.oracle().chunks(1 << 20)) {
                let read = BlkRequest::read(at, expected.len());
                let answer = again.ask(queue, &read);
                assert_eq!(answer.status, 0);
                assert!(answer.data == expected, "1 MiB at sector {at}, seed {seed}");
            }
        }
        again.play(&mut tapes, 100);
    }
}

#[test]
fn tapes_at_512_bytes_on_one_queue() {
    play(512, 1, 0..4);
}

#[test]
fn tapes_at_4096_bytes_on_four_queues() {
    play(4096, 4, 4..8);
}

#[test]
fn tapes_at_512_bytes_on_three_queues() {
    play(512, 3, 8..10);
}

#[test]
fn the_raw_file_never_contains_what_the_guest_wrote() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let _backend = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    let marker = b"PLANTED-PLAINTEXT-0123456789-PLANTED";
    for sector in (0..1024).step_by(16) {
        let out = marker.iter().copied().cycle().take(8192).collect();
        assert_eq!(front_end.ask(0, &BlkRequest::write(sector, out)).status, 0);
    }
    let raw = fs::read(world.path("d.img")).unwrap();
    assert!(raw[16 << 20..].iter().any(|&byte| byte != 0), "something was written");
    assert!(!raw.windows(16).any(|window| window == &marker[..16]));
}

#[test]
fn a_stopped_ring_goes_on_where_it_stood() {
    let world = World::new();
    let _ = world.make_disk("d", "48M", "");
    let _backend = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    let mut tapes = tapes(1, 512, 77);
    let mut judged = 0;
    for _ in 0..20 {
        front_end.play(&mut tapes, 7);
        judged += 7;
        let base = front_end.stop(0);
        assert_eq!(base, judged);
        front_end.share();
        front_end.start(0, base);
    }
}

#[test]
fn the_config_space_and_id_are_the_disks_own() {
    let world = World::new();
    let id = world.make_disk("d", "8M", "--sector-size 4096");
    let _backend = world.start_backend("d", "--num-queues 2");
    let mut front_end =
        FrontEnd::connect(&world.path("d.sock"), Options { queues: 2, ..Options::default() });
    let space = front_end.config(0, 60);
    assert_eq!(space[..8], (8u64 << 20 >> 9).to_le_bytes());
    assert_eq!(space[20..24], 4096u32.to_le_bytes());
    assert_eq!(space[34..36], 2u16.to_le_bytes());
    let answer = front_end.ask(1, &BlkRequest::get_id(20));
    assert_eq!((answer.status, answer.written), (0, 21));
    assert_eq!(answer.data, id.replace('-', "").as_bytes()[..20]);
}

#[test]
fn the_cache_switch_is_real() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let backend = world.start_backend("d", "");
    let mut front_end = world.front_end("d");
    assert_ne!(front_end.features() & CONFIG_WCE, 0);
    assert_eq!(front_end.config(32, 1), [1]);
    let write = BlkRequest::write(0, vec![1; 4096]);
    let flags = vhost::vhost_user::message::VhostUserConfigFlags::WRITABLE;
    front_end.switch_cache(0);
    assert_eq!(front_end.config(32, 1), [0]);
    assert_eq!(front_end.ask(0, &write).status, 0);
    // What is no switch has no effect, and ends nothing.
    vhost::vhost_user::VhostUserFrontend::set_config(&mut front_end.connection, 0, flags, &[9; 8])
        .unwrap();
    assert_eq!(front_end.config(0, 8), (8u64 << 20 >> 9).to_le_bytes());
    assert_eq!(front_end.ask(0, &write).status, 0);
    drop(backend);
}

#[test]
fn a_read_only_disk_reads_and_refuses_to_write() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let mut backend = world.start_backend("d", "");
    let write = BlkRequest::write(8, vec![5; 4096]);
    let read = BlkRequest::read(8, 4096);
    assert_eq!(world.front_end("d").ask(0, &write).status, 0);
    assert!(backend.terminate().success());
    let before = fs::read(world.path("d.img")).unwrap();
    let _backend = world.start_backend("d", "--read-only");
    let mut front_end = world.front_end("d");
    assert_eq!(front_end.ask(0, &write).status, 1);
    assert_eq!(front_end.ask(0, &read).data, vec![5; 4096]);
    assert!(before == fs::read(world.path("d.img")).unwrap(), "nothing was written");
}

#[test]
fn no_discard_means_that_nothing_is_given_back() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let _backend = world.start_backend("d", "--no-discard");
    let mut front_end = world.front_end("d");
    let write = BlkRequest::write(8, vec![5; 4096]);
    assert_eq!(front_end.ask(0, &write).status, 0);
    let discard = BlkRequest::ranges(DISCARD, range(8, 8, true));
    assert_eq!(front_end.ask(0, &discard).status, 2);
    let zeroes = BlkRequest { kind: WRITE_ZEROES, ..discard };
    assert_eq!(front_end.ask(0, &zeroes).status, 0);
    let read = BlkRequest::read(8, 4096);
    assert_eq!(front_end.ask(0, &read).data, vec![0; 4096]);
    let mut raw = vec![0; 4096];
    let image = fs::File::open(world.path("d.img")).unwrap();
    image.read_exact_at(&mut raw, (16 << 20) + 4096).unwrap();
    assert!(raw.iter().any(|&byte| byte != 0), "zeros were written, encrypted");
}

#[test]
fn sigterm_ends_the_backend_cleanly_under_a_connected_front_end() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let mut backend = world.start_backend("d", "");
    let _front_end = world.front_end("d");
    backend.signal(Signal::TERM);
    assert_eq!(backend.wait().code(), Some(0));
    assert!(!world.path("d.sock").exists(), "the socket is removed");
}

#[test]
fn a_block_device_serves_as_well_as_a_file() {
    let world = World::new();
    let file = world.path("volume");
    fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
    let Some(device) = LoopDevice::if_root(&file) else { return };
    let _ = world.image(&format!("create {} --size 48M", device.path().display())).success();
    std::os::unix::fs::symlink(device.path(), world.path("d.img")).unwrap();
    let backend = world.start_backend("d", "");
    assert!(backend.said().contains("block device"), "{}", backend.said());
    let mut tapes = tapes(1, 512, 5);
    let options = Options { cut: Cut::Wild, ..Options::default() };
    FrontEnd::connect(&world.path("d.sock"), options).play(&mut tapes, 300);
}
