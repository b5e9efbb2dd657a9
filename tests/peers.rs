//! The device beside others' work: the driver of libblkio (`virtio-driver`) on our backend and on
//! `qemu-storage-daemon`, the same script on both, every byte and status compared with the oracle and with each
//! other.
//!
//! Where the two may differ, and what is done about it:
//! * Discarded blocks: the standard leaves their content open. Ours promises zeros and is held to it; of the
//!   daemon only the status counts, and what is read from open blocks is left out of the comparison.
//! * A read of no bytes, a discard of no sectors: I/O error here, success there. Not in the script: no driver
//!   sends it.
//! * Several ranges in one discard or write-zeroes: done here (`max_discard_seg` is 16), unsupported there (1). The
//!   script has one range a request; `guest_io` plays several.
//! * 512 bytes on a disk of 4096-byte blocks: I/O error here, done there.
//! * Buffers of no bytes in a chain are legal. libvhost-user takes them for an attack and stops the device, so
//!   [`Cut::Wild`] is played on our backend only, beside the daemon under [`Cut::Plain`]: the answers are the same.

use std::ops::Range;

use system_tests::{
    driver::Cut,
    front_end::{EVENT_IDX, FrontEnd, Options},
    process::Process,
    script::{Part, Player, Scene, Script, play_round},
    storage_daemon::serve_raw,
    virtio_client::{ClientOptions, VirtioClient},
    world::World,
};

const SIZE: usize = 12 << 20;
const ROUNDS: usize = 120;
const DEPTH: usize = 6;

fn scene(block: usize, queues: usize) -> Scene {
    let (blocks, longest) = (SIZE / block, (256 << 10) / block);
    Scene { block, blocks, longest, queues, depth: DEPTH, strange: false }
}

/// Our backend and the daemon, on disks of one shape.
fn serve_both(world: &World, name: &str, scene: Scene) -> (Process, Process) {
    let Scene { block, queues, .. } = scene;
    let _ = world.make_disk(name, &SIZE.to_string(), &format!("--sector-size {block}"));
    let ours = world.start_backend(name, &format!("--num-queues {queues}"));
    (ours, serve_raw(&world.path(""), name, SIZE as u64, queues, block))
}

fn virtio_client(world: &World, socket: &str, scene: Scene, seed: u64) -> VirtioClient {
    let (queues, depth) = (scene.queues, scene.depth);
    let options = ClientOptions { queues, depth, event_idx: seed.is_multiple_of(2) };
    VirtioClient::connect(&world.path(socket), options)
}

fn vhost_front_end(world: &World, socket: &str, scene: Scene, cut: Cut, seed: u64) -> FrontEnd {
    let without = if seed.is_multiple_of(2) { 0 } else { EVENT_IDX };
    let options =
        Options { queues: scene.queues, depth: DEPTH as u64, cut, without, seed, tracked: false };
    FrontEnd::connect(&world.path(socket), options)
}

/// Plays a script on both and reads both disks back. Gives the number of requests that each answered.
fn play(ours: &mut dyn Player, theirs: &mut dyn Player, script: &mut Script) -> u64 {
    let mut parts = [
        Part { name: "vhost-backend", player: ours, discard_zeroes: true },
        Part { name: "qemu-storage-daemon", player: theirs, discard_zeroes: false },
    ];
    let mut requests = 0;
    for _ in 0..ROUNDS {
        requests += play_round(&mut parts, &script.round());
    }
    assert!(script.oracle().iter().any(|&byte| byte != 0), "the script wrote something");
    requests + script.read_back().iter().map(|round| play_round(&mut parts, round)).sum::<u64>()
}

fn virtio_driver_on_both(block: usize, queues: usize, seeds: Range<u64>) {
    let world = World::new();
    let scene = scene(block, queues);
    let mut requests = 0;
    for seed in seeds.clone() {
        let name = format!("d{seed}");
        let _daemons = serve_both(&world, &name, scene);
        let mut ours = virtio_client(&world, &format!("{name}.sock"), scene, seed);
        let mut theirs = virtio_client(&world, &format!("{name}.qsd"), scene, seed);
        let event_idx = |client: &VirtioClient| client.features() & EVENT_IDX != 0;
        assert_eq!(event_idx(&ours), seed.is_multiple_of(2));
        assert_eq!(event_idx(&theirs), seed.is_multiple_of(2));
        requests += play(&mut ours, &mut theirs, &mut Script::new(scene, seed));
    }
    println!(
        "virtio-driver, {block} bytes, {queues} queues: {} seeds, {requests} requests on each device",
        seeds.end - seeds.start
    );
}

