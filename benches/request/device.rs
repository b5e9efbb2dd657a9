//! One of our queues with its driver, in one thread.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use benches::{
    memory::Memory,
    ring::{Kind, Ring, Shape},
};
use images::{Layout, SectorSize, XtsCipher};
use keyd_client::{Dek, message::Holes};
use rustix::event::{EventfdFlags, eventfd};
use vhost_backend::{
    disk::{
        Disk, Wait,
        buffer::Pool,
        sim::{Faults, SimDisk},
    },
    queue::{
        Parts, Queue, Shared,
        command::{Command, RingSetup},
    },
    request::Abilities,
    seal::Sealer,
    vring::{Addresses, Vring},
};
use vm_memory::GuestAddress;

/// Where the data begins in an image.
pub const DATA_OFFSET: u64 = 16 << 10;

/// A cipher with a key that is no secret.
pub fn cipher(unit: SectorSize) -> XtsCipher {
    let dek = Dek::fill_with(|bytes| {
        bytes.iter_mut().zip(1u8..).for_each(|(byte, n)| *byte = n);
        Ok(())
    });
    XtsCipher::new(dek.expect("a DEK"), unit).expect("a cipher")
}

/// What an image holds at a byte. No unit is all zeros, which would be taken for one that was never written.
pub fn noise(at: u64) -> u8 {
    (at % 251) as u8
}

/// The disk's twin in memory, for a guest's disk of `size` bytes.
pub fn twin(size: u64) -> SimDisk {
    let image = (0..DATA_OFFSET + size).map(noise).collect();
    SimDisk::new(image, Faults { at_once: 255, ..Faults::default() }, 1)
}

/// A queue with its driver.
pub struct Device<D: Disk> {
    queue: Queue<D>,
    ring: Ring,
    random: fastrand::Rng,
    blocks: u64,
    sectors: u64,
    /// Kept open: a queue whose orders have ended is a queue that ends.
    _commands: mpsc::Sender<Command>,
}

impl<D: Disk> Device<D> {
    /// A disk of `size` bytes. `ring_bell` makes it announce that there are orders.
    pub fn new(
        (unit, size): (SectorSize, u64),
        shape: Shape,
        (disk, pool): (D, Pool),
        cipher: XtsCipher,
        ring_bell: impl FnOnce(&mut D),
    ) -> Self {
        let memory = Arc::new(Memory::new(shape.len()).expect("memory"));
        let ring = Ring::new(memory.clone(), 0, shape, false, true);
        let (commands, receiver) = mpsc::channel();
        let can =
            Abilities { capacity: size, block_size: unit.bytes(), read_only: false, punch: true };
        let mut queue = Queue::new(Parts {
            number: 0,
            disk,
            pool,
            sealer: Sealer::new(Holes::Zeros, unit.bytes() as usize).expect("a sealer"),
            layout: Layout::new(unit, DATA_OFFSET, size).expect("a layout"),
            can,
            serial: [0; 20],
            shared: Arc::new(Shared::default()),
            commands: receiver,
            size: shape.entries,
        });
        let device = Arc::new(memory.device().expect("memory"));
        let [descriptors, avail, used] =
            ring.parts().map(|at| GuestAddress(Memory::guest_address(at)));
        let addresses = Addresses { descriptors, avail, used };
        let vring = Vring::new(&device, addresses, shape.entries, 0, true, None).expect("a ring");
        let kick = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let setup = RingSetup { memory: device, vring, kick, call: None };
        let orders = [
            Command::Start(Box::new(setup)),
            Command::Enable(true),
            Command::Resume(Arc::new(cipher)),
        ];
        orders.into_iter().for_each(|order| commands.send(order).expect("a queue"));
        ring_bell(queue.disk());
        queue.disk().wait(Wait::Sleep(Some(Duration::from_secs(1)))).expect("the disk's ring");
        queue.turn();
        let (block, random) = (u64::from(shape.block), fastrand::Rng::with_seed(1));
        let (blocks, sectors) = (size / block, block / 512);
        Self { queue, ring, random, blocks, sectors, _commands: commands }
    }

    /// Seconds of a request until its answer was seen, its submission left out; of so many times as many as the ring
    /// takes.
    pub fn batches(&mut self, kind: Kind, batches: usize) -> f64 {
        let (mut requests, mut seconds) = (0, 0.0);
        for _ in 0..batches {
            while let Some(slot) = self.ring.take() {
                self.ring.submit(slot, kind, self.random.u64(0..self.blocks) * self.sectors);
                requests += 1;
            }
            self.ring.publish();
            let begun = Instant::now();
            while self.ring.in_flight() > 0 {
                let wait = if self.queue.turn() { Wait::No } else { Wait::Sleep(None) };
                self.queue.disk().wait(wait).expect("the disk's ring");
                while self.ring.complete().expect("answered well").is_some() {}
            }
            seconds += begun.elapsed().as_secs_f64();
        }
        seconds / f64::from(requests)
    }
}
