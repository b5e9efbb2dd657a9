//! The guest: where things lie in its memory, and how it writes them.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::step::{Address, Data, Len, Poke, Request, Sector, Table};

/// Bytes of the disk.
pub(super) const DISK: u64 = 320 << 10;

pub(super) const DESCRIPTORS: u64 = 0x0000;
pub(super) const AVAIL: u64 = 0x1000;
pub(super) const USED: u64 = 0x2000;
const INDIRECT: u64 = 0x3000;
/// Ring and tables lie below, buffers above.
pub(super) const TABLES_END: u64 = 0x8000;
/// Where headers and statuses lie.
const HEADERS: u64 = 0x8000;
const BUFFERS: u64 = 0xa000;

/// Regions: two that touch, and one behind a gap.
pub(super) const REGIONS: [(u64, usize); 3] = [(0, 0xf000), (0xf000, 0x9000), (0x2_0000, 0x2000)];

/// What the guest has in its memory where it wrote nothing else; it must never be on the disk.
pub(super) const MARK: &[u8; 16] = b"guest plaintext!";

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const IN_TABLE: u16 = 4;

/// See the module.
pub(super) struct Guest {
    pub(super) memory: Arc<GuestMemoryMmap>,
    pub(super) size: u16,
    pub(super) avail: u16,
    unit: u64,
    next_descriptor: u16,
    next_header: u64,
    next_table: u64,
}

impl Guest {
    pub(super) fn new(size: u16, unit: u32, index: u16) -> Self {
        let guest = Self {
            memory: memory(&REGIONS),
            size,
            avail: index,
            unit: u64::from(unit),
            next_descriptor: 0,
            next_header: 0,
            next_table: 0,
        };
        for (start, len) in REGIONS {
            let marks = MARK.repeat(len / MARK.len());
            guest.write(start, &marks);
        }
        guest.write(DESCRIPTORS, &[0; TABLES_END as usize]);
        guest.write(AVAIL + 2, &index.to_le_bytes());
        guest.write(USED + 2, &index.to_le_bytes());
        guest
    }

    /// Its memory without the second region.
    pub(super) fn half(&self) -> Arc<GuestMemoryMmap> {
        memory(&REGIONS[..1])
    }

