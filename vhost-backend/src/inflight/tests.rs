use std::collections::BTreeMap;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::{
    guest::Chain,
    stores::kill,
    vring::{Addresses, RingError, Vring},
};

const SIZE: u16 = 8;
const ADDRESSES: Addresses = Addresses {
    descriptors: GuestAddress(0x1000),
    avail: GuestAddress(0x2000),
    used: GuestAddress(0x3000),
};

fn geometry() -> Geometry {
    Geometry::new((2, SIZE), (2, SIZE)).unwrap()
}

fn region(file: &File) -> Result<Region, InflightError> {
    let len = geometry().region_len() as u64;
    Region::map(file.try_clone().unwrap(), (0, len), geometry())
}

/// The second ring's part: an offset is part of what may be wrong.
fn track(file: &File) -> Track {
    region(file).unwrap().track(1).unwrap()
}

/// A driver whose requests are one descriptor each, and that minds what comes back.
struct Driver {
    memory: GuestMemoryMmap,
    idle: Vec<u16>,
    /// With the number of the request.
    asked: BTreeMap<u16, u64>,
    requests: u64,
    avail: u16,
    used: u16,
}

impl Driver {
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap();
        for head in 0..u64::from(SIZE) {
            let bytes = [&0x8000u64.to_le_bytes()[..], &16u32.to_le_bytes(), &[2, 0, 0, 0]];
            memory.write_slice(&bytes.concat(), GuestAddress(0x1000 + 16 * head)).unwrap();
        }
        let asked = BTreeMap::new();
        Self { memory, idle: (0..SIZE).collect(), asked, requests: 0, avail: 0, used: 0 }
    }

    fn ask(&mut self, which: usize) {
        if self.idle.is_empty() {
            return;
        }
        let head = self.idle.swap_remove(which % self.idle.len());
        self.requests += 1;
        self.asked.insert(head, self.requests);
        let slot = u64::from(self.avail % SIZE);
        self.memory.write_obj(head, GuestAddress(0x2004 + 2 * slot)).unwrap();
        self.avail = self.avail.wrapping_add(1);
        self.memory.write_obj(self.avail, GuestAddress(0x2002)).unwrap();
    }

    /// What stands at a place in the avail ring.
    fn head(&self, place: u16) -> u16 {
        let at = GuestAddress(0x2004 + 2 * u64::from((self.avail - 6 + place) % SIZE));
        self.memory.read_obj(at).unwrap()
    }

    fn collect(&mut self) {
        let used: u16 = self.memory.read_obj(GuestAddress(0x3002)).unwrap();
        while self.used != used {
            let at = GuestAddress(0x3004 + 8 * u64::from(self.used % SIZE));
            let head = self.memory.read_obj::<u32>(at).unwrap() as u16;
            assert!(
                self.asked.remove(&head).is_some(),
                "{head} was answered, and is not under way"
            );
            self.idle.push(head);
            self.used = self.used.wrapping_add(1);
        }
    }
}

/// A device that dies and is followed by the next.
struct Device {
    vring: Vring,
    taken: Vec<u16>,
    newest: u64,
}

impl Device {
    /// The base is wrong, as it is from front ends that do not know it.
    fn start(driver: &Driver, file: &File, base: u16) -> Result<Self, RingError> {
        let tracked = Some(track(file));
        let vring = Vring::new(&driver.memory, ADDRESSES, SIZE, base, false, tracked)?;
        Ok(Self { vring, taken: vec![], newest: 0 })
    }

    fn take(&mut self, driver: &Driver) {
        let mut chain = Chain::default();
        if self.vring.pop(&driver.memory, &mut chain).unwrap() {
            assert!(!self.taken.contains(&chain.head()), "taken twice");
            // A dead process goes on here, without effect: its successor may have answered this already.
            let number = driver.asked.get(&chain.head()).copied().unwrap_or(self.newest + 1);
            assert!(
                number > self.newest,
                "taken in the order in which they were asked, and again so"
            );
            self.newest = number;
            self.taken.push(chain.head());
        }
    }

