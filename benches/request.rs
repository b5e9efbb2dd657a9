//! Nanoseconds of one request in our queue: its way from the avail ring to the used ring, on the disk's twin in memory.
//!
//! `scripts/bench request`
//!
//! What is counted: [`Queue::turn`] only, over batches of 32 requests at random places of an image that stays in the
//! last-level cache. No system call is in it, no kick and no interrupt. Beside the whole stand the parts that cannot be
//! had for less: the cipher alone and the copy that the twin makes in place of the kernel, each measured by itself over
//! the same places; the rest is ours: descriptors, header, checks, gathering and scattering, tile and buffer, used
//! ring.

#[path = "request/device.rs"]
mod device;

use std::{hint::black_box, time::Instant};

use benches::{
    figures::spread,
    is_asked_for, pin_to_one_core,
    ring::{Kind, Shape},
};
use device::{Device, cipher, twin};
use images::{SectorSize, XtsCipher};
use vhost_backend::disk::{buffer::Pool, sim::SimDisk};

const SIZE: u64 = 1 << 20;
const ROUNDS: usize = 31;
const BATCHES: usize = 200;
const PAGE: usize = 4096;

fn main() {
    if !is_asked_for("request") {
        return;
    }
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
    let pool = Pool::new().expect("a pool");
    let mut device: Device<SimDisk> =
        Device::new((unit, SIZE), shape, (twin(SIZE), pool), cipher(unit), SimDisk::ring_bell);
    let (cipher, mut floor) = (cipher(unit), Floor::new(shape.block));
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        seconds[0].push(device.batches(kind, BATCHES));
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
