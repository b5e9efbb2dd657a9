//! A VM moves while it runs: its memory is copied under it, its disk is let go here and had there, never both.

#![allow(clippy::unwrap_used)] // a test that cannot begin has failed

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    os::unix::fs::{FileExt, MetadataExt, symlink},
    thread,
    time::Duration,
};

use images::{Access, ImageFile, OpenError};
use rustix::fs::SealFlags;
use serde_json::{Value, json};
use system_tests::{
    driver::{
        BlkRequest, Cut,
        kind::{FLUSH, READ, WRITE},
    },
    front_end::{EVENT_IDX, FrontEnd, Options},
    guest::Guest,
    liar::Liar,
    monitor::Monitor,
    process::{PATIENCE, Process, eventually},
    tape::{Mix, Tape},
    world::World,
};
use vhost::vhost_user::message::VhostTransferStateDirection;

const PAGE: usize = 4096;

/// Pages whose bytes differ.
fn changed(before: &[u8], after: &[u8]) -> BTreeSet<usize> {
    let pairs = before.chunks(PAGE).zip(after.chunks(PAGE)).enumerate();
    pairs.filter(|(_, (before, after))| before != after).map(|(page, _)| page).collect()
}

/// Pages that are marked; they are not afterwards.
fn take_marks(log: &File, pages: usize) -> BTreeSet<usize> {
    let mut bytes = vec![0; pages.div_ceil(8)];
    log.read_exact_at(&mut bytes, 0).unwrap();
    log.write_all_at(&vec![0; bytes.len()], 0).unwrap();
    (0..pages).filter(|page| bytes[page / 8] & 1 << (page % 8) != 0).collect()
}

fn every_change_is_marked(without: u64) {
    const BLOCKS: usize = 2048;
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let _backend = world.start_backend("d", "");
    let options = Options { depth: 4, cut: Cut::Wild, seed: 5, without, ..Options::default() };
    let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
    let mix = Mix { block: 512, first: 0, blocks: BLOCKS, longest: 60, discard: true };
    let mut tapes = [Tape::new(mix, 3)];
    front_end.play(&mut tapes, 50);
    let log = front_end.log();
    let pages = front_end.memory_as_it_is().len() / PAGE;
    let (mut seen, mut marks) = (0, 0);
    for _ in 0..150 {
        let ring = &mut front_end.rings[0];
        let used = ring.driver.used_index();
        let token = ring.driver.submit(&tapes[0].request());
        tapes[0].submitted(token);
        // In this order: what is written late, after the picture, is marked after the marks were taken.
        let _ = take_marks(&log, pages);
        let before = front_end.memory_as_it_is();
        let ring = &mut front_end.rings[0];
        ring.kick.write(1).unwrap();
        eventually("an answer", || (ring.driver.used_index() != used).then_some(()));
        // It goes to sleep now, and says so in the ring.
        thread::sleep(Duration::from_millis(2));
        // A mark follows what it marks, on a busy host later than that: one that is forgotten never comes.
        let mut marked = BTreeSet::new();
        let changed = eventually("a mark for each page that changed", || {
            let changed = changed(&before, &front_end.memory_as_it_is());
            marked.extend(take_marks(&log, pages));
            changed.is_subset(&marked).then_some(changed)
        });
        let ring = &mut front_end.rings[0];
        ring.driver.completions().iter().for_each(|answer| tapes[0].judge(answer));
        (seen, marks) = (seen + changed.len(), marks + marked.len());
    }
    assert!(seen > 300, "{seen} pages were changed");
    // Bytes that are as they were are marked, too: what a read brings that was there before.
    assert!(marks < 3 * seen, "{marks} pages marked where {seen} changed");
    println!("{seen} pages changed, {marks} marked");
}

#[test]
fn every_page_that_the_device_writes_is_marked() {
    every_change_is_marked(0);
}

#[test]
fn every_page_is_marked_without_event_indices_too() {
    every_change_is_marked(EVENT_IDX);
}

#[test]
fn a_log_that_does_not_cover_memory_is_refused() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let mut backend = world.start_backend("d", "");
    let socket = world.path("d.sock");
    let mut front_end = FrontEnd::connect(&socket, Options::default());
    assert!(front_end.try_log(4).is_err());
    backend.wait_to_say("one bit a page");
    drop(front_end);
    let mut other = FrontEnd::connect(&socket, Options::default());
    assert_eq!(other.config(0, 60).len(), 60);
}