    /// In any order.
    fn answer(&mut self, driver: &Driver, which: usize) {
        if !self.taken.is_empty() {
            let head = self.taken.remove(which % self.taken.len());
            self.vring.push_used(&driver.memory, head, 0).unwrap();
        }
    }

    fn publish(&mut self, driver: &Driver) {
        if self.vring.has_unpublished() {
            self.vring.publish(&driver.memory).unwrap();
        }
    }

    /// The ring is stopped, and what was taken and not answered is in it again; where it stands.
    fn stop(&mut self, driver: &Driver) -> u16 {
        self.publish(driver);
        self.vring.put_back(&driver.memory, std::mem::take(&mut self.taken)).unwrap();
        self.vring.next_avail()
    }
}

/// Plays a tape of steps with a kill after each number of stores; tells how many of the kills came.
fn play(kills: &[u64], seed: u64) -> usize {
    let file = Region::file(geometry()).unwrap();
    let mut driver = Driver::new();
    let mut device = Device::start(&driver, &file, 0).unwrap();
    let mut kills = kills.iter();
    let mut came = 0;
    kill::after(kills.next().copied().unwrap_or(u64::MAX));
    let mut random = seed;
    let mut step = |driver: &mut Driver, device: &mut Device, asks: bool| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let which = (random >> 40) as usize;
        match random >> 61 {
            0..=2 if asks => driver.ask(which),
            0..=4 => device.take(driver),
            5 | 6 => device.answer(driver, which),
            _ if which.is_multiple_of(4) => {
                let stands = device.stop(driver);
                if !kill::has_come() {
                    *device = Device::start(driver, &file, stands).unwrap();
                }
            }
            _ => device.publish(driver),
        }
    };
    for number in 0..400 {
        step(&mut driver, &mut device, number < 250);
        driver.collect();
        if kill::has_come() {
            came += 1;
            kill::is_over();
            device = Device::start(&driver, &file, 0x4711).unwrap();
            kill::after(kills.next().copied().unwrap_or(u64::MAX));
        }
    }
    kill::is_over();
    while !driver.asked.is_empty() {
        let before = driver.asked.len();
        (0..SIZE).for_each(|_| device.take(&driver));
        (0..SIZE).for_each(|_| device.answer(&driver, 0));
        device.publish(&driver);
        driver.collect();
        assert!(driver.asked.len() < before, "{:?} are lost", driver.asked);
    }
    assert_eq!(device.vring.next_avail(), driver.avail);
    came
}

#[test]
fn a_kill_between_any_two_stores_loses_and_doubles_nothing() {
    let mut kills = 0;
    for seed in 0..6 {
        for first in 1.. {
            let came = play(&[first], seed);
            kills += came;
            if came == 0 {
                assert!(first > 300, "the tape is long enough");
                break;
            }
        }
    }
    assert!(kills > 2000, "{kills}");
}

#[test]
fn so_does_a_kill_soon_after_a_kill() {
    let came: usize = (0..40)
        .flat_map(|first| (1..60).map(move |second| play(&[100 + first, second], first)))
        .sum();
    assert_eq!(came, 2 * 40 * 59);
}

#[test]
fn what_was_taken_comes_again_in_the_order_it_was_taken_in() {
    let file = Region::file(geometry()).unwrap();
    let mut driver = Driver::new();
    let mut device = Device::start(&driver, &file, 0).unwrap();
    (0..6).for_each(|_| driver.ask(0));
    (0..5).for_each(|_| device.take(&driver));
    let taken = device.taken.clone();
    device.answer(&driver, 1);
    device.publish(&driver);
    let answered: Vec<u16> =
        taken.iter().filter(|head| !device.taken.contains(head)).copied().collect();
    assert_eq!(answered, [taken[1]]);

    let mut next = Device::start(&driver, &file, 0).unwrap();
    assert_eq!(next.vring.pending(&driver.memory).unwrap(), 5);
    (0..6).for_each(|_| next.take(&driver));
    assert_eq!(next.taken[..4], [taken[0], taken[2], taken[3], taken[4]]);
    assert_eq!(next.taken.len(), 5, "and then what was never taken");
}

