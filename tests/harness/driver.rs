//! A guest's virtio-blk driver for one split ring, which cuts its requests into descriptors in every way the standard
//! allows. Shares nothing with the device side but the standard.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Request types (virtio 1.2, 5.2.6).
pub mod kind {
    /// Disk to guest.
    pub const READ: u32 = 0;
    /// Guest to disk.
    pub const WRITE: u32 = 1;
    /// Make durable.
    pub const FLUSH: u32 = 4;
    /// Tell the disk's id.
    pub const GET_ID: u32 = 8;
    /// Ranges that are no longer needed.
    pub const DISCARD: u32 = 11;
    /// Ranges that are to read as zeros.
    pub const WRITE_ZEROES: u32 = 13;
}

/// Descriptor flags (virtio 1.2, 2.7.5).
pub const NEXT: u16 = 1;
/// The device writes the buffer.
pub const WRITE: u16 = 2;
/// The buffer is a table of descriptors.
pub const INDIRECT: u16 = 4;

/// How requests are cut into descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Header, data, status: one descriptor each.
    Plain,
    /// Anywhere, also inside header and data, with empty descriptors between, directly or by an indirect table.
    Wild,
}

/// Where one queue's ring and buffers lie in guest memory.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    /// First byte; page-aligned.
    pub start: u64,
    /// Entries of the ring.
    pub size: u16,
}

/// Bytes of buffer space that each request in flight owns.
pub const REQUEST_SPACE: u64 = 2 << 20;

impl Area {
    /// Descriptor table.
    #[must_use]
    pub fn descriptors(self) -> u64 {
        self.start
    }

    /// Avail ring.
    #[must_use]
    pub fn avail(self) -> u64 {
        self.descriptors() + 16 * u64::from(self.size)
    }

    /// Used ring.
    #[must_use]
    pub fn used(self) -> u64 {
        (self.avail() + 2 * u64::from(self.size) + 6).next_multiple_of(4)
    }

    /// Buffers.
    #[must_use]
    pub fn buffers(self) -> u64 {
        (self.used() + 8 * u64::from(self.size) + 6).next_multiple_of(4096)
    }

    /// Bytes of a queue that has `depth` requests in flight at most.
    #[must_use]
    pub fn len(self, depth: u64) -> u64 {
        self.buffers() + depth * REQUEST_SPACE - self.start
    }
}

/// A request as the driver makes it.
#[derive(Debug, Clone)]
pub struct BlkRequest {
    /// Type (virtio 1.2, 5.2.6).
    pub kind: u32,
    /// First sector, 512-byte units.
    pub sector: u64,
    /// Data for the device.
    pub out: Vec<u8>,
    /// Bytes of room for data from the device.
    pub room: usize,
}

impl BlkRequest {
    /// Reads `room` bytes.
    #[must_use]
    pub fn read(sector: u64, room: usize) -> Self {
        Self { kind: kind::READ, sector, out: vec![], room }
    }

    /// Writes these bytes.
    #[must_use]
    pub fn write(sector: u64, out: Vec<u8>) -> Self {
        Self { kind: kind::WRITE, sector, out, room: 0 }
    }

    /// Makes what was written durable.
    #[must_use]
    pub fn flush() -> Self {
        Self { kind: kind::FLUSH, sector: 0, out: vec![], room: 0 }
    }

    /// Asks for the id; it has 20 bytes.
    #[must_use]
    pub fn get_id(room: usize) -> Self {
        Self { kind: kind::GET_ID, sector: 0, out: vec![], room }
    }

    /// Gives ranges back, or has them read as zeros; each is as [`range`] has it.
    #[must_use]
    pub fn ranges(kind: u32, ranges: Vec<u8>) -> Self {
        Self { kind, sector: 0, out: ranges, room: 0 }
    }
}

/// A range of a discard or of zeros (virtio 1.2, 5.2.6): `struct virtio_blk_discard_write_zeroes`.
#[must_use]
pub fn range(sector: u64, sectors: u32, unmap: bool) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &u32::from(unmap).to_le_bytes()].concat()
}

/// A descriptor (virtio 1.2, 2.7.5).
#[must_use]
pub fn descriptor(address: u64, len: u32, flags: u16, next: u16) -> Vec<u8> {
    [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()]
        .concat()
}

/// A request that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// What [`Driver::submit`] returned.
    pub token: u64,
    /// Status byte; 0xff if the device wrote none.
    pub status: u8,
    /// The room for data as it is now.
    pub data: Vec<u8>,
    /// Length in the used ring.
    pub written: u32,
}

