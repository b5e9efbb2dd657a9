//! One queue, in this process, on the disk's faulty twin: no thread, no socket, no time.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
};

use images::{Layout, SectorSize, XtsCipher};
use keyd_client::{
    Dek,
    message::{Holes, Reaction},
};
use rustix::event::{EventfdFlags, eventfd};
use vhost_backend::{
    disk::{
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
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::{
    driver::{Area, BlkRequest, Completion, Cut, Driver},
    tape::Tape,
};

/// First byte of the data area.
pub const DATA_OFFSET: u64 = 16 << 10;

const DEPTH: u64 = 12;

/// Where the ring lies.
pub const AREA: Area = Area { start: 0x1000, size: 256 };

/// The disk's key.
///
/// # Panics
/// Without a locked page.
#[must_use]
pub fn dek() -> Dek {
    Dek::fill_with(|bytes| {
        bytes.iter_mut().zip(1u8..).for_each(|(byte, n)| *byte = n);
        Ok(())
    })
    .unwrap()
}

/// A queue, its driver, and the way to tell it things.
pub struct Bench {
    /// The queue.
    pub queue: Queue<SimDisk>,
    /// The guest's side of its ring.
    pub driver: Driver,
    /// The switches of its disk.
    pub shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    sector_size: SectorSize,
    memory: Arc<GuestMemoryMmap>,
}

fn doorbell() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC).unwrap()
}

/// A queue without a ring and without a key, its switches, and the way to tell it things.
fn queue(
    image: Vec<u8>,
    sector_size: SectorSize,
    faults: Faults,
    seed: u64,
) -> (Queue<SimDisk>, Arc<Shared>, mpsc::Sender<Command>) {
    let size = image.len() as u64 - DATA_OFFSET;
    let can = Abilities {
        capacity: size,
        block_size: sector_size.bytes(),
        read_only: false,
        punch: true,
    };
    let (commands, receiver) = mpsc::channel();
    let shared = Arc::new(Shared::default());
    let queue = Queue::new(Parts {
        number: 0,
        disk: SimDisk::new(image, faults, seed),
        pool: Pool::new().unwrap(),
        sealer: Sealer::new(Holes::Zeros, sector_size.bytes() as usize).unwrap(),
        layout: Layout::new(sector_size, DATA_OFFSET, size).unwrap(),
        can,
        serial: *b"0123456789abcdefghij",
        shared: shared.clone(),
        commands: receiver,
        size: 256,
    });
    (queue, shared, commands)
}

impl Bench {
    /// A queue with its key on an empty disk of `size` bytes, its ring started.
    ///
    /// # Panics
    /// Without memory.
    #[must_use]
    pub fn new(sector_size: SectorSize, size: u64, cut: Cut, faults: Faults, seed: u64) -> Self {
        Self::on(vec![0; (DATA_OFFSET + size) as usize], sector_size, cut, faults, seed)
    }