/// A log that is cut off would be SIGBUS, and the end of the rings.
#[test]
fn a_log_that_could_be_cut_off_is_refused() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let mut backend = world.start_backend("d", "");
    let socket = world.path("d.sock");
    let mut front_end = FrontEnd::connect(&socket, Options::default());
    assert!(front_end.try_log_with(1 << 20, SealFlags::GROW).is_err());
    backend.wait_to_say("not sealed against shrinking");
    drop(front_end);
    let mut other = FrontEnd::connect(&socket, Options::default());
    let _ = other.try_log_with(1 << 20, SealFlags::SHRINK).expect("a log that cannot");
    assert_eq!(other.ask(0, &write(7)).status, 0);
}

fn write(byte: u8) -> BlkRequest {
    BlkRequest { kind: WRITE, sector: 8, out: vec![byte; 4096], room: 0 }
}

fn read() -> BlkRequest {
    BlkRequest { kind: READ, sector: 8, out: vec![], room: 4096 }
}

/// The same image, served on another socket by a process that waits for its VM.
fn destination(world: &World) -> Process {
    symlink(world.path("d.img"), world.path("e.img")).unwrap();
    world.start_backend("e", "--incoming")
}

fn holders(world: &World, id: &str) -> Vec<u64> {
    let shown = world.keyd(&format!("disk show {id} --json")).success();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["holders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|holder| holder["pid"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_disk_is_let_go_when_its_vm_has_left_and_never_two_have_it() {
    let world = World::new();
    let id = world.make_disk("d", "8M", "");
    let mut source = world.start_backend("d", "");
    let mut destination = destination(&world);
    let (pid, other_pid) = (u64::from(source.pid()), u64::from(destination.pid()));
    let mut here = FrontEnd::connect(&world.path("d.sock"), Options::default());
    assert_eq!(here.ask(0, &write(1)).status, 0);

    // Too early: a VM that runs there while it runs here has its requests waiting.
    let mut there = FrontEnd::connect(&world.path("e.sock"), Options::default());
    assert_eq!(there.config(0, 8), here.config(0, 8));
    let ring = &mut there.rings[0];
    ring.driver.submit(&read());
    ring.kick.write(1).unwrap();
    destination.wait_to_say("in use by another backend");
    let _log = here.log();
    assert_eq!(here.ask(0, &write(2)).status, 0);
    thread::sleep(Duration::from_millis(300));
    assert!(there.rings[0].driver.completions().is_empty(), "it has no key");
    assert_eq!(holders(&world, &id), [pid]);

    // The VM stops here: the request there goes on, and finds what was answered last.
    let _ = here.stop(0);
    source.wait_to_say("the disk is free");
    let answer = eventually("an answer there", || there.rings[0].driver.completions().pop());
    assert_eq!((answer.status, answer.data), (0, vec![2; 4096]));
    assert_eq!(holders(&world, &id), [other_pid]);
    assert_eq!(there.ask(0, &write(3)).status, 0);

    // Should it be started here once more, it waits.
    let base = here.rings[0].driver.used_index();
    here.start(0, base);
    let ring = &mut here.rings[0];
    ring.driver.submit(&read());
    ring.kick.write(1).unwrap();
    source.wait_to_say("in use by another backend");
    assert_eq!(holders(&world, &id), [other_pid]);
    drop(there);
    assert!(destination.terminate().success());
    let answer = eventually("an answer here", || here.rings[0].driver.completions().pop());
    assert_eq!(answer.data, [3; 4096]);
    assert!(source.terminate().success());
}

#[test]
fn a_move_that_is_called_off_goes_on_where_it_was() {
    let world = World::new();
    let id = world.make_disk("d", "8M", "");
    let mut source = world.start_backend("d", "");
    let mut destination = destination(&world);
    let mut here = FrontEnd::connect(&world.path("d.sock"), Options::default());
    let _log = here.log();
    for round in 0..10 {
        assert_eq!(here.ask(0, &write(round)).status, 0);
        let base = here.stop(0);
        eventually("the disk to be free", || holders(&world, &id).is_empty().then_some(()));
        here.start(0, base);
        assert_eq!(here.ask(0, &read()).data, [round; 4096]);
    }
    assert_eq!(holders(&world, &id), [u64::from(source.pid())]);
    assert!(destination.terminate().success(), "which never had it");
    drop(here);
    assert!(source.terminate().success());
}

/// A resize that was cut short leaves an image with room at its end.
#[test]
fn a_disk_whose_image_is_longer_moves_with_the_length_that_the_daemon_knows() {
    const MIB: u64 = 1 << 20;
    let world = World::new();
    let id = world.make_disk("d", "8M", "");
    let image = File::options().write(true).open(world.path("d.img")).unwrap();
    image.set_len((16 + 12) * MIB).unwrap();
    let source = world.start_backend("d", "");
    let destination = destination(&world);
    let mut here = FrontEnd::connect(&world.path("d.sock"), Options::default());
    let mut there = FrontEnd::connect(&world.path("e.sock"), Options::default());
    let capacity = |front_end: &mut FrontEnd| {
        u64::from_le_bytes(front_end.config(0, 8).try_into().unwrap()) * 512
    };
    let _log = here.log();
    assert_eq!(here.ask(0, &write(1)).status, 0);
    assert_eq!(capacity(&mut here), 8 * MIB);
    let _ = here.stop(0);
    eventually("the disk to be free", || source.said().contains("is free").then_some(()));
    assert_eq!(there.ask(0, &read()).data, [1; 4096]);
    eventually("the disk's size", || (capacity(&mut there) == 8 * MIB).then_some(()));
    let behind = BlkRequest { sector: 8 * MIB / 512, ..write(2) };
    assert_eq!(there.ask(0, &behind).status, 1, "behind the end");
    assert_eq!(holders(&world, &id), [u64::from(destination.pid())]);
    // And it grows there as anywhere.
    let _ = world.image("resize e.img --size 12M").success();
    eventually("the disk's size", || (capacity(&mut there) == 12 * MIB).then_some(()));
    assert_eq!(there.ask(0, &behind).status, 0);
}

#[test]
fn whoever_waits_for_an_image_makes_no_hole_in_it() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let _source = world.start_backend("d", "");
    // Where the other process tried a hole: zeros that take space.
    let path = world.path("d.img");
    let image = File::options().write(true).open(&path).unwrap();
    image.write_all_at(&[0; PAGE], (16 << 20) - PAGE as u64).unwrap();
    image.sync_all().unwrap();
    let space = || fs::metadata(&path).unwrap().blocks();
    let before = space();
    let destination = destination(&world);
    assert_eq!(space(), before);
    assert!(destination.said().contains("holes can be punched"), "{}", destination.said());
}