struct InFlight {
    token: u64,
    lane: u64,
    status: u64,
    segments: Vec<(u64, u32)>,
    descriptors: Vec<u16>,
}

/// The driver of one ring.
pub struct Driver {
    memory: Arc<GuestMemoryMmap>,
    area: Area,
    free: Vec<u16>,
    lanes: Vec<u64>,
    in_flight: HashMap<u16, InFlight>,
    avail: u16,
    used: u16,
    tokens: u64,
    random: fastrand::Rng,
    /// How requests are cut.
    pub cut: Cut,
}

impl Driver {
    /// A driver whose ring, zeroed, lies at `area`, for at most `depth` requests at a time.
    ///
    /// # Panics
    /// If the area is not in memory.
    #[must_use]
    pub fn new(memory: Arc<GuestMemoryMmap>, area: Area, depth: u64, cut: Cut, seed: u64) -> Self {
        let ring = vec![0; (area.buffers() - area.start) as usize];
        memory.write_slice(&ring, GuestAddress(area.start)).expect("the area lies in memory");
        Self {
            memory,
            area,
            free: (0..area.size).rev().collect(),
            lanes: (0..depth).rev().collect(),
            in_flight: HashMap::new(),
            avail: 0,
            used: 0,
            tokens: 0,
            random: fastrand::Rng::with_seed(seed),
            cut,
        }
    }

    /// Requests that have not come back.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Index of the next entry of the avail ring.
    #[must_use]
    pub fn avail_index(&self) -> u16 {
        self.avail
    }

    /// The used index as it is now.
    ///
    /// # Panics
    /// If the ring is not in memory.
    #[must_use]
    pub fn used_index(&self) -> u16 {
        let index = GuestAddress(self.area.used() + 2);
        self.memory.load(index, Ordering::Acquire).expect("in memory")
    }