#[test]
fn virtio_driver_finds_no_difference_at_512_bytes_on_one_queue() {
    virtio_driver_on_both(512, 1, 0..4);
}

#[test]
fn virtio_driver_finds_no_difference_at_512_bytes_on_four_queues() {
    virtio_driver_on_both(512, 4, 4..8);
}

#[test]
fn virtio_driver_finds_no_difference_at_4096_bytes_on_one_queue() {
    virtio_driver_on_both(4096, 1, 8..12);
}

#[test]
fn virtio_driver_finds_no_difference_at_4096_bytes_on_three_queues() {
    virtio_driver_on_both(4096, 3, 12..16);
}

fn vhost_crate_on_both(block: usize, queues: usize, cut: Cut, seeds: Range<u64>) {
    let world = World::new();
    // Types that virtio-driver has no name for come in here.
    let scene = Scene { strange: true, ..scene(block, queues) };
    let mut requests = 0;
    for seed in seeds.clone() {
        let name = format!("d{seed}");
        let _daemons = serve_both(&world, &name, scene);
        let mut ours = vhost_front_end(&world, &format!("{name}.sock"), scene, cut, seed);
        let mut theirs = vhost_front_end(&world, &format!("{name}.qsd"), scene, Cut::Plain, seed);
        requests += play(&mut ours, &mut theirs, &mut Script::new(scene, seed));
    }
    println!(
        "vhost crate, {block} bytes, {queues} queues, {cut:?}: {} seeds, {requests} requests on each device",
        seeds.end - seeds.start
    );
}

#[test]
fn the_vhost_crate_finds_no_difference_at_512_bytes() {
    vhost_crate_on_both(512, 2, Cut::Plain, 20..23);
}

#[test]
fn the_vhost_crate_finds_no_difference_at_4096_bytes() {
    vhost_crate_on_both(4096, 2, Cut::Plain, 23..26);
}

#[test]
fn wildly_cut_requests_get_the_answers_that_plain_ones_get_from_the_daemon() {
    vhost_crate_on_both(512, 1, Cut::Wild, 26..28);
    vhost_crate_on_both(4096, 3, Cut::Wild, 28..30);
}

#[test]
fn virtio_driver_reads_the_same_shape_from_both() {
    let world = World::new();
    for block in [512, 4096] {
        let scene = scene(block, 4);
        let name = format!("d{block}");
        let _daemons = serve_both(&world, &name, scene);
        let ours = virtio_client(&world, &format!("{name}.sock"), scene, 0).config();
        let theirs = virtio_client(&world, &format!("{name}.qsd"), scene, 0).config();
        for config in [&ours, &theirs] {
            assert_eq!(config.capacity.to_native(), SIZE as u64 / 512);
            assert_eq!(config.blk_size.to_native(), block as u32);
            assert_eq!(config.num_queues.to_native(), 4);
            assert_eq!(config.seg_max.to_native(), 126);
        }
        // The daemon has a cache and unmaps, too, and says neither.
        assert_eq!((ours.writeback, ours.write_zeroes_may_unmap), (1, 1));
    }
}

#[test]
fn a_client_that_leaves_lets_the_next_one_of_another_make_in() {
    let world = World::new();
    let scene = scene(512, 2);
    let (_ours, _theirs) = serve_both(&world, "d", scene);
    let mut script = Script::new(scene, 99);
    for _ in 0..3 {
        let mut ours = virtio_client(&world, "d.sock", scene, 0);
        let mut theirs = virtio_client(&world, "d.qsd", scene, 0);
        play(&mut ours, &mut theirs, &mut script);
        drop((ours, theirs));
        let mut ours = vhost_front_end(&world, "d.sock", scene, Cut::Wild, 1);
        let mut theirs = vhost_front_end(&world, "d.qsd", scene, Cut::Plain, 1);
        play(&mut ours, &mut theirs, &mut script);
    }
}
