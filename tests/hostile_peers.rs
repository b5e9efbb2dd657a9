//! Peers that mean harm, on both daemons' sockets: whatever they say, share or put into a ring, the daemon lives,
//! forgets them without a trace, and serves the next one.

use std::{
    fs::File,
    io::Write,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use system_tests::{
    driver::{BlkRequest, INDIRECT, NEXT, WRITE},
    front_end::{FrontEnd, Options},
    hostile::{
        BUFFERS, DESCRIPTORS, HostileGuest, MEMORY, SIZE, TABLE, message, open_at_rest, open_files,
        peak_memory, say, send_raw, wait_for_close, wait_for_open_files,
    },
    process::Process,
    refusal::{mark_is_there, marked_and_served},
    world::World,
};
use vhost::{
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData, vhost_user::VhostUserFrontend,
};
use vmm_sys_util::eventfd::EventFd;

/// A served disk with a mark, and what the backend had open before anybody came.
struct Siege {
    backend: Process,
    open: usize,
    world: World,
}

impl Siege {
    fn new() -> Self {
        let world = World::new();
        let backend = marked_and_served(&world, "--num-queues 2 --queue-size 128");
        let open = open_at_rest(&world.path("d.sock"), backend.pid());
        Self { backend, open, world }
    }

    fn guest(&self) -> HostileGuest {
        HostileGuest::connect(&self.world.path("d.sock"))
    }

    /// The backend lives, has let go of everything, and serves.
    #[track_caller]
    fn stands(&self, after: &str) {
        println!("after {after}");
        wait_for_open_files(self.backend.pid(), self.open);
        mark_is_there(&self.world, "d");
    }
}

#[test]
fn memory_that_is_cut_off_under_a_request_ends_its_ring_and_nothing_else() {
    // All of it, the ring included; and the buffers alone.
    for left in [0, 0x2_0000] {
        let mut siege = Siege::new();
        let mut front_end = siege.world.front_end("d");
        front_end.connection.set_vring_enable(0, false).expect("disabled");
        let write = BlkRequest::write(8, vec![7; 1 << 20]);
        let _ = front_end.rings[0].driver.submit(&write);
        front_end.cut_memory(left);
        front_end.connection.set_vring_enable(0, true).expect("enabled");
        front_end.rings[0].kick.write(1).expect("a kick");
        siege.backend.wait_to_say("guest memory was cut off under the device");
        drop(front_end);
        siege.stands("memory that was cut off");
    }
}

#[test]
fn a_call_descriptor_that_is_full_and_blocks_holds_up_nobody() {
    let siege = Siege::new();
    let mut front_end = siege.world.front_end("d");
    let full = EventFd::new(0).expect("an eventfd");
    full.write(u64::MAX - 1).expect("a full counter");
    front_end.connection.set_vring_call(0, &full).expect("a call descriptor");
    let read = BlkRequest::read(0, 512);
    for _ in 0..3 {
        assert_eq!(front_end.ask(0, &read).status, 0);
    }
    drop(front_end);
    siege.stands("a full eventfd");
}

#[test]
fn raw_messages_end_their_connection_and_nothing_else() {
    let siege = Siege::new();
    let socket = siege.world.path("d.sock");
    let null = File::open("/dev/null").unwrap();
    let fd = null.as_raw_fd();
    let word = [1; 8];
    let cases: [(&str, Vec<u8>, Vec<RawFd>); 16] = [
        ("a giant length", message(5, 1, u32::MAX, &[0; 100]), vec![]),
        ("a length over the limit", message(5, 1, 0x1001, &[0; 0x1001]), vec![]),
        ("request 0", message(0, 1, 0, &[]), vec![]),
        ("an unknown request", message(4711, 1, 0, &[]), vec![]),
        ("a request of the other direction", message(u32::MAX, 1, 0, &[]), vec![]),
        ("version 0", message(1, 0, 0, &[]), vec![]),
        ("version 3 and all flags", message(1, u32::MAX, 0, &[]), vec![]),
        ("a reply", message(1, 5, 8, &word), vec![]),
        ("a body that is too short", message(2, 1, 4, &word[..4]), vec![]),
        ("a body that is too long", message(1, 1, 8, &word), vec![]),
        ("descriptors where none belong", message(1, 1, 0, &[]), vec![fd; 3]),
        ("more descriptors than may be", message(5, 1, 8, &word), vec![fd; 33]),
        ("a memory table without descriptors", message(5, 1, 40, &table(1)), vec![]),
        ("a memory table of 2^32 regions", message(5, 1, 40, &table(u32::MAX)), vec![fd]),
        ("a queue that there is not", message(8, 1, 8, &[0xff; 8]), vec![]),
        ("noise", (0..200).map(|n| (n * 37 % 251) as u8).collect(), vec![]),
    ];
    for (name, bytes, fds) in cases {
        let stream = send_raw(&socket, &bytes, &fds);
        // What is left unsaid would be waited for: nothing more comes.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        wait_for_close(&stream);
        drop(stream);
        siege.stands(name);
    }
    assert!(siege.backend.said().contains("front end refused"), "{}", siege.backend.said());
}

/// A memory table that says it has so many regions, and has one.
fn table(regions: u32) -> Vec<u8> {
    let mut body = [&regions.to_le_bytes()[..], &[0; 4]].concat();
    [0u64, 4096, 0, 0].iter().for_each(|word| body.extend(word.to_le_bytes()));
    body
}

#[test]
fn random_messages_do_no_harm() {
    const SEEDS: u64 = 300;
    let siege = Siege::new();
    let socket = siege.world.path("d.sock");
    let null = File::open("/dev/null").unwrap();
    let event = EventFd::new(0).unwrap();
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let stream = UnixStream::connect(&socket).unwrap();
        for _ in 0..random.usize(1..12) {
            let mut body = vec![0; random.usize(0..80)];
            if random.bool() {
                random.fill(&mut body);
            }
            let told = if random.u8(0..8) == 0 { random.u32(..) } else { body.len() as u32 };
            let bytes = message(random.u32(1..46), 1 | (random.u32(0..2) << 3), told, &body);
            let fds: Vec<RawFd> = (0..random.usize(0..3))
                .map(|_| if random.bool() { null.as_raw_fd() } else { event.as_raw_fd() })
                .collect();
            let _ =
                vmm_sys_util::sock_ctrl_msg::ScmSocket::send_with_fds(&stream, &[&bytes[..]], &fds);
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        wait_for_close(&stream);
    }
    siege.stands("random messages");
    println!("{SEEDS} seeds of random messages");
}

#[test]
fn a_front_end_that_stops_in_a_message_does_not_hold_the_device() {
    let mut siege = Siege::new();
    let socket = siege.world.path("d.sock");
    for bytes in [&message(2, 1, 8, &[1, 2, 3])[..], &[1, 0]] {
        let silent = send_raw(&socket, bytes, &[]);
        mark_is_there(&siege.world, "d");
        wait_for_close(&silent);
    }
    // One that asks and asks, and reads no answer.
    let mut deaf = send_raw(&socket, &message(1, 1, 0, &[]), &[]);
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while deaf.write_all(&message(1, 1, 0, &[])).is_ok() {}
    mark_is_there(&siege.world, "d");
    drop(deaf);
    siege.stands("silence");
    // Nor does it hold the end of the process.
    let _silent = send_raw(&socket, &[1, 0], &[]);
    assert!(siege.backend.terminate().success());
}

/// A file of so many bytes.
fn memory_file(len: u64) -> File {
    let fd = memfd_create("short", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, len).unwrap();
    fd.into()
}

#[test]
fn memory_that_cannot_be_is_refused() {
    let siege = Siege::new();
    let short = memory_file(4096);
    let null = File::open("/dev/null").unwrap();
    let event = EventFd::new(0).unwrap();
    let other = memory_file(MEMORY);
    type Table = Vec<VhostUserMemoryRegionInfo>;
    let cases: [(&str, &dyn Fn(VhostUserMemoryRegionInfo) -> Table); 9] = [
        ("a file that is too short", &|r| {
            vec![VhostUserMemoryRegionInfo { mmap_handle: short.as_raw_fd(), ..r }]
        }),
        ("no file at all", &|r| {
            vec![VhostUserMemoryRegionInfo { mmap_handle: null.as_raw_fd(), ..r }]
        }),
        ("an eventfd", &|r| {
            vec![VhostUserMemoryRegionInfo { mmap_handle: event.as_raw_fd(), ..r }]
        }),
        ("an offset behind the file", &|r| {
            vec![VhostUserMemoryRegionInfo { mmap_offset: 1 << 40, ..r }]
        }),
        ("an offset that wraps", &|r| {
            vec![VhostUserMemoryRegionInfo { mmap_offset: u64::MAX - 4095, ..r }]
        }),
        ("a length that wraps", &|r| {
            vec![VhostUserMemoryRegionInfo { memory_size: u64::MAX, ..r }]
        }),
        ("a guest address that wraps", &|r| {
            vec![VhostUserMemoryRegionInfo { guest_phys_addr: u64::MAX - 4095, ..r }]
        }),
        ("regions that overlap", &|r| {
            let handle = other.as_raw_fd();
            let second =
                VhostUserMemoryRegionInfo { guest_phys_addr: 4096, mmap_handle: handle, ..r };
            vec![r, second]
        }),
        ("the same region twice", &|r| vec![r, r]),
    ];
    for (name, table) in cases {
        let guest = siege.guest();
        let table = table(guest.region());
        assert!(guest.connection.set_mem_table(&table).is_err(), "{name} is taken");
        drop(guest);
        siege.stands(name);
    }
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let siege = Siege::new();
    type Try<'t> = &'t dyn Fn(&mut HostileGuest) -> bool;
    let moved = |change: fn(&mut VringConfigData, u64)| {
        move |guest: &mut HostileGuest| {
            let mut ring = guest.ring();
            change(&mut ring, guest.host());
            guest.connection.set_vring_addr(0, &ring).is_err()
                || guest.connection.set_vring_kick(0, &guest.kick).is_err()
        }
    };
    let cases: [(&str, Try<'_>); 12] = [
        ("a size that is no power of two", &|g| g.connection.set_vring_num(0, 100).is_err()),
        ("a size of 0", &|g| g.connection.set_vring_num(0, 0).is_err()),
        ("a size over the limit", &|g| g.connection.set_vring_num(0, 256).is_err()),
        ("a queue that there is not", &|g| g.connection.set_vring_num(7, SIZE).is_err()),
        ("descriptors outside memory", &moved(|ring, host| ring.desc_table_addr = host + MEMORY)),
        ("an avail ring outside memory", &moved(|ring, _| ring.avail_ring_addr = 0x1000)),
        ("a used ring outside memory", &moved(|ring, _| ring.used_ring_addr = u64::MAX - 7)),
        (
            "descriptors across the end",
            &moved(|ring, host| ring.desc_table_addr = host + MEMORY - 16),
        ),
        (
            "a used ring across the end",
            &moved(|ring, host| ring.used_ring_addr = host + MEMORY - 64),
        ),
        (
            "descriptors that are not aligned",
            &moved(|ring, host| ring.desc_table_addr = host + 0x1008),
        ),
        (
            "an avail ring that is not aligned",
            &moved(|ring, host| ring.avail_ring_addr = host + 0x2001),
        ),
        (
            "a used ring that is not aligned",
            &moved(|ring, host| ring.used_ring_addr = host + 0x3002),
        ),
    ];
    for (name, refused) in cases {
        let mut guest = siege.guest();
        guest.connection.set_mem_table(&[guest.region()]).unwrap();
        guest.connection.set_vring_num(0, SIZE).unwrap();
        assert!(refused(&mut guest), "{name} is taken");
        drop(guest);
        siege.stands(name);
    }
    // A kick before there is a ring, or memory.
    let guest = siege.guest();
    assert!(guest.connection.set_vring_kick(0, &guest.kick).is_err());
    drop(guest);
    let mut guest = siege.guest();
    guest.connection.set_vring_num(0, SIZE).unwrap();
    assert!(guest.connection.set_vring_enable(0, true).is_ok());
    assert!(guest.connection.set_vring_kick(0, &guest.kick).is_err());
    drop(guest);
    siege.stands("a kick before setup");
}

/// A descriptor: table, index, address, length, flags, next.
type Descriptor = (u64, u16, u64, u32, u16, u16);

/// Header of a read of sector 0 at `BUFFERS`, its data behind, its status behind that.
const HEADER: Descriptor = (DESCRIPTORS, 0, BUFFERS, 16, NEXT, 1);
const DATA: u64 = BUFFERS + 0x1000;
const STATUS: u64 = BUFFERS + 0x8000;

#[test]
fn chains_that_cannot_be_come_back_and_the_ring_goes_on() {
    let siege = Siege::new();
    let d = DESCRIPTORS;
    let status: Descriptor = (d, 2, STATUS, 1, WRITE, 0);
    let cases: [(&str, Vec<Descriptor>); 21] = [
        ("a descriptor that links itself", vec![(d, 0, BUFFERS, 16, NEXT, 0)]),
        ("a loop", vec![HEADER, (d, 1, DATA, 512, NEXT | WRITE, 0)]),
        ("a link out of the table", vec![(d, 0, BUFFERS, 16, NEXT, SIZE)]),
        ("a link far out of the table", vec![(d, 0, BUFFERS, 16, NEXT, u16::MAX)]),
        (
            "an indirect table that loops",
            vec![
                (d, 0, TABLE, 32, INDIRECT, 0),
                (TABLE, 0, BUFFERS, 16, NEXT, 1),
                (TABLE, 1, DATA, 512, NEXT | WRITE, 1),
            ],
        ),
        (
            "an indirect table that leads out",
            vec![(d, 0, TABLE, 16, INDIRECT, 0), (TABLE, 0, BUFFERS, 16, NEXT, 9)],
        ),
        (
            "a table in a table",
            vec![(d, 0, TABLE, 16, INDIRECT, 0), (TABLE, 0, TABLE, 16, INDIRECT, 0)],
        ),
        ("a table of no entries", vec![(d, 0, TABLE, 0, INDIRECT, 0)]),
        ("half an entry", vec![(d, 0, TABLE, 24, INDIRECT, 0)]),
        ("a table of 4 GiB", vec![(d, 0, TABLE, u32::MAX - 15, INDIRECT, 0)]),
        ("a table outside memory", vec![(d, 0, MEMORY, 16, INDIRECT, 0)]),
        ("a table that goes on in the ring", vec![(d, 0, TABLE, 16, INDIRECT | NEXT, 1), status]),
        (
            "what the device writes before what it reads",
            vec![(d, 0, DATA, 512, NEXT | WRITE, 1), (d, 1, BUFFERS, 16, NEXT, 2), status],
        ),
        ("no status byte", vec![(d, 0, BUFFERS, 16, 0, 0)]),
        ("a status of no bytes", vec![HEADER, (d, 1, STATUS, 0, WRITE, 0)]),
        ("a header of 15 bytes", vec![(d, 0, BUFFERS, 15, NEXT, 2), status]),
        ("a header outside memory", vec![(d, 0, MEMORY - 8, 16, NEXT, 2), status]),
        ("a header at the end of all addresses", vec![(d, 0, u64::MAX - 7, 16, NEXT, 2), status]),
        ("no data", vec![(d, 0, BUFFERS, 16, NEXT, 2), status]),
        ("data of 4 GiB", vec![HEADER, (d, 1, DATA, !511, NEXT | WRITE, 2), status]),
        ("data outside memory", vec![HEADER, (d, 1, MEMORY, 4096, NEXT | WRITE, 2), status]),
    ];
    let mut guest = siege.guest();
    guest.start();
    let mark = guest.good_read();
    for (name, descriptors) in cases {
        guest.write(BUFFERS, &[0; 16]);
        guest.write(STATUS, &[0xff]);
        let has_status = descriptors.contains(&status);
        for (table, index, address, len, flags, next) in descriptors {
            guest.descriptor(table, index, address, len, flags, next);
        }
        guest.offer(0);
        assert!(guest.comes_back_within(Duration::from_secs(20)), "{name} is kept");
        assert_eq!(guest.last_used().0, 0, "{name}");
        let told = guest.read(STATUS, 1)[0];
        assert!(told == 0xff || (told != 0 && has_status), "{name}: status {told}");
        assert_eq!(guest.good_read(), mark, "after {name}");
    }
    drop(guest);
    siege.stands("all of them");
}

#[test]
fn a_ring_that_runs_wild_is_given_up_and_the_device_is_not() {
    let siege = Siege::new();
    type Harm = fn(&mut HostileGuest);
    let cases: [(&str, Harm); 4] = [
        ("a head out of range", |guest| guest.offer(SIZE)),
        ("a head far out of range", |guest| guest.offer(u16::MAX)),
        ("an avail index that runs ahead", |guest| guest.jump(SIZE + 1)),
        ("an avail index that runs back", |guest| guest.jump(u16::MAX)),
    ];
    for (name, harm) in cases {
        let mut guest = siege.guest();
        guest.start();
        guest.good_read();
        let before = guest.used();
        harm(&mut guest);
        assert!(!guest.comes_back_within(Duration::from_millis(100)), "{name} is answered");
        assert_eq!(guest.used(), before, "{name}: nothing is answered");
        // The control side still talks.
        assert!(guest.connection.get_features().is_ok());
        drop(guest);
        siege.stands(name);
    }
}

#[test]
fn a_thousand_front_ends_come_and_go_without_a_trace() {
    // As many of each kind from one look at its memory to the next.
    const STEP: u32 = 125;
    let siege = Siege::new();
    let socket = siege.world.path("d.sock");
    let tasks =
        || std::fs::read_dir(format!("/proc/{}/task", siege.backend.pid())).unwrap().count();
    let threads = tasks();
    let mut peaks = Vec::new();
    for number in 0..1000_u32 {
        if number % STEP == 0 {
            peaks.push(peak_memory(siege.backend.pid()));
        }
        match number % 25 {
            0 | 5.. => drop(UnixStream::connect(&socket).unwrap()),
            1 => drop(siege.guest()),
            2 => {
                let guest = siege.guest();
                guest.connection.set_mem_table(&[guest.region()]).unwrap();
            }
            3 => {
                // Gone with a request in the ring.
                let mut guest = siege.guest();
                guest.start();
                guest.descriptor(DESCRIPTORS, 0, BUFFERS, 16, NEXT, 1);
                guest.descriptor(DESCRIPTORS, 1, DATA, 0x4000, NEXT | WRITE, 2);
                guest.descriptor(DESCRIPTORS, 2, STATUS, 1, WRITE, 0);
                guest.offer(0);
            }
            4 => drop(FrontEnd::connect(&socket, Options { queues: 2, ..Options::default() })),
        }
    }
    siege.stands("a thousand");
    peaks.push(peak_memory(siege.backend.pid()));
    // A leak grows from look to look; what came together by chance is a jump or two. (The kernel counts some pages
    // late: its peak may fall.)
    let mut grown: Vec<u64> =
        peaks.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    grown.sort_unstable();
    println!("peaks: {peaks:?} KiB");
    assert!(grown[grown.len() / 2] < STEP.into(), "a KiB a connection: {peaks:?} KiB");
    wait_for_open_files(siege.backend.pid(), siege.open);
    assert_eq!(tasks(), threads);
}

/// A frame of the key daemon's wire: length as told, version, DEK flag, body.
fn frame(told: u32, version: u8, dek: u8, body: &[u8]) -> Vec<u8> {
    [&told.to_le_bytes()[..], &[version, dek, 0, 0], body].concat()
}

#[test]
fn a_key_daemon_shrugs_off_what_is_no_request_and_goes_on_serving() {
    let siege = Siege::new();
    let socket = siege.world.socket();
    let pid = siege.world.keyd.as_ref().unwrap().pid();
    let open = open_files(pid);
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let closed: [(&str, Vec<u8>); 8] = [
        ("a giant frame", frame(u32::MAX, 1, 0, b"{}")),
        ("a frame over the limit", frame((1 << 20) + 1, 1, 0, &[b' '; 4096])),
        ("another version", frame(2, 9, 0, b"{}")),
        ("a key where none belongs", frame(2, 1, 7, b"{}")),
        ("no request", frame(2, 1, 0, b"{}")),
        ("an unknown request", frame(21, 1, 0, b"{\"do\":\"open-the-gate\"}")),
        ("a deep one", frame(deep.len() as u32, 1, 0, &deep)),
        ("noise", (0..4000).map(|n| (n * 37 % 251) as u8).collect()),
    ];
    for (name, bytes) in closed {
        wait_for_close(&say(&socket, &bytes));
        let _ = siege.world.keyd("key list").success();
        println!("after {name}");
    }
    // Half a frame, then silence: others are served meanwhile, and it is closed.
    let silent: Vec<UnixStream> = [&frame(50, 1, 0, b"{\"do\"")[..], &[1, 0, 0]]
        .iter()
        .map(|bytes| say(&socket, bytes))
        .collect();
    let idle: Vec<UnixStream> = (0..100).map(|_| say(&socket, b"")).collect();
    let _ = siege.world.keyd("disk list").success();
    silent.iter().for_each(wait_for_close);
    drop((silent, idle));
    wait_for_open_files(pid, open);
    // Every event is one line, whatever a peer wrote.
    let said = siege.world.keyd.as_ref().unwrap().said();
    assert!(said.lines().all(|line| line.starts_with("20")), "{said}");
    siege.stands("hostile clients of the key daemon");
}