    /// Writes as far as there is memory.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.write(bytes, GuestAddress(at));
    }

    pub(super) fn address(&self, address: Address) -> u64 {
        match address {
            Address::Buffer(place) => BUFFERS + 64 * (u64::from(place) % 0x180),
            Address::Table(place) => u64::from(place) % TABLES_END,
            Address::Edge(which, by) => {
                let (start, len) = REGIONS[usize::from(which) % 3];
                (start + len as u64).wrapping_add_signed(i64::from(by))
            }
            Address::Wild(address) => address,
        }
    }

    pub(super) fn len(&self, len: Len) -> u32 {
        match len {
            Len::Units(units) => u32::from(units % 72) * self.unit as u32,
            Len::Bytes(bytes) => u32::from(bytes),
            Len::Wild(len) => len,
        }
    }

    pub(super) fn sector(&self, sector: Sector) -> u64 {
        match sector {
            Sector::Near(n) => u64::from(n) * self.unit / 512,
            Sector::FromEnd(n) => (DISK / 512).wrapping_sub(u64::from(n % 32)),
            Sector::Wrapped(n) => (1 << 55) + u64::from(n) * self.unit / 512,
            Sector::Wild(n) => n,
        }
    }

    pub(super) fn table(&self, table: Table) -> u64 {
        match table {
            Table::Ring => DESCRIPTORS,
            Table::Indirect(number) => INDIRECT + 0x400 * (u64::from(number) % 16),
        }
    }

    pub(super) fn descriptor(&self, at: u64, (address, len): (u64, u32), flags: u16, next: u16) {
        let bytes = [
            &address.to_le_bytes()[..],
            &len.to_le_bytes(),
            &flags.to_le_bytes(),
            &next.to_le_bytes(),
        ];
        self.write(at, &bytes.concat());
    }

    /// Makes a head available.
    pub(super) fn offer(&mut self, head: u16) {
        let slot = u64::from(self.avail % self.size);
        self.write(AVAIL + 4 + 2 * slot, &head.to_le_bytes());
        self.jump(1);
    }

    pub(super) fn jump(&mut self, by: u16) {
        self.avail = self.avail.wrapping_add(by);
        self.write(AVAIL + 2, &self.avail.to_le_bytes());
    }

    /// What a poke does, as bytes at an address.
    pub(super) fn poke(&self, poke: Poke) -> (u64, [u8; 2]) {
        (self.address(poke.address), poke.value.to_le_bytes())
    }

    /// Lays a request out and makes it available.
    pub(super) fn request(&mut self, request: &Request) {
        let kind = [0u32, 1, 4, 8, 11, 13].get(usize::from(request.kind % 8)).copied();
        let kind = kind.unwrap_or(u32::from(request.kind));
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(self.sector(request.sector).to_le_bytes());
        for &(sector, sectors, unmap) in request.ranges.iter().take(4) {
            header.extend(self.sector(sector).to_le_bytes());
            header.extend(u32::from(sectors).to_le_bytes());
            header.extend(u32::from(unmap).to_le_bytes());
        }
        let place = HEADERS + 128 * (self.next_header % 32);
        self.next_header += 1;
        self.write(place, &header);
        let mut list = vec![((place, header.len() as u32), 0)];
        let direction = if kind == 1 { 0 } else { WRITE };
        list.extend(self.data(&request.data).into_iter().map(|buffer| (buffer, direction)));
        if !request.no_status {
            list.push(((place + 127, 1), WRITE));
        }
        self.link(&list, request.indirect);
    }

    fn data(&self, data: &Data) -> Vec<(u64, u32)> {
        match data {
            Data::Cut { units, pieces } => {
                let mut left = u32::from(units % 40) * self.unit as u32;
                let mut place = BUFFERS;
                let mut lens: Vec<u32> =
                    pieces.iter().take(24).map(|&len| u32::from(len)).collect();
                lens.push(u32::MAX);
                let mut buffers = Vec::new();
                for len in lens {
                    // More than there is room for goes over the same bytes again.
                    let len = len.min(left).min(0x5000);
                    buffers.push((place, len));
                    left -= len;
                    place = BUFFERS + (place - BUFFERS + u64::from(len)) % 0x800;
                }
                while left > 0 {
                    let len = left.min(0x5000);
                    buffers.push((BUFFERS, len));
                    left -= len;
                }
                buffers
            }
            Data::Any(list) => {
                let buffer =
                    |&(address, len): &(Address, Len)| (self.address(address), self.len(len));
                list.iter().take(24).map(buffer).collect()
            }
        }
    }

    fn link(&mut self, list: &[((u64, u32), u16)], indirect: bool) {
        let size = self.size;
        let first = self.next_descriptor % size;
        if !indirect && list.len() <= usize::from(size) {
            for (number, &(buffer, flags)) in list.iter().enumerate() {
                let index = self.next_descriptor % size;
                self.next_descriptor += 1;
                let more = number + 1 < list.len();
                let flags = flags | if more { NEXT } else { 0 };
                let at = DESCRIPTORS + 16 * u64::from(index);
                self.descriptor(at, buffer, flags, self.next_descriptor % size);
            }
        } else {
            let table = INDIRECT + 0x400 * (self.next_table % 16);
            self.next_table += 1;
            for (number, &(buffer, flags)) in list.iter().enumerate() {
                let more = number + 1 < list.len();
                let flags = flags | if more { NEXT } else { 0 };
                self.descriptor(table + 16 * number as u64, buffer, flags, number as u16 + 1);
            }
            self.next_descriptor += 1;
            let at = DESCRIPTORS + 16 * u64::from(first);
            self.descriptor(at, (table, 16 * list.len() as u32), IN_TABLE, 0);
        }
        self.offer(first);
    }
}

fn memory(regions: &[(u64, usize)]) -> Arc<GuestMemoryMmap> {
    let regions: Vec<_> = regions.iter().map(|&(start, len)| (GuestAddress(start), len)).collect();
    Arc::new(GuestMemoryMmap::from_ranges(&regions).expect("memory"))
}
