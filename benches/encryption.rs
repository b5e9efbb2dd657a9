//! What encryption costs in our own path: the same queue on the same disk, with the cipher and without.
//!
//! `scripts/bench encryption`
//!
//! Without is a cipher that moves bytes and encrypts nothing, of a feature that no program is built with. Everything
//! else is what ships: descriptors, checks, buffers, the calls or the ring, the used ring. Driver and queue are one
//! thread, which waits for its batch before it makes the next; so the figures compare, and are no disk's rates.

#[path = "request/device.rs"]
mod device;

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use benches::{
    figures::spread,
    is_asked_for, pin_to_one_core,
    ring::{Kind, Shape},
};
use device::{DATA_OFFSET, Device, cipher, noise, twin};
use images::{SectorSize, XtsCipher};
use rustix::{
    event::{EventfdFlags, eventfd},
    fs::OFlags,
};
use vhost_backend::disk::{
    Disk,
    buffer::Pool,
    engine::{self, Engine},
    ring,
    sim::SimDisk,
    uring::Uring,
    way::Way,
};

const ROUNDS: usize = 15;
const UNIT: SectorSize = SectorSize::B512;
const TWIN: u64 = 1 << 20;
const FILE: u64 = 256 << 20;

fn main() {
    if !is_asked_for("encryption") {
        return;
    }
    pin_to_one_core();
    println!(
        "One request with encryption and without, us (units of 512, median of {ROUNDS} alternating rounds)\n"
    );
    println!("{:<34}{:>10}{:>10}{:>12}", "", "with", "without", "slower by");
    rows("twin in memory", 100, |shape, cipher| {
        let disk = (twin(TWIN), Pool::new().expect("a pool"));
        Device::new((UNIT, TWIN), shape, disk, cipher, SimDisk::ring_bell)
    });
    on_files("tmpfs", Path::new("/dev/shm"), 40);
    on_files("disk", Path::new(env!("CARGO_TARGET_TMPDIR")), 10);
}

/// A file below `dir`, past the page cache where that can be.
fn on_files(name: &str, dir: &Path, batches: usize) {
    let place = tempfile::NamedTempFile::new_in(dir).expect("a file");
    fill(place.as_file());
    let open = || {
        let with = |flags: OFlags| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(flags.bits() as i32).open(place.path())
        };
        with(OFlags::DIRECT).map_or_else(|_| (with(OFlags::empty()), false), |f| (Ok(f), true))
    };
    let (file, direct) = open();
    let way = Way::of(&file.expect("the file"), direct);
    println!("{name}, {}:", way.description(engine::Kind::IoUring { registered: true }));
    rows(name, batches, |shape, cipher| {
        let image = open().0.expect("the file");
        let bell = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let watched = bell.try_clone().expect("an eventfd");
        let pool = Pool::new().expect("a pool");
        let made = ring::make(way).expect("a ring");
        let ring =
            Uring::new(made, [image.as_fd(); 2], (&pool, way, None), watched).expect("a ring");
        let disk = (Engine::new(Box::new(ring), image, way), pool);
        Device::new((UNIT, FILE), shape, disk, cipher, |_| {
            rustix::io::write(&bell, &1u64.to_ne_bytes()).expect("an eventfd");
        })
    });
}

fn fill(mut file: &File) {
    let piece: Vec<u8> = (0..251 * 4096).map(noise).collect();
    let mut left = (DATA_OFFSET + FILE) as usize;
    while left > 0 {
        let now = left.min(piece.len());
        file.write_all(&piece[..now]).expect("room for a file");
        left -= now;
    }
    file.sync_all().expect("a file");
}

fn rows<D: Disk>(name: &str, batches: usize, make: impl Fn(Shape, XtsCipher) -> Device<D>) {
    for (block, depth) in [(4096, 32), (128 << 10, 16)] {
        let shape = Shape { entries: 256, depth, block };
        let mut with = make(shape, cipher(UNIT));
        let mut without = make(shape, XtsCipher::plain(UNIT));
        for kind in [Kind::Read, Kind::Write] {
            let mut seconds = [const { Vec::new() }; 2];
            for _ in 0..ROUNDS {
                seconds[0].push(with.batches(kind, batches));
                seconds[1].push(without.batches(kind, batches));
            }
            let [with, without] = seconds.map(|seconds| spread(seconds.into_iter())[0] * 1e6);
            let row = format!("{name}, {}k {kind:?} x {depth}", block >> 10).to_lowercase();
            let slower = (with / without - 1.0) * 100.0;
            println!("{row:<34}{with:>10.2}{without:>10.2}{slower:>10.0} %");
        }
    }
}
