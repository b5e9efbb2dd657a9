//! The queue with its guest, and the queue beside it.

use std::{
    collections::VecDeque,
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::{Arc, atomic::Ordering, mpsc},
};

use images::{Layout, SectorSize};
use keyd_client::message::{Holes, Reaction};
use rustix::event::{EventfdFlags, eventfd};
use system_tests::driver::{Area, BlkRequest, Cut, Driver};
use vhost_backend::{
    disk::{
        Disk,
        buffer::Pool,
        sim::{Faults, SimDisk},
    },
    inflight::{Geometry, Region},
    queue::{
        Parts, Queue, Shared,
        command::{Command, Fenced, RingSetup},
    },
    request::Abilities,
    seal::Sealer,
    vring::{Addresses, Vring},
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{
    Setup,
    guest::{AVAIL, DESCRIPTORS, DISK, Guest, MARK, TABLES_END, USED},
    oracle::{Oracle, snapshot},
    step::{Poke, Step},
};
use crate::{disk::GuardedDisk, key};

/// What lies before and behind the data area, and must stay as it is.
const MARGIN: u64 = 16 << 10;
const CANARY: u8 = 0xa5;

/// Turns after which what can end has ended.
const TURNS_MAX: usize = 64;

/// See the module.
pub(super) struct Bench {
    queue: Queue<GuardedDisk>,
    guest: Guest,
    oracle: Oracle,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    unit: SectorSize,
    fences: Vec<mpsc::Receiver<Fenced>>,
    region: Option<Region>,
}

impl Bench {
    pub(super) fn new(setup: &Setup) -> Option<Self> {
        let unit = if setup.large_units { SectorSize::B4096 } else { SectorSize::B512 };
        let size = 1 << (setup.size % 6);
        let guest = Guest::new(size, unit.bytes(), setup.index);
        let shared = Arc::new(Shared::default());
        shared.write_through.store(setup.write_through, Ordering::Relaxed);
        let (queue, commands) = queue(setup, unit, &shared);
        let region = setup.inflight.as_ref().map(|bytes| region(bytes, size));
        let mut oracle = Oracle::default();
        oracle.begin(&guest.memory);
        let fences = Vec::new();
        let mut bench = Self { queue, guest, oracle, commands, shared, unit, fences, region };
        if bench.region.is_some() {
            bench.oracle.inherits(size);
        }
        bench.tell(Command::Resume(key::cipher(unit)));
        bench.start(setup.index, setup.event_idx).then_some(bench)
    }

    /// Starts the ring; `false` if what a predecessor left is refused.
    fn start(&mut self, base: u16, event_idx: bool) -> bool {
        let addresses = Addresses {
            descriptors: GuestAddress(DESCRIPTORS),
            avail: GuestAddress(AVAIL),
            used: GuestAddress(USED),
        };
        let (memory, size) = (self.guest.memory.clone(), self.guest.size);
        let track = self.region.as_ref().and_then(|region| region.track(0));
        let vring = Vring::new(&memory, addresses, size, base, event_idx, track);
        let Ok(vring) = vring else { return false };
        self.oracle.begin(&memory);
        let call = Some(bell());
        self.tell(Command::Start(Box::new(RingSetup { memory, vring, kick: bell(), call })));
        self.tell(Command::Enable(true));
        true
    }

    fn tell(&mut self, command: Command) {
        self.commands.send(command).expect("the queue is there");
        self.queue.disk().sim.ring_bell();
        self.turns(1);
    }

    pub(super) fn take(&mut self, step: &Step) {
        match *step {
            Step::Request(ref request) => self.guest.request(request),
            Step::Descriptor { table, index, address, len, flags, next } => {
                let at = self.guest.table(table) + 16 * u64::from(index);
                let buffer = (self.guest.address(address), self.guest.len(len));
                self.note_poke(at, 16);
                self.guest.descriptor(at, buffer, u16::from(flags % 8), u16::from(next));
            }
            Step::Offer(head) => {
                self.oracle.wild |= u16::from(head) >= self.guest.size;
                self.guest.offer(u16::from(head));
            }
            Step::Jump(by) => {
                self.oracle.wild = true;
                self.guest.jump(by);
            }
            Step::Poke(poke) => {
                let (at, bytes) = self.guest.poke(poke);
                self.note_poke(at, 2);
                self.guest.write(at, &bytes);
            }
            Step::Race(ref pokes) => self.race(pokes),
            Step::Turns(count) => self.turns(usize::from(count % 16)),
            Step::Fence { fail } => self.fence(if fail { Reaction::Fail } else { Reaction::Park }),
            Step::Key => self.tell(Command::Resume(key::cipher(self.unit))),
            Step::Enable(enabled) => self.tell(Command::Enable(enabled)),
            Step::Restart(base) => self.restart(base),
            Step::Memory(whole) => self.set_memory(whole),
            Step::Faults { short, again, error, at_once, reorder } => {
                // A failed flush is for good: the queue beside this one may read only.
                let faults = Faults {
                    short,
                    again,
                    error: error / 4,
                    at_once,
                    reorder,
                    ..Faults::default()
                };
                self.queue.disk().sim.set_faults(faults);
            }
            Step::Stuck(stuck) => self.queue.disk().sim.set_stuck(stuck),
        }
    }

    fn note_poke(&mut self, at: u64, len: u64) {
        let touches = |start: u64, end: u64| at < end && at.saturating_add(len) > start;
        self.oracle.lies |= touches(USED, USED + 0x1000);
        self.oracle.wild |= touches(AVAIL, AVAIL + 0x1000);
    }

    fn race(&mut self, pokes: &[Poke]) {
        let pokes: VecDeque<_> = pokes.iter().take(32).map(|&poke| self.guest.poke(poke)).collect();
        for &(at, _) in &pokes {
            self.note_poke(at, 2);
            self.oracle.written(at, 2);
            self.oracle.blind |= at < TABLES_END;
        }
        let (memory, mut left) = (self.guest.memory.clone(), pokes);
        let race = move || {
            if let Some((at, bytes)) = left.pop_front() {
                let _ = memory.write(&bytes, GuestAddress(at));
            }
        };
        self.queue.disk().set_race(Some(Box::new(race)));
    }

    /// So many turns, or until there is nothing to do.
    fn turns(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let size = self.guest.size;
        let before = snapshot(&self.guest.memory);
        for _ in 0..count {
            self.oracle.see(&self.guest.memory, size);
            let busy = self.queue.turn();
            self.oracle.collect(&self.guest.memory, size);
            if !busy && self.queue.disk().in_flight() == 0 {
                break;
            }
        }
        self.oracle.compare(&before, &snapshot(&self.guest.memory), size);
    }

    fn fence(&mut self, reaction: Reaction) {
        let (reply, confirmed) = mpsc::channel();
        self.tell(Command::Fence(reaction, reply));
        self.fences.push(confirmed);
    }

    fn set_memory(&mut self, whole: bool) {
        let memory = if whole { self.guest.memory.clone() } else { self.guest.half() };
        // The same pages would be another mapping in a front end; here the ring's half is copied.
        if !whole {
            let mut bytes = vec![0; super::guest::REGIONS[0].1];
            self.guest.memory.read_slice(&mut bytes, GuestAddress(0)).expect("in memory");
            memory.write_slice(&bytes, GuestAddress(0)).expect("in memory");
            (self.oracle.blind, self.oracle.wild) = (true, true);
        }
        let (reply, done) = mpsc::channel();
        self.tell(Command::SetMemory(memory, reply));
        assert!(done.try_recv().is_ok(), "the old map is let go at once");
    }

    /// Stops the ring, which must be possible whatever was done to it.
    fn stop(&mut self) -> u16 {
        self.queue.disk().sim.set_stuck(false);
        let (reply, stopped) = mpsc::channel();
        self.oracle.stops = true;
        self.tell(Command::Stop(reply));
        for _ in 0..TURNS_MAX {
            if let Ok(next) = stopped.try_recv() {
                self.oracle.stops = false;
                return next;
            }
            self.turns(1);
        }
        panic!("the ring does not stop");
    }

    fn restart(&mut self, base: Option<u16>) {
        let next = self.stop();
        self.oracle.wild |= base.is_some();
        let started = self.start(base.unwrap_or(next), false);
        // A used index that the guest made up is not near the one that was noted.
        let excused = self.oracle.lies || self.oracle.blind;
        assert!(started || excused, "what this device left is refused by itself");
    }

    /// The world is well again: what was asked by the rules is answered, the ring can be stopped, the disk is as it
    /// should be, and the queue beside this one serves.
    pub(super) fn end(mut self) {
        self.queue.disk().sim.set_stuck(false);
        self.queue.disk().sim.set_faults(Faults::default());
        self.tell(Command::Enable(true));
        self.turns(TURNS_MAX / 8);
        let fenced = std::mem::take(&mut self.fences);
        let answered = |fence: &mpsc::Receiver<Fenced>| {
            !matches!(fence.try_recv(), Err(mpsc::TryRecvError::Empty))
        };
        assert!(fenced.iter().all(answered), "a fence is confirmed, or was lifted");
        self.tell(Command::Resume(key::cipher(self.unit)));
        self.turns(TURNS_MAX);
        let oracle = &self.oracle;
        if !oracle.blind && !oracle.lies && !oracle.wild {
            assert_eq!(oracle.used, self.guest.avail, "what was offered by the rules comes back");
        }
        let next = self.stop();
        assert_eq!(self.queue.disk().in_flight(), 0);
        if !self.oracle.blind && !self.oracle.lies && !self.oracle.wild {
            assert_eq!(next, self.guest.avail);
        }
        let image = self.queue.disk().sim.image();
        let (margin, end) = (MARGIN as usize, (MARGIN + DISK) as usize);
        let kept = |bytes: &[u8]| bytes.iter().all(|&byte| byte == CANARY);
        assert!(kept(&image[..margin]) && kept(&image[end..]), "written outside the data area");
        assert_eq!(memchr::memmem::find(image, MARK), None, "plaintext is on the disk");
        neighbour_serves(&self.shared, self.unit);
    }
}

fn bell() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
}

