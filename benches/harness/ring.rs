//! The driver's side of one split virtqueue, as cheap as it can be: every slot owns its descriptors and its buffer for
//! good, nothing is allocated, nothing is looked up. `tests/harness/driver.rs` is the one that tries every shape.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
};

use anyhow::{Result, ensure};

use crate::memory::Memory;

const NEXT: u64 = 1 << 32;
const WRITE: u64 = 2 << 32;
const INDIRECT: u64 = 4 << 32;

/// Header, data, status.
const CHAIN: usize = 3;

/// Bytes between two slots' headers: header and status share a line, as in Linux' `struct virtblk_req`.
const HEADER_STRIDE: usize = 64;
const STATUS: usize = 16;

/// Bytes between two slots' indirect tables.
const TABLE_STRIDE: usize = 64;

/// What a slot is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Disk to guest.
    Read,
    /// Guest to disk.
    Write,
}

/// What one ring needs.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Entries; a power of two.
    pub entries: u16,
    /// Requests at one time.
    pub depth: u16,
    /// Bytes of each request's data.
    pub block: u32,
}

/// Where the parts lie, from the ring's first byte.
#[derive(Debug, Clone, Copy)]
struct Places {
    avail: usize,
    used: usize,
    headers: usize,
    tables: usize,
    data: usize,
    stride: usize,
    end: usize,
}

impl Shape {
    /// Bytes of one ring with all it needs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places().end
    }

    /// No ring is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    fn places(&self) -> Places {
        let (entries, depth) = (usize::from(self.entries), usize::from(self.depth));
        let avail = 16 * entries;
        // Used ring and avail ring are written by two sides: no line holds a part of both.
        let used = (avail + 6 + 2 * entries).next_multiple_of(4096);
        let headers = (used + 6 + 8 * entries).next_multiple_of(4096);
        let tables = headers + HEADER_STRIDE * depth;
        let data = (tables + TABLE_STRIDE * depth).next_multiple_of(4096);
        let stride = (self.block as usize).next_multiple_of(4096);
        Places { avail, used, headers, tables, data, stride, end: data + stride * depth }
    }
}

/// A ring.
pub struct Ring {
    memory: Arc<Memory>,
    start: usize,
    shape: Shape,
    places: Places,
    indirect: bool,
    event_idx: bool,
    /// Slots that nobody uses; the last one used comes first, as its lines are in the cache.
    free: Vec<u16>,
    avail: u16,
    published: u16,
    used: u16,
}

impl Ring {
    /// An empty ring whose first byte is at `start`.
    ///
    /// # Panics
    /// If it is not in the memory.
    #[must_use]
    pub fn new(
        memory: Arc<Memory>,
        start: usize,
        shape: Shape,
        indirect: bool,
        event_idx: bool,
    ) -> Self {
        let places = shape.places();
        for offset in (start..start + places.headers).step_by(8) {
            memory.word::<AtomicU64>(offset).store(0, Ordering::Relaxed);
        }
        let free = (0..shape.depth).rev().collect();
        let ring = Self {
            memory,
            start,
            shape,
            places,
            indirect,
            event_idx,
            free,
            avail: 0,
            published: 0,
            used: 0,
        };
        ring.silence();
        ring
    }