    /// The same on the disk of an image, whose data begins at [`DATA_OFFSET`].
    ///
    /// # Panics
    /// Without memory.
    #[must_use]
    pub fn on(
        image: Vec<u8>,
        sector_size: SectorSize,
        cut: Cut,
        faults: Faults,
        seed: u64,
    ) -> Self {
        let len = AREA.start + AREA.len(DEPTH);
        let regions = [(GuestAddress(0), 0x10_0000), (GuestAddress(0x10_0000), len as usize)];
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&regions).unwrap());
        let driver = Driver::new(memory.clone(), AREA, DEPTH, cut, seed);
        let (queue, shared, commands) = queue(image, sector_size, faults, seed);
        let mut bench = Self { queue, driver, shared, commands, sector_size, memory };
        bench.start(0, None);
        bench.give_key();
        bench
    }

    /// The device is lost, and another begins on the same disk and memory: without a ring, and without a key.
    pub fn succeed(&mut self) {
        let image = self.queue.disk().image().to_vec();
        let next = queue(image, self.sector_size, Faults::default(), 1);
        (self.queue, self.shared, self.commands) = next;
    }

    /// Starts the ring at `base`, and enables it; if somebody keeps track of what is with the device, where that says.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn start(&mut self, base: u16, inflight: Option<&Region>) {
        self.set_up(base, inflight);
        self.tell(Command::Enable(true));
    }

    /// The same, and leaves it as it is enabled or not.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn set_up(&mut self, base: u16, inflight: Option<&Region>) {
        let addresses = Addresses {
            descriptors: GuestAddress(AREA.descriptors()),
            avail: GuestAddress(AREA.avail()),
            used: GuestAddress(AREA.used()),
        };
        let (memory, kick) = (self.memory.clone(), doorbell());
        let track = inflight.and_then(|region| region.track(0));
        let vring = Vring::new(&memory, addresses, AREA.size, base, false, track).unwrap();
        self.tell(Command::Start(Box::new(RingSetup { memory, vring, kick, call: None })));
    }

    /// Orders the ring to be stopped; what is given back hears where it stands then.
    pub fn stop(&mut self) -> mpsc::Receiver<u16> {
        let (reply, stopped) = mpsc::channel();
        self.tell(Command::Stop(reply));
        stopped
    }

    /// Memory in which a front end keeps track of what is with the device, new.
    ///
    /// # Panics
    /// Without memory.
    #[must_use]
    pub fn inflight() -> Region {
        let geometry = Geometry::new((1, AREA.size), (1, AREA.size)).unwrap();
        let place = (0, geometry.region_len() as u64);
        Region::map(Region::file(geometry).unwrap(), place, geometry).unwrap()
    }

    /// Turns of the loop.
    pub fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| {
            self.queue.turn();
        });
    }

    /// Gives a command.
    ///
    /// # Panics
    /// If the queue is gone.
    pub fn tell(&mut self, command: Command) {
        self.commands.send(command).unwrap();
        self.queue.disk().ring_bell();
        self.queue.turn();
    }

    /// Gives the key, back or for the first time.
    ///
    /// # Panics
    /// Without a locked page.
    pub fn give_key(&mut self) {
        let key = XtsCipher::new(dek(), self.sector_size).unwrap();
        self.tell(Command::Resume(Arc::new(key)));
    }

    /// Orders a fence; what is given back hears of its confirmation.
    pub fn fence(&mut self, reaction: Reaction) -> mpsc::Receiver<Fenced> {
        let (reply, confirmed) = mpsc::channel();
        self.tell(Command::Fence(reaction, reply));
        confirmed
    }

    /// Keeps the ring full from the tape until `requests` have been judged.
    pub fn play(&mut self, tape: &mut Tape, requests: u64) {
        self.play_with(tape, requests, Tape::judge);
    }

    /// The same on a disk with errors of its own: any request may fail.
    pub fn play_or_fail(&mut self, tape: &mut Tape, requests: u64) {
        self.play_with(tape, requests, |tape, completion| {
            tape.judge_or_fail(completion);
        });
    }

    fn play_with(
        &mut self,
        tape: &mut Tape,
        requests: u64,
        judge: impl Fn(&mut Tape, &Completion),
    ) {
        let goal = tape.judged + requests;
        while tape.judged < goal || self.driver.in_flight() > 0 {
            while tape.judged + (self.driver.in_flight() as u64) < goal && self.driver.has_room() {
                let token = self.driver.submit(&tape.request());
                tape.submitted(token);
            }
            self.queue.turn();
            self.driver.completions().iter().for_each(|completion| judge(tape, completion));
        }
    }

    /// Asks one thing: its status and data, if it was answered.
    pub fn ask(&mut self, request: &BlkRequest) -> Option<(u8, Vec<u8>)> {
        self.driver.submit(request);
        (0..100).for_each(|_| {
            self.queue.turn();
        });
        self.driver.completions().pop().map(|completion| (completion.status, completion.data))
    }
}