/// Another host has the ring and the base, and no region; a front end that says where the used index is has neither.
#[test]
fn a_stopped_ring_says_by_itself_what_is_not_answered() {
    let file = Region::file(geometry()).unwrap();
    let mut driver = Driver::new();
    // Round the end of the ring.
    for _ in 0..3 {
        let mut device = Device::start(&driver, &file, driver.used).unwrap();
        (0..6).for_each(|_| driver.ask(0));
        (0..5).for_each(|_| device.take(&driver));
        (0..2).for_each(|_| device.answer(&driver, 1));
        let open = [device.taken.clone(), vec![driver.head(5)]].concat();
        let stands = device.stop(&driver);
        driver.collect();
        assert_eq!((stands, driver.avail), (driver.used, driver.used.wrapping_add(4)));
        assert_eq!(track(&file).resume(SIZE, stands), Ok(Left::Requests(vec![])));

        let vring = Vring::new(&driver.memory, ADDRESSES, SIZE, stands, false, None).unwrap();
        let mut next = Device { vring, taken: vec![], newest: 0 };
        (0..6).for_each(|_| next.take(&driver));
        assert_eq!(next.taken, open);
        (0..4).for_each(|_| next.answer(&driver, 0));
        next.publish(&driver);
        driver.collect();
        track(&file).resume(SIZE, driver.used).unwrap();
    }
    assert_eq!(driver.used, 18);
}

#[test]
fn a_ring_that_is_stopped_before_it_has_begun_holds_what_a_predecessor_left() {
    let file = Region::file(geometry()).unwrap();
    let mut driver = Driver::new();
    let mut device = Device::start(&driver, &file, 0).unwrap();
    (0..6).for_each(|_| driver.ask(0));
    (0..5).for_each(|_| device.take(&driver));
    device.answer(&driver, 1);
    device.publish(&driver);
    let open = device.taken;

    let mut next = Device::start(&driver, &file, 0).unwrap();
    next.take(&driver);
    assert_eq!(next.stop(&driver), 1);
    let mut after = Device::start(&driver, &file, 0).unwrap();
    (0..4).for_each(|_| after.take(&driver));
    assert_eq!(after.taken, open);
}

#[test]
fn a_new_region_begins_where_the_front_end_says() {
    let file = Region::file(geometry()).unwrap();
    let driver = Driver::new();
    driver.memory.write_obj(7u16, GuestAddress(0x2002)).unwrap();
    driver.memory.write_obj(7u16, GuestAddress(0x3002)).unwrap();
    let device = Device::start(&driver, &file, 7).unwrap();
    assert_eq!(device.vring.next_avail(), 7);
    assert_eq!(track(&file).resume(SIZE, 7), Ok(Left::Requests(vec![])));
    for stores in 0..u64::from(SIZE) + 4 {
        let file = Region::file(geometry()).unwrap();
        kill::after(stores);
        let _ = track(&file).resume(SIZE, 7);
        kill::is_over();
        assert!(track(&file).resume(SIZE, 7).is_ok(), "killed after {stores} stores");
    }
}

/// Found by fuzzing: a region that said that nothing had been written yet, and had states.
#[test]
fn what_lies_in_a_new_region_is_no_request() {
    let file = Region::file(geometry()).unwrap();
    let states = (geometry().part_len() + HEADER_LEN) as u64;
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 100], states).unwrap();
    assert_eq!(track(&file).resume(SIZE, 0), Ok(Left::Nothing));
    assert_eq!(track(&file).resume(SIZE, 0), Ok(Left::Requests(vec![])), "nor for a successor");
}