    /// Entries.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.shape.entries
    }

    /// Requests at one time.
    #[must_use]
    pub fn depth(&self) -> u16 {
        self.shape.depth
    }

    /// Where descriptor table, avail ring and used ring lie in the memory.
    #[must_use]
    pub fn parts(&self) -> [usize; 3] {
        [0, self.places.avail, self.places.used].map(|at| self.start + at)
    }

    /// Requests that have not come back.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        usize::from(self.shape.depth) - self.free.len()
    }

    /// Where a slot's data lies in the memory.
    #[must_use]
    pub fn data(&self, slot: u16) -> usize {
        self.start + self.places.data + self.places.stride * usize::from(slot)
    }

    /// A free slot, which is then the caller's until it is completed.
    #[inline]
    pub fn take(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Makes a slot's request available to the device with the next [`Ring::publish`]. Descriptors are written anew
    /// each time, as a guest does: that the device has to fetch them is a part of what is measured.
    #[inline]
    pub fn submit(&mut self, slot: u16, kind: Kind, sector: u64) {
        let number = usize::from(slot);
        let header = self.start + self.places.headers + HEADER_STRIDE * number;
        self.store(header, u64::from(kind == Kind::Write));
        self.store(header + 8, sector);
        self.memory.word::<AtomicU8>(header + STATUS).store(0xff, Ordering::Relaxed);
        let (table, first) = if self.indirect {
            (self.start + self.places.tables + TABLE_STRIDE * number, 0)
        } else {
            (self.start, CHAIN as u64 * u64::from(slot))
        };
        let at = table + 16 * first as usize;
        let device_writes = if kind == Kind::Read { WRITE } else { 0 };
        let data = Memory::guest_address(self.data(slot));
        let next = |number: u64| NEXT | (first + number) << 48;
        self.store(at, Memory::guest_address(header));
        self.store(at + 8, 16 | next(1));
        self.store(at + 16, data);
        self.store(at + 24, u64::from(self.shape.block) | device_writes | next(2));
        self.store(at + 32, Memory::guest_address(header + STATUS));
        self.store(at + 40, 1 | WRITE);
        let head = CHAIN as u16 * slot;
        if self.indirect {
            let at = self.start + 16 * usize::from(head);
            self.store(at, Memory::guest_address(table));
            self.store(at + 8, (16 * CHAIN as u64) | INDIRECT);
        }
        let place = self.avail & (self.shape.entries - 1);
        self.short(self.places.avail + 4 + 2 * usize::from(place)).store(head, Ordering::Relaxed);
        self.avail = self.avail.wrapping_add(1);
    }

    /// Shows the device what was submitted. Gives whether it asked for a kick (virtio 1.2, 2.7.10), judged as Linux does.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.avail == self.published {
            return false;
        }
        self.short(self.places.avail + 2).store(self.avail, Ordering::Release);
        // The index must be visible before the device's wish is read, or both sides go to sleep.
        fence(Ordering::SeqCst);
        let before = std::mem::replace(&mut self.published, self.avail);
        if self.event_idx {
            let event = self.places.used + 4 + 8 * usize::from(self.shape.entries);
            let event = self.short(event).load(Ordering::Relaxed);
            self.avail.wrapping_sub(event).wrapping_sub(1) < self.avail.wrapping_sub(before)
        } else {
            self.short(self.places.used).load(Ordering::Relaxed) & 1 == 0
        }
    }

    /// The next slot that came back; it is free again. `None` if none did.
    ///
    /// # Errors
    /// The device reports an error, or gives back what it was not given.
    #[inline]
    pub fn complete(&mut self) -> Result<Option<u16>> {
        if self.short(self.places.used + 2).load(Ordering::Acquire) == self.used {
            return Ok(None);
        }
        let place = usize::from(self.used & (self.shape.entries - 1));
        let element = self.start + self.places.used + 4 + 8 * place;
        // The element is aligned to four bytes only.
        let id = self.memory.word::<AtomicU32>(element).load(Ordering::Relaxed);
        self.used = self.used.wrapping_add(1);
        let (slot, rest) = (id / CHAIN as u32, id % CHAIN as u32);
        ensure!(rest == 0 && slot < u32::from(self.shape.depth), "a foreign used id: {id}");
        let header = self.start + self.places.headers + HEADER_STRIDE * slot as usize;
        let status = self.memory.word::<AtomicU8>(header + STATUS).load(Ordering::Relaxed);
        ensure!(status == 0, "status {status} of a request");
        self.free.push(slot as u16);
        Ok(Some(slot as u16))
    }

    /// Where both sides stand, for messages about a device that does not answer.
    #[must_use]
    pub fn standing(&self) -> String {
        let event = self.places.used + 4 + 8 * usize::from(self.shape.entries);
        format!(
            "{} in flight, avail index {}, used index seen {} and there {}, kick asked for at {}, flags {}",
            self.in_flight(),
            self.published,
            self.used,
            self.short(self.places.used + 2).load(Ordering::Acquire),
            self.short(event).load(Ordering::Relaxed),
            self.short(self.places.used).load(Ordering::Relaxed)
        )
    }

    /// Asks for no interrupt: the event index lies behind, and is met again once in 65536 completions.
    pub fn silence(&self) {
        self.short(self.places.avail).store(u16::from(!self.event_idx), Ordering::Relaxed);
        self.used_event().store(self.used.wrapping_sub(1), Ordering::Relaxed);
    }

    /// Asks for an interrupt at the next completion. Gives whether one is there already.
    #[must_use]
    pub fn wants_interrupt(&self) -> bool {
        self.short(self.places.avail).store(0, Ordering::Relaxed);
        self.used_event().store(self.used, Ordering::Relaxed);
        // The wish must be visible before the index is read again, or a completion between goes unheard.
        fence(Ordering::SeqCst);
        self.short(self.places.used + 2).load(Ordering::Acquire) != self.used
    }

    fn used_event(&self) -> &AtomicU16 {
        self.short(self.places.avail + 4 + 2 * usize::from(self.shape.entries))
    }

    #[inline]
    fn short(&self, at: usize) -> &AtomicU16 {
        self.memory.word(self.start + at)
    }

    #[inline]
    fn store(&self, offset: usize, value: u64) {
        self.memory.word::<AtomicU64>(offset).store(value, Ordering::Relaxed);
    }
}