#[test]
fn what_may_be_lost_is_not_let_go() {
    let world = World::new();
    let id = world.make_disk("d", "8M", "");
    let Some(liar) = Liar::over(&world.path("d.img"), 1) else { return };
    let mut source = world.start_backend("d", "");
    let mut here = FrontEnd::connect(&world.path("d.sock"), Options::default());
    let _log = here.log();
    assert_eq!(here.ask(0, &write(1)).status, 0);
    liar.cut_power();
    let base = here.stop(0);
    source.wait_to_say("resume the VM here");
    liar.give_power();
    assert_eq!(holders(&world, &id), [u64::from(source.pid())]);
    let other = ImageFile::open(&world.path("d.img"), Access::ReadWrite);
    assert!(matches!(other, Err(OpenError::InUse { .. })), "{other:?}");
    // Here the guest hears of it.
    here.start(0, base);
    assert_eq!(here.ask(0, &read()).status, 0);
    let flush = BlkRequest { kind: FLUSH, sector: 0, out: vec![], room: 0 };
    assert_eq!(here.ask(0, &flush).status, 1);
    assert_eq!(holders(&world, &id), [u64::from(source.pid())]);
    drop(here);
    assert!(source.terminate().success());
}

/// What Cloud Hypervisor stores and moves of a device.
#[test]
fn the_state_of_a_device_goes_from_one_to_the_other() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let _source = world.start_backend("d", "");
    let _destination = destination(&world);
    let mut here = FrontEnd::connect(&world.path("d.sock"), Options::default());
    let mut there = FrontEnd::connect(&world.path("e.sock"), Options::default());
    here.switch_cache(0);
    let (from, to) = rustix::pipe::pipe().unwrap();
    here.transfer(VhostTransferStateDirection::SAVE, to).unwrap();
    assert_eq!(there.config(32, 1), [1]);
    there.transfer(VhostTransferStateDirection::LOAD, from).unwrap();
    assert_eq!(there.config(32, 1), [0]);
    // Another program's state is refused, and the device goes on.
    let (from, to) = rustix::pipe::pipe().unwrap();
    File::from(to).write_all(b"another").unwrap();
    assert!(there.transfer(VhostTransferStateDirection::LOAD, from).is_err());
    assert_eq!(there.config(32, 1), [0]);
}

