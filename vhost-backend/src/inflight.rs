//! Which requests are with this device, kept in memory that the front end holds over a crash: a process that takes over
//! from a killed one finds here what was taken from each ring and not answered.
//!
//! Layout and the order of stores are those of vhost-user, "Inflight I/O tracking", for split rings. A kill may come
//! between any two stores; whatever is there then means one thing only. So each store is a release: none is seen
//! before one that precedes it in the code.
//!
//! The front end may write anything here. It is read once, when a ring starts, and judged; afterwards it is only
//! written.

use std::{
    fs::File,
    sync::{Arc, atomic::Ordering},
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use thiserror::Error;
use vm_memory::{
    AtomicAccess, Bytes, FileOffset, MmapRegion, VolatileMemory, mmap::MmapRegionError,
};

use crate::{memory::cut, stores::store};

/// Bytes before the descriptors' states: features, version, number of descriptors, head of the last batch, used index.
const HEADER_LEN: usize = 16;
const FEATURES_AT: usize = 0;
const VERSION_AT: usize = 8;
const LEN_AT: usize = 10;
const LAST_BATCH_AT: usize = 12;
const USED_AT: usize = 14;

/// Bytes of a descriptor's state: in flight or not, next of its batch, counter.
const STATE_LEN: usize = 16;
const NEXT_AT: usize = 6;
const COUNTER_AT: usize = 8;

/// What each ring's part is aligned to.
const PART_ALIGN: usize = 64;

/// Feature bit of ours, where none is defined and zeros are kept: the guest has switched the write cache off. QEMU does
/// not say so again to the next process, and that one would answer writes before they are durable.
const CACHE_IS_OFF: u64 = 1 << 63;

/// The only version there is. Zero: nothing has been written yet.
const VERSION: u16 = 1;

/// Why a region cannot be used.
#[derive(Debug, Error)]
pub enum InflightError {
    /// More rings or longer ones than the device has, or none.
    #[error(
        "in-flight memory for {0} rings of {1}: this device has {2} of up to {3}, a power of two"
    )]
    Geometry(u16, u16, u16, u16),
    /// The memory is shorter than its rings need.
    #[error("in-flight memory of {0} bytes, where its rings need {1}")]
    Short(u64, usize),
    /// It could be cut off under us.
    #[error(
        "in-flight memory that is not sealed against shrinking: pass back what GET_INFLIGHT_FD gave"
    )]
    Unsealed,
    /// The system refused.
    #[error("in-flight memory: {0}")]
    System(#[from] rustix::io::Errno),
    /// It cannot be mapped.
    #[error("mapping in-flight memory: {0}")]
    Map(MmapRegionError),
}

/// What is in a region cannot be the work of a device.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "in-flight memory is corrupted ({0}): its requests cannot be known; the guest must reset the device"
)]
pub struct Corrupted(&'static str);

/// How many rings a region is for, and how long they are at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    queues: u16,
    size: u16,
}

impl Geometry {
    /// What a front end asked for, if a device of `queues_max` rings of at most `size_max` can have it.
    ///
    /// # Errors
    /// [`InflightError::Geometry`].
    pub fn new(
        (queues, size): (u16, u16),
        (queues_max, size_max): (u16, u16),
    ) -> Result<Self, InflightError> {
        let fits = (1..=queues_max).contains(&queues) && size.is_power_of_two() && size <= size_max;
        let refused = InflightError::Geometry(queues, size, queues_max, size_max);
        if fits { Ok(Self { queues, size }) } else { Err(refused) }
    }

    fn part_len(self) -> usize {
        (HEADER_LEN + STATE_LEN * usize::from(self.size)).next_multiple_of(PART_ALIGN)
    }

    /// Bytes of the region.
    #[must_use]
    pub fn region_len(self) -> usize {
        usize::from(self.queues) * self.part_len()
    }
}

/// A region, mapped.
#[derive(Debug)]
pub struct Region {
    geometry: Geometry,
    mapped: Arc<MmapRegion>,
}

impl Region {
    /// New memory for a region, zeroed, of a length that nobody can change.
    ///
    /// # Errors
    /// [`InflightError::System`].
    pub fn file(geometry: Geometry) -> Result<File, InflightError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("portcullis-inflight", flags)?;
        ftruncate(&file, geometry.region_len() as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(file.into())
    }

    /// Maps `len` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// [`InflightError`].
    pub fn map(
        file: File,
        (offset, len): (u64, u64),
        geometry: Geometry,
    ) -> Result<Self, InflightError> {
        // Else whoever holds it could have this side touch what is gone.
        if !cut::cannot_be(&file) {
            return Err(InflightError::Unsealed);
        }
        let needed = geometry.region_len();
        let there = fstat(&file)?.st_size.unsigned_abs().saturating_sub(offset).min(len);
        if there < needed as u64 {
            return Err(InflightError::Short(there, needed));
        }
        let mapped = MmapRegion::from_file(FileOffset::new(file, offset), needed);
        let mapped = Arc::new(mapped.map_err(InflightError::Map)?);
        Ok(Self { geometry, mapped })
    }

    /// Notes for the next process whether the guest has the write cache on.
    pub fn note_cache(&self, writeback: bool) {
        let features = if writeback { 0 } else { CACHE_IS_OFF };
        store(&self.mapped.as_volatile_slice(), FEATURES_AT, features.to_le());
    }

