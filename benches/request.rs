//! Nanoseconds of one request in our queue: its way from the avail ring to the used ring, on the disk's twin in memory.
//!
//! `scripts/bench request`
//!
//! What is counted: [`Queue::turn`] only, over batches of 32 requests at random places of an image that stays in the
//! last-level cache. No system call is in it, no kick and no interrupt. Beside the whole stand the parts that cannot be
//! had for less: the cipher alone and the copy that the twin makes in place of the kernel, each measured by itself over
//! the same places; the rest is ours: descriptors, header, checks, gathering and scattering, tile and buffer, used ring.

use std::{
    hint::black_box,
    sync::{Arc, mpsc},
    time::Instant,
};

use benches::{
    figures::spread,
    memory::Memory,
    pin_to_one_core,
    ring::{Kind, Ring, Shape},
};
use images::{Layout, SectorSize, XtsCipher};
use keyd_client::{Dek, message::Holes};
use rustix::event::{EventfdFlags, eventfd};
use vhost_backend::{
    disk::{
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

const SIZE: u64 = 1 << 20;
const DATA_OFFSET: u64 = 16 << 10;
const ROUNDS: usize = 31;
const BATCHES: usize = 200;
const PAGE: usize = 4096;

fn main() {
    pin_to_one_core();
    println!(
        "One request in our queue, ns (median of {ROUNDS} rounds; in batches, no system call)\n"
    );
    println!(
        "{:<26}{:>10}{:>10}{:>12}{:>10}{:>18}",
        "", "whole", "cipher", "twin's copy", "rest", "whole, a core"
    );
    for unit in SectorSize::ALL {
        for (block, depth) in [(4096, 32), (128 << 10, 16)] {
            for kind in [Kind::Read, Kind::Write] {
                row(unit, Shape { entries: 256, depth, block }, kind);
            }
        }
    }
}

fn row(unit: SectorSize, shape: Shape, kind: Kind) {
    let mut device = Device::new(unit, shape);
    let (cipher, mut floor) = (cipher(unit), Floor::new(shape.block));
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        seconds[0].push(device.batches(kind));
        seconds[1].push(floor.cipher(&cipher, kind));
        seconds[2].push(floor.copy());
    }
    let [whole, cipher, copy] =
        seconds.map(|seconds| spread(seconds.into_iter().map(|seconds| seconds * 1e9))[0]);
    let rate = if shape.block > 4096 {
        format!("{:.2} GB/s", f64::from(shape.block) / whole)
    } else {
        format!("{:.0}k/s", 1e6 / whole)
    };
    let name = format!("{}k {kind:?}, units of {}", shape.block >> 10, unit.bytes()).to_lowercase();
    println!(
        "{name:<26}{whole:>10.0}{cipher:>10.0}{copy:>12.0}{:>10.0}{rate:>18}",
        whole - cipher - copy
    );
}

fn cipher(unit: SectorSize) -> XtsCipher {
    let dek = Dek::fill_with(|bytes| {
        bytes.iter_mut().zip(1u8..).for_each(|(byte, n)| *byte = n);
        Ok(())
    });
    XtsCipher::new(dek.expect("a DEK"), unit).expect("a cipher")
}

/// A queue with its driver, in one thread.
struct Device {
    queue: Queue<SimDisk>,
    ring: Ring,
    random: fastrand::Rng,
    blocks: u64,
    sectors: u64,
    /// Kept open: a queue whose orders have ended is a queue that ends.
    _commands: mpsc::Sender<Command>,
}

impl Device {
    fn new(unit: SectorSize, shape: Shape) -> Self {
        let memory = Arc::new(Memory::new(shape.len()).expect("memory"));
        let ring = Ring::new(memory.clone(), 0, shape, false, true);
        let (commands, receiver) = mpsc::channel();
        let can = Abilities {
            capacity: SIZE,
            block_size: unit.bytes(),
            read_only: false,
            discard: true,
            punch: true,
        };
        // No unit is all zeros, which would be taken for one that was never written.
        let image = (0..DATA_OFFSET + SIZE).map(|at| (at % 251) as u8).collect();
        let mut queue = Queue::new(Parts {
            number: 0,
            disk: SimDisk::new(image, Faults { at_once: 255, ..Faults::default() }, 1),
            pool: Pool::new().expect("a pool"),
            sealer: Sealer::new(Holes::Zeros, unit.bytes() as usize).expect("a sealer"),
            layout: Layout::new(unit, DATA_OFFSET, SIZE).expect("a layout"),
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
        let vring = Vring::new(&device, addresses, shape.entries, 0, true).expect("a ring");
        let kick = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let setup = RingSetup { memory: device, vring, kick, call: None };
        let orders = [
            Command::Start(Box::new(setup)),
            Command::Enable(true),
            Command::Resume(Arc::new(cipher(unit))),
        ];
        for order in orders {
            commands.send(order).expect("a queue");
            queue.disk().ring_bell();
            queue.turn();
        }
        let (block, random) = (u64::from(shape.block), fastrand::Rng::with_seed(1));
        let (blocks, sectors) = (SIZE / block, block / 512);
        Self { queue, ring, random, blocks, sectors, _commands: commands }
    }

    /// Seconds of a request, the driver's own left out.
    fn batches(&mut self, kind: Kind) -> f64 {
        let (mut requests, mut seconds) = (0, 0.0);
        for _ in 0..BATCHES {
            while let Some(slot) = self.ring.take() {
                self.ring.submit(slot, kind, self.random.u64(0..self.blocks) * self.sectors);
                requests += 1;
            }
            self.ring.publish();
            let begun = Instant::now();
            while self.queue.turn() {}
            seconds += begun.elapsed().as_secs_f64();
            while self.ring.complete().expect("answered well").is_some() {}
            assert_eq!(self.ring.in_flight(), 0, "requests were left over");
        }
        seconds / f64::from(requests)
    }
}

/// What a request costs at least.
struct Floor {
    image: Vec<u8>,
    room: Vec<u8>,
    len: usize,
    random: fastrand::Rng,
}

impl Floor {
    fn new(block: u32) -> Self {
        let len = block as usize;
        let (image, room) = (vec![1; SIZE as usize], vec![1; len + PAGE]);
        Self { image, room, len, random: fastrand::Rng::with_seed(2) }
    }

    /// Aligned like the queue's buffers: some CPUs copy several times slower to other places.
    fn buffer(&mut self) -> &mut [u8] {
        let start = self.room.as_ptr().align_offset(PAGE);
        &mut self.room[start..start + self.len]
    }

    fn copy(&mut self) -> f64 {
        let (image, len) = (std::mem::take(&mut self.image), self.len);
        let begun = Instant::now();
        for _ in 0..BATCHES {
            let at = self.random.usize(0..image.len() / len) * len;
            black_box(self.buffer()).copy_from_slice(black_box(&image[at..at + len]));
        }
        let seconds = begun.elapsed().as_secs_f64() / BATCHES as f64;
        self.image = image;
        seconds
    }

    fn cipher(&mut self, cipher: &XtsCipher, kind: Kind) -> f64 {
        let (source, len) = (self.buffer().to_vec(), self.len);
        let begun = Instant::now();
        for _ in 0..BATCHES {
            let sector = self.random.u64(0..SIZE / len as u64) * len as u64 / 512;
            let (from, to) = (black_box(&source[..]), black_box(self.buffer()));
            match kind {
                Kind::Read => cipher.decrypt(sector, from, to),
                Kind::Write => cipher.encrypt(sector, from, to),
            }
        }
        begun.elapsed().as_secs_f64() / BATCHES as f64
    }
}