#[test]
fn a_key_that_is_pulled_on_the_way_keeps_the_disk_halted_there() {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let source = world.start_backend("d", "");
    let mut destination = destination(&world);
    let mut here = FrontEnd::connect(&world.path("d.sock"), Options::default());
    let _log = here.log();
    assert_eq!(here.ask(0, &write(1)).status, 0);
    let _ = here.stop(0);
    eventually("the disk to be free", || source.said().contains("is free").then_some(()));
    world.disable("d");
    let mut there = FrontEnd::connect(&world.path("e.sock"), Options::default());
    let ring = &mut there.rings[0];
    ring.driver.submit(&read());
    ring.kick.write(1).unwrap();
    // It has asked for the key, and goes on asking.
    destination.wait_to_say("key 'd' is disabled");
    thread::sleep(Duration::from_millis(200));
    assert!(there.rings[0].driver.completions().is_empty());
    world.enable("d");
    let answer = eventually("an answer", || there.rings[0].driver.completions().pop());
    assert_eq!((answer.status, answer.data), (0, vec![1; 4096]));
}

/// QEMU's emulated CPU loses its timer in one move of twelve or so (7.2, TCG): the guest halts for ever, also without
/// any disk. What a device could do to it is for the tests above to see, every time.
#[test]
fn a_guest_moves_between_two_machines_under_verified_load() {
    assert!((0..3).any(|_| moves_with_its_disk()), "no guest survives its move");
}

/// `false` if the guest does not run any more at its new place.
fn moves_with_its_disk() -> bool {
    const FIO: &str = "fio --name=v --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=8 \
        --rw=randwrite --bsrange=4k-32k --size=12M --loops=2 --verify=crc32c --verify_fatal=1 \
        --randseed=7 --eta=never --output=/tmp/v.log --rate_iops=,150";
    let world = World::new();
    let id = world.make_disk("d", "64M", "");
    let source = world.start_backend("d", "");
    let destination = destination(&world);
    let mut guest = Guest::boot(&world, &["d.sock"], &[]);
    let way = world.path("way.sock");
    let incoming = ["-incoming".to_owned(), format!("unix:{}", way.display())];
    let mut arrived = Guest::start_machine(&world, "there", &["e.sock"], &incoming);
    let _ = guest.succeed("uptime >/tmp/began; echo here >/tmp/where");
    let _running = guest.start(&format!("{FIO}; echo $? >/tmp/ended"));
    guest.wait_for_writes("vda", 0);
    assert_eq!(holders(&world, &id), [u64::from(source.pid())]);

    let mut monitor = Monitor::connect(&world.path("guest.qmp"));
    let _ = monitor.ask("migrate-set-parameters", &json!({"max-bandwidth": 1u64 << 30}));
    let told = monitor.migrate(&way);
    if !arrived.answers_within(PATIENCE) {
        println!("the guest halted in its move");
        return false;
    }
    assert_eq!(arrived.succeed("cat /tmp/where").trim(), "here", "the same guest");
    assert_eq!(holders(&world, &id), [u64::from(destination.pid())]);
    assert!(source.said().contains("the disk is free"), "{}", source.said());
    let code = arrived.succeed("until [ -s /tmp/ended ]; do sleep 1; done; cat /tmp/ended");
    let log = arrived.succeed("cat /tmp/v.log");
    assert_eq!(code.trim(), "0", "{log}");
    let dmesg = arrived.succeed("dmesg");
    assert!(!dmesg.contains("I/O error"), "{dmesg}");
    println!("moved: downtime {} ms, in all {} ms", told["downtime"], told["total-time"]);
    arrived.power_off();
    drop(guest);
    assert_eq!(fs::read_link(world.path("e.img")).unwrap(), world.path("d.img"), "one image");
    true
}