    /// Whether a process before this one noted that the cache is off.
    #[must_use]
    pub fn cache_is_off(&self) -> bool {
        let slice = self.mapped.as_volatile_slice();
        let version = slice.load::<u16>(VERSION_AT, Ordering::Acquire).map_or(0, u16::from_le);
        let features = slice.load::<u64>(FEATURES_AT, Ordering::Acquire).map_or(0, u64::from_le);
        version == VERSION && features & CACHE_IS_OFF != 0
    }

    /// The part of ring `queue`; none if the region is for fewer.
    #[must_use]
    pub fn track(&self, queue: u16) -> Option<Track> {
        let start = usize::from(queue) * self.geometry.part_len();
        (queue < self.geometry.queues).then(|| Track {
            mapped: self.mapped.clone(),
            start,
            size: self.geometry.size,
            counter: 0,
            last: 0,
            batch: Vec::new(),
        })
    }
}

/// What one ring's part says.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: the ring begins.
    Nothing,
    /// These heads are taken and not answered, the oldest first.
    Requests(Vec<u16>),
}

/// One ring's part of the region.
#[derive(Debug)]
pub struct Track {
    mapped: Arc<MmapRegion>,
    start: usize,
    size: u16,
    /// Of the next request that is taken.
    counter: u64,
    /// What was answered last: the next one's batch leads here, and is followed no further than it is long.
    last: u16,
    /// Answered since the used index was last stored.
    batch: Vec<u16>,
}

impl Track {
    /// Settles what a predecessor left of a ring of `ring_size` whose used index is `used`.
    ///
    /// # Errors
    /// [`Corrupted`].
    pub fn resume(&mut self, ring_size: u16, used: u16) -> Result<Left, Corrupted> {
        if ring_size > self.size {
            return Err(Corrupted("it is for shorter rings"));
        }
        match self.load_u16(VERSION_AT) {
            0 => {
                // Whoever made it may have left anything there: a successor would take it for requests.
                (0..self.size).for_each(|head| self.store(self.state(head), 0u8));
                self.store_u16(LEN_AT, self.size);
                self.store_u16(USED_AT, used);
                // Last: from here on the rest counts.
                self.store_u16(VERSION_AT, VERSION);
                return Ok(Left::Nothing);
            }
            VERSION if self.load_u16(LEN_AT) == self.size => {}
            VERSION => return Err(Corrupted("it is for rings of another length")),
            _ => return Err(Corrupted("its version is unknown")),
        }
        self.finish_batch(ring_size, used)?;
        self.requests(ring_size).map(Left::Requests)
    }

    /// The used index was stored, and the process ended before it was noted here: those requests are answered.
    fn finish_batch(&mut self, ring_size: u16, used: u16) -> Result<(), Corrupted> {
        let answered = used.wrapping_sub(self.load_u16(USED_AT));
        if answered > ring_size {
            return Err(Corrupted("its used index is not near the ring's"));
        }
        let mut head = self.load_u16(LAST_BATCH_AT);
        for _ in 0..answered {
            if head >= ring_size {
                return Err(Corrupted("its last batch leads out of it"));
            }
            self.batch.push(head);
            head = self.load_u16(self.state(head) + NEXT_AT);
        }
        self.shown(used);
        Ok(())
    }

    fn requests(&mut self, ring_size: u16) -> Result<Vec<u16>, Corrupted> {
        let mut found = Vec::new();
        for head in 0..self.size {
            let state = self.state(head);
            match self.load::<u8>(state) {
                0 => {}
                1 if head < ring_size => {
                    found.push((u64::from_le(self.load(state + COUNTER_AT)), head));
                }
                _ => return Err(Corrupted("what is in flight is no descriptor")),
            }
        }
        found.sort_unstable();
        self.counter = found.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        Ok(found.into_iter().map(|(_, head)| head).collect())
    }

    /// A request was taken from the ring, and nothing of it has been done yet.
    pub fn taken(&mut self, head: u16) {
        let state = self.state(head);
        self.store(state + COUNTER_AT, self.counter.to_le());
        self.store(state, 1u8);
        self.counter = self.counter.wrapping_add(1);
    }

    /// A request is in the avail ring again, where it will be found.
    pub fn put_back(&mut self, head: u16) {
        self.store(self.state(head), 0u8);
    }

    /// Its used element will be written next; the used index does not cover it yet.
    pub fn answered(&mut self, head: u16) {
        self.store_u16(self.state(head) + NEXT_AT, self.last);
        self.store_u16(LAST_BATCH_AT, head);
        self.last = head;
        self.batch.push(head);
    }

    /// The used index was stored: what was answered until now is no longer in flight.
    pub fn shown(&mut self, used: u16) {
        while let Some(head) = self.batch.pop() {
            self.store(self.state(head), 0u8);
        }
        self.store_u16(USED_AT, used);
    }

    fn state(&self, head: u16) -> usize {
        HEADER_LEN + STATE_LEN * usize::from(head)
    }

    /// Everything below lies in the mapping: it was made for this geometry, and heads are below `size`.
    fn load<T: AtomicAccess + Default>(&self, at: usize) -> T {
        let region = self.mapped.as_volatile_slice();
        region.load(self.start + at, Ordering::Acquire).unwrap_or_default()
    }

    fn load_u16(&self, at: usize) -> u16 {
        u16::from_le(self.load(at))
    }

    fn store<T: AtomicAccess>(&self, at: usize, value: T) {
        store(&self.mapped.as_volatile_slice(), self.start + at, value);
    }

    fn store_u16(&self, at: usize, value: u16) {
        self.store(at, value.to_le());
    }
}

#[cfg(test)]
mod tests;