#[test]
fn an_interrupt_that_the_dead_process_owed_is_sent() {
    let file = Region::file(geometry()).unwrap();
    let mut driver = Driver::new();
    let mut device = Device::start(&driver, &file, 0).unwrap();
    assert!(!device.vring.has_unpublished(), "nobody waits for anything");
    driver.ask(0);
    device.take(&driver);
    device.answer(&driver, 0);
    device.publish(&driver);
    // It showed the index, and died before it rang.
    let mut next = Device::start(&driver, &file, 0).unwrap();
    assert!(next.vring.has_unpublished());
    assert_eq!(next.vring.publish(&driver.memory), Ok(true));
    assert!(!next.vring.has_unpublished());
}

/// Changes one field of the second ring's part of a region in use.
fn corrupted(at: usize, bytes: &[u8]) -> Result<Device, RingError> {
    let file = Region::file(geometry()).unwrap();
    let mut driver = Driver::new();
    let mut device = Device::start(&driver, &file, 0).unwrap();
    (0..4).for_each(|_| driver.ask(0));
    (0..4).for_each(|_| device.take(&driver));
    (0..2).for_each(|_| device.answer(&driver, 0));
    device.publish(&driver);
    let part = geometry().part_len() as u64;
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, part + at as u64).unwrap();
    Device::start(&driver, &file, 0)
}

#[test]
fn a_corrupted_region_is_refused() {
    assert!(corrupted(0, &[]).is_ok());
    let state = |head: usize| HEADER_LEN + STATE_LEN * head;
    let refused = |at: usize, bytes: &[u8]| match corrupted(at, bytes) {
        Err(RingError::Inflight(Corrupted(why))) => why,
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert!(refused(VERSION_AT, &[2, 0]).contains("version"));
    assert!(refused(LEN_AT, &[16, 0]).contains("another length"));
    assert!(refused(USED_AT, &[200, 0]).contains("used index"));
    assert!(refused(USED_AT, &[3, 0]).contains("used index"), "ahead of the ring's");
    assert!(refused(state(1), &[7]).contains("no descriptor"));
    let file = Region::file(geometry()).unwrap();
    let mut used = track(&file);
    assert_eq!(used.resume(SIZE, 0), Ok(Left::Nothing));
    used.taken(6);
    assert!(track(&file).resume(4, 0).is_err(), "of a ring of 4");
    assert!(track(&file).resume(2 * SIZE, 0).is_err());
    // The last batch is two requests, by the used index, and leads elsewhere.
    std::os::unix::fs::FileExt::write_all_at(
        &file,
        &9u16.to_le_bytes(),
        (geometry().part_len() + LAST_BATCH_AT) as u64,
    )
    .unwrap();
    assert_eq!(track(&file).resume(SIZE, 2), Err(Corrupted("its last batch leads out of it")));
    // More in flight than was made available.
    assert!(matches!(corrupted(state(7), &[1]), Ok(_) | Err(RingError::AvailIndex(..))));
}

#[test]
fn a_region_that_cannot_be_right_is_refused() {
    for (queues, size) in [(0, 8), (3, 8), (1, 0), (1, 12), (1, 16)] {
        assert!(Geometry::new((queues, size), (2, 8)).is_err(), "{queues} of {size}");
    }
    let file = Region::file(geometry()).unwrap();
    let len = geometry().region_len() as u64;
    let map = |place| Region::map(file.try_clone().unwrap(), place, geometry());
    assert!(matches!(map((0, len - 1)), Err(InflightError::Short(..))));
    assert!(matches!(map((1, len)), Err(InflightError::Short(..))), "past the end");
    assert!(matches!(map((u64::MAX, len)), Err(InflightError::Short(..))));
    let long = Region::file(Geometry::new((2, 512), (2, 512)).unwrap()).unwrap();
    let off_page = Region::map(long, (64, len), geometry());
    assert!(matches!(off_page, Err(InflightError::Map(_))), "{off_page:?}");
    assert!(map((0, len)).unwrap().track(2).is_none());
    let open: File = memfd_create("open", MemfdFlags::ALLOW_SEALING).unwrap().into();
    open.set_len(len).unwrap();
    assert!(matches!(Region::map(open, (0, len), geometry()), Err(InflightError::Unsealed)));
}