    /// Whether another request fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.lanes.is_empty() && self.free.len() >= 40
    }

    /// Makes a request available; the caller kicks.
    ///
    /// # Panics
    /// Without room, or with more data than a request's space holds.
    pub fn submit(&mut self, request: &BlkRequest) -> u64 {
        let lane = self.lanes.pop().expect("there is room");
        let base = self.area.buffers() + lane * REQUEST_SPACE;
        let header: Vec<u8> =
            [&request.kind.to_le_bytes()[..], &[0; 4], &request.sector.to_le_bytes()].concat();
        let readable = [header, request.out.clone()].concat();
        let writable = request.room + 1;
        assert!((readable.len() + writable) as u64 + 20_000 < REQUEST_SPACE);
        let mut place = base + 16_384;
        let ins = self.cut_up(readable.len(), 16, &mut place);
        let outs = self.cut_up(writable, request.room, &mut place);
        self.scatter(&ins, &readable);
        self.scatter(&outs, &vec![0xff; writable]);
        let status = last_byte(&outs);
        let list: Vec<(u64, u32, u16)> = ins
            .iter()
            .map(|&(address, len)| (address, len, 0))
            .chain(outs.iter().map(|&(address, len)| (address, len, WRITE)))
            .collect();
        let descriptors = self.place(&list, base);
        let head = descriptors[0];
        self.tokens += 1;
        let entry = InFlight { token: self.tokens, lane, status, segments: outs, descriptors };
        self.in_flight.insert(head, entry);
        self.make_available(head);
        self.tokens
    }

    /// Puts a head into the avail ring.
    ///
    /// # Panics
    /// If the ring is not in memory.
    pub fn make_available(&mut self, head: u16) {
        let slot = u64::from(self.avail % self.area.size);
        self.memory
            .write_obj(head, GuestAddress(self.area.avail() + 4 + 2 * slot))
            .expect("in memory");
        self.avail = self.avail.wrapping_add(1);
        let index = GuestAddress(self.area.avail() + 2);
        self.memory.store(self.avail, index, Ordering::Release).expect("in memory");
    }

    /// Takes what came back.
    ///
    /// # Panics
    /// If the device gives back what it was not given, or gives it back twice.
    pub fn completions(&mut self) -> Vec<Completion> {
        let used = self.used_index();
        let mut ended = Vec::new();
        while self.used != used {
            let at = self.area.used() + 4 + 8 * u64::from(self.used % self.area.size);
            let head: u32 = self.memory.read_obj(GuestAddress(at)).expect("in memory");
            let written: u32 = self.memory.read_obj(GuestAddress(at + 4)).expect("in memory");
            self.used = self.used.wrapping_add(1);
            let head = u16::try_from(head).expect("a head is 16 bits");
            let entry =
                self.in_flight.remove(&head).expect("answered once, and only what was asked");
            ended.push(self.collect(&entry, written));
        }
        ended
    }

    fn collect(&mut self, entry: &InFlight, written: u32) -> Completion {
        let status: u8 = self.memory.read_obj(GuestAddress(entry.status)).expect("in memory");
        let mut data = Vec::new();
        for &(address, len) in &entry.segments {
            let mut bytes = vec![0; len as usize];
            self.memory.read_slice(&mut bytes, GuestAddress(address)).expect("in memory");
            data.extend(bytes);
        }
        data.pop();
        self.free.extend(&entry.descriptors);
        self.lanes.push(entry.lane);
        Completion { token: entry.token, status, data, written }
    }

    /// Cuts `len` bytes into buffers; `seam` is where the plain cut is.
    fn cut_up(&mut self, len: usize, seam: usize, place: &mut u64) -> Vec<(u64, u32)> {
        let mut cuts = vec![0, seam.min(len), len];
        if self.cut == Cut::Wild {
            (0..self.random.usize(0..4)).for_each(|_| cuts.push(self.random.usize(0..=len)));
            (0..self.random.usize(0..2)).for_each(|_| cuts.push(len));
            if self.random.bool() {
                // Header and data, or data and status, in one descriptor.
                cuts.retain(|&cut| cut != seam || cut == 0 || cut == len);
            }
        }
        cuts.sort_unstable();
        if self.cut == Cut::Plain {
            cuts.dedup();
        }
        cuts.windows(2)
            .map(|pair| {
                let piece = (pair[1] - pair[0]) as u32;
                let gap = if self.cut == Cut::Wild { self.random.u64(0..70) } else { 0 };
                let address = *place + gap;
                *place = address + u64::from(piece);
                (address, piece)
            })
            .collect()
    }

    fn scatter(&self, segments: &[(u64, u32)], bytes: &[u8]) {
        let mut rest = bytes;
        for &(address, len) in segments {
            let (now, later) = rest.split_at(len as usize);
            self.memory.write_slice(now, GuestAddress(address)).expect("in memory");
            rest = later;
        }
    }

    /// Writes the descriptors: all in the ring's table, all in an indirect table, or the first ones directly and the
    /// rest in an indirect table.
    fn place(&mut self, list: &[(u64, u32, u16)], table: u64) -> Vec<u16> {
        let wild = self.cut == Cut::Wild;
        let direct = match self.random.u8(0..3) {
            0 if wild => 0,
            1 if wild => self.random.usize(0..list.len()),
            _ => list.len(),
        };
        let needed = direct + usize::from(direct < list.len());
        let ids: Vec<u16> = self.free.split_off(self.free.len() - needed);
        for (number, &(address, len, flags)) in list[..direct].iter().enumerate() {
            let next = ids.get(number + 1).copied();
            self.write_descriptor(self.area.descriptors(), ids[number], address, len, flags, next);
        }
        if direct < list.len() {
            let rest = &list[direct..];
            for (number, &(address, len, flags)) in rest.iter().enumerate() {
                let next = (number + 1 < rest.len()).then_some(number as u16 + 1);
                self.write_descriptor(table, number as u16, address, len, flags, next);
            }
            let len = 16 * rest.len() as u32;
            self.write_descriptor(self.area.descriptors(), ids[direct], table, len, INDIRECT, None);
        }
        ids
    }

    /// Writes one descriptor of a table.
    ///
    /// # Panics
    /// If the table is not in memory.
    pub fn write_descriptor(
        &self,
        table: u64,
        index: u16,
        address: u64,
        len: u32,
        flags: u16,
        next: Option<u16>,
    ) {
        let flags = flags | if next.is_some() { NEXT } else { 0 };
        let bytes = descriptor(address, len, flags, next.unwrap_or(0));
        let at = GuestAddress(table + 16 * u64::from(index));
        self.memory.write_slice(&bytes, at).expect("in memory");
    }
}

fn last_byte(segments: &[(u64, u32)]) -> u64 {
    let (address, len) = segments.iter().rfind(|(_, len)| *len > 0).expect("a status byte");
    address + u64::from(*len) - 1
}
