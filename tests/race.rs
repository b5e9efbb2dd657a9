//! A guest that changes everything while the device is at work on it: header, descriptors, tables, lengths, data and
//! indices, from another CPU, on the real binary. Whatever it reads of them is one thing or the other, never a mixture
//! that reaches past where either leads; and the queue beside that one serves on.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use system_tests::{
    driver::{Area, BlkRequest, INDIRECT, NEXT, WRITE},
    front_end::{FrontEnd, Options, RING_SIZE},
    tape::{Mix, Tape},
    world::World,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

/// Bytes of the disk. Its first half is raced for; the second belongs to the queue beside.
const DISK: u64 = 8 << 20;
const HALF: u64 = DISK / 2;

/// What the guest has in its data, the one or the other.
const PATTERNS: [&[u8; 16]; 2] = [b"racing guest, A:", b"RACING GUEST, b."];

/// How often one thing is changed before it is another's turn.
const AT_ONCE: u64 = 4096;

/// How long each race goes on.
const TIME: Duration = Duration::from_secs(2);

/// Where the racing queue's chain lies, behind its ring.
struct Places {
    ring: Area,
    header: u64,
    status: u64,
    table: u64,
    data: u64,
}

/// Bytes of data that the guest has patterns in: more than any mixture of the lengths below.
const DATA_LEN: u64 = 2 << 20;

impl Places {
    fn new(ring: Area) -> Self {
        let base = ring.buffers();
        let data = (base + 0x3000).next_multiple_of(0x10_0000);
        Self { ring, header: base, status: base + 0x100, table: base + 0x1000, data }
    }
}

/// A guest in two threads: one offers the same chain again and again, the other changes it.
struct Racer {
    memory: Arc<GuestMemoryMmap>,
    places: Places,
    kick: EventFd,
    over: AtomicBool,
}

impl Racer {
    fn put<const N: usize>(&self, at: u64, bytes: [u8; N]) {
        self.memory.write_slice(&bytes, GuestAddress(at)).expect("in memory");
    }

    fn word(&self, at: u64) -> u16 {
        self.memory.load(GuestAddress(at), Ordering::Acquire).expect("in memory")
    }

    fn descriptor(&self, at: u64, address: u64, len: u32, flags: u16, next: u16) {
        self.put(at, address.to_le_bytes());
        self.put(at + 8, len.to_le_bytes());
        self.put(at + 12, flags.to_le_bytes());
        self.put(at + 14, next.to_le_bytes());
    }

    /// Two chains, as they should be: of heads 0 to 2, and of head 4, whose table has the same.
    fn lay_out(&self, reads: bool) {
        let (kind, direction) = if reads { (0u32, WRITE) } else { (1, 0) };
        for table in [self.places.ring.descriptors(), self.places.table] {
            self.descriptor(table, self.places.header, 16, NEXT, 1);
            self.descriptor(table + 16, self.places.data, 4096, NEXT | direction, 2);
            self.descriptor(table + 32, self.places.status, 1, WRITE, 0);
        }
        let indirect = self.places.ring.descriptors() + 16 * 4;
        self.descriptor(indirect, self.places.table, 48, INDIRECT, 0);
        self.put(self.places.header, kind.to_le_bytes());
        self.put(self.places.header + 8, 8u64.to_le_bytes());
    }

    fn fill(&self, pattern: &[u8; 16]) {
        let page = pattern.repeat(256);
        for at in (0..DATA_LEN).step_by(page.len()) {
            self.memory.write_slice(&page, GuestAddress(self.places.data + at)).expect("memory");
        }
    }

    /// Offers a chain whenever the last one is back; where indices run wild, after a while. Tells how many, and how
    /// many of them were done.
    fn offer(&self) -> (u64, u64) {
        let (mut total, mut done) = (0, 0);
        let mut last = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            let (avail, used) = (self.avail(), self.word(self.places.ring.used() + 2));
            if used == avail || last.elapsed() > Duration::from_millis(1) {
                let slot = u64::from(avail % RING_SIZE);
                let head: u16 = if avail.is_multiple_of(3) { 4 } else { 0 };
                self.put(self.places.ring.avail() + 4 + 2 * slot, head.to_le_bytes());
                let index = GuestAddress(self.places.ring.avail() + 2);
                let status: u8 =
                    self.memory.read_obj(GuestAddress(self.places.status)).expect("memory");
                done += u64::from(status == 0);
                self.put(self.places.status, [0xff]);
                self.memory.store(avail.wrapping_add(1), index, Ordering::Release).expect("memory");
                self.kick.write(1).expect("a kick");
                (total, last) = (total + 1, Instant::now());
            }
            std::hint::spin_loop();
        }
        (total, done)
    }

    fn avail(&self) -> u16 {
        self.word(self.places.ring.avail() + 2)
    }

    /// Lays the chain out well, and then changes one thing of it as fast as it can: what is read twice is read so and
    /// so. Any mixture of the bytes of these values is on the disk's first half, or nowhere; in the data, or outside
    /// memory.
    fn change(&self, random: &mut fastrand::Rng) {
        self.lay_out(random.bool());
        let Places { header, data, .. } = self.places;
        let table = [self.places.ring.descriptors(), self.places.table][random.usize(0..2)];
        let what = random.u8(0..8);
        let near = random.u64(0..256);
        for _ in 0..AT_ONCE {
            match what {
                0 => self.put(header, pick(random, &[0u32, 1, 4, 13]).to_le_bytes()),
                1 | 2 => {
                    let sector = pick(random, &[near, near, u64::MAX << 8, 1 << 55, u64::MAX]);
                    self.put(header + 8, sector.to_le_bytes());
                }
                3 => {
                    let len = pick(random, &[4096, 512, 0x10_0000, 0x10_1000, 0, u32::MAX]);
                    self.put(table + 16 + 8, len.to_le_bytes());
                }
                4 => self.put(table + 16, pick(random, &[data, data + (1 << 44)]).to_le_bytes()),
                5 => {
                    let flags = pick(random, &[NEXT, NEXT | WRITE, 0, INDIRECT]);
                    self.put(table + 16 + 12, flags.to_le_bytes());
                }
                6 => self.put(table + 14, pick(random, &[1u16, 1, 2, u16::MAX]).to_le_bytes()),
                _ => self.put(data + 16 * random.u64(0..256), *PATTERNS[random.usize(0..2)]),
            }
        }
    }

    /// Changes avail ring and index, and the used ring's index.
    fn run_wild(&self, random: &mut fastrand::Rng) {
        let ring = self.places.ring;
        let at = match random.u8(0..3) {
            0 => ring.avail() + 2,
            1 => ring.avail() + 4 + 2 * random.u64(0..u64::from(RING_SIZE)),
            _ => ring.used() + 2,
        };
        self.put(at, random.u16(..).to_le_bytes());
    }
}