/// The in-flight region of a ring, with what somebody left in it.
fn region(bytes: &[u8], size: u16) -> Region {
    let geometry = Geometry::new((1, size), (1, size)).expect("a geometry");
    let file = Region::file(geometry).expect("a file");
    let len = geometry.region_len();
    file.write_all_at(&bytes[..bytes.len().min(len)], 0).expect("written");
    Region::map(file, (0, len as u64), geometry).expect("mapped")
}

fn queue(
    setup: &Setup,
    unit: SectorSize,
    shared: &Arc<Shared>,
) -> (Queue<GuardedDisk>, mpsc::Sender<Command>) {
    let (commands, receiver) = mpsc::channel();
    let mut image = vec![CANARY; (2 * MARGIN + DISK) as usize];
    image[MARGIN as usize..(MARGIN + DISK) as usize].fill(0);
    let sim = SimDisk::new(image, Faults::default(), u64::from(setup.seed));
    let holes = if setup.dense { Holes::None } else { Holes::Zeros };
    let queue = Queue::new(Parts {
        number: 0,
        disk: GuardedDisk::new(sim, MARGIN..MARGIN + DISK, None),
        pool: Pool::new().expect("buffers"),
        sealer: Sealer::new(holes, unit.bytes() as usize).expect("a page"),
        layout: Layout::new(unit, MARGIN, DISK).expect("a layout"),
        can: Abilities {
            capacity: DISK,
            block_size: unit.bytes(),
            read_only: setup.read_only,
            punch: !setup.read_only && !setup.dense,
        },
        serial: *b"0123456789abcdefghij",
        shared: shared.clone(),
        commands: receiver,
        size: 32,
    });
    (queue, commands)
}