fn pick<T: Copy>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(0..from.len())]
}

/// Starts both threads.
fn start(racer: &Arc<Racer>, wild: bool) -> (JoinHandle<(u64, u64)>, JoinHandle<u64>) {
    let (offers, changes) = (racer.clone(), racer.clone());
    let changing = thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(1);
        let mut count = 0;
        while !changes.over.load(Ordering::Relaxed) {
            if wild {
                changes.run_wild(&mut random);
            }
            changes.change(&mut random);
            count += AT_ONCE;
        }
        count
    });
    (thread::spawn(move || offers.offer()), changing)
}

/// Ends both when it goes, also when a test fails: they would take the cores from the next one.
struct End<'a>(&'a Racer);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// A disk whose first queue is raced while its second is played on; then what both left is looked at.
fn race(wild: bool) {
    let world = World::new();
    let _ = world.make_disk("d", "8M", "");
    let mut backend = world.start_backend("d", "--num-queues 2 --queue-size 128");
    let image = world.path("d.img");
    let before = fs::read(&image).expect("the image");
    let data = before.len() - DISK as usize;
    let options = Options { queues: 2, ..Options::default() };
    let mut front_end = FrontEnd::connect(&world.path("d.sock"), options);
    let racer = Arc::new(Racer {
        memory: front_end.memory().clone(),
        places: Places::new(front_end.area(0)),
        kick: front_end.rings[0].kick.try_clone().expect("a second handle"),
        over: AtomicBool::new(false),
    });
    racer.lay_out(false);
    racer.fill(PATTERNS[0]);
    let block = 512;
    let (first, blocks) = (HALF as usize / block, HALF as usize / block);
    let mix = Mix { block, first, blocks, longest: 256, discard: true };
    let mut tapes = [Tape::new(mix, 7)];
    let (offering, changing) = start(&racer, wild);
    let _end = End(&racer);
    let began = Instant::now();
    while began.elapsed() < TIME {
        front_end.play_from(1, &mut tapes, 50);
        if wild {
            let _ = front_end.stop(0);
            front_end.start(0, racer.avail());
        }
    }
    racer.over.store(true, Ordering::Relaxed);
    let (offered, done) = offering.join().expect("offers");
    let changed = changing.join().expect("changes");
    let beside = tapes[0].judged;
    println!("{offered} chains raced, {done} done, {changed} changes, {beside} requests beside");
    // Enough of both: a race that everything loses shows nothing.
    assert!(offered > 20 && beside > 20);
    assert!(wild || (done > 20 && offered - done > 20));

    // Whatever became of the raced ring, it can be stopped; and started anew as a good guest's.
    let _ = front_end.stop(0);
    front_end.renew(0);
    for sector in (0..HALF / 512).step_by(2048) {
        let read = BlkRequest::read(sector, 1 << 20);
        let answer = front_end.ask(0, &read);
        assert_eq!(answer.status, 0);
        for (at, &byte) in answer.data.iter().enumerate() {
            let written = PATTERNS.iter().any(|pattern| pattern[at % 16] == byte);
            assert!(byte == 0 || written, "byte {at} from sector {sector} was never written");
        }
    }
    front_end.play_from(1, &mut tapes, 50);
    drop(front_end);
    assert!(backend.terminate().success(), "{}", backend.said());
    let after = fs::read(&image).expect("the image");
    assert_eq!(after.len(), before.len(), "the file has grown");
    assert!(after[..data] == before[..data], "the header was written");
    for pattern in PATTERNS {
        assert_eq!(memchr::memmem::find(&after, pattern), None, "plaintext is on the disk");
    }
}

#[test]
fn a_guest_that_changes_its_requests_meanwhile_gets_one_or_the_other_on_its_own_part_of_the_disk() {
    race(false);
}

#[test]
fn a_guest_that_changes_its_ring_meanwhile_stops_it_at_most() {
    race(true);
}