/// A well-behaved guest's read on another queue of the same disk.
fn neighbour_serves(shared: &Arc<Shared>, unit: SectorSize) {
    const AREA: Area = Area { start: 0, size: 8 };
    let setup = Setup {
        size: 3,
        index: 0,
        event_idx: false,
        large_units: unit == SectorSize::B4096,
        dense: false,
        read_only: false,
        write_through: false,
        seed: 1,
        inflight: None,
    };
    let (mut queue, commands) = queue(&setup, unit, shared);
    let len = AREA.len(1) as usize;
    let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), len)]).expect("memory"));
    let mut driver = Driver::new(memory.clone(), AREA, 1, Cut::Plain, 1);
    let addresses = Addresses {
        descriptors: GuestAddress(AREA.descriptors()),
        avail: GuestAddress(AREA.avail()),
        used: GuestAddress(AREA.used()),
    };
    let vring = Vring::new(&memory, addresses, AREA.size, 0, false, None).expect("a ring");
    let start = RingSetup { memory, vring, kick: bell(), call: None };
    let told = [
        Command::Start(Box::new(start)),
        Command::Enable(true),
        Command::Resume(key::cipher(unit)),
    ];
    told.into_iter().for_each(|command| commands.send(command).expect("it is there"));
    queue.disk().sim.ring_bell();
    driver.submit(&BlkRequest { kind: 0, sector: 8, out: vec![], room: 4096 });
    (0..4).for_each(|_| {
        queue.turn();
    });
    let answers = driver.completions();
    assert_eq!(answers.len(), 1, "the queue beside is dead");
    assert_eq!((answers[0].status, &answers[0].data), (0, &vec![0; 4096]));
}
