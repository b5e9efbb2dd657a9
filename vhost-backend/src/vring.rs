//! A split virtqueue (virtio 1.2, section 2.7): descriptor table, avail ring, used ring, in guest memory.
//!
//! Written here and not taken from `virtio-queue`, whose `add_used` publishes every completion by itself: here the used
//! index is stored once per batch. Everything in guest memory is read by volatile or atomic loads, once, and a
//! value that was read is never read again.

use std::{
    num::Wrapping,
    sync::atomic::{Ordering, fence},
};

use thiserror::Error;
use virtio_bindings::virtio_ring::{
    VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
    VRING_USED_F_NO_NOTIFY,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

use crate::{
    dirty::Log,
    guest::{Chain, Segment},
    inflight::{Corrupted, Left, Track},
    limits::CHAIN_LEN_MAX,
    stores::store,
};

const DESCRIPTOR_LEN: usize = 16;
const USED_ELEMENT_LEN: usize = 8;

/// Used elements that are shown with one store of the index, within a turn.
const SHOWN_TOGETHER: u16 = 8;

/// Why a ring cannot be served on. The queue stops; the device and its other queues live on.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RingError {
    /// A part of the ring lies outside guest memory or is misaligned.
    #[error("the {0} is not in guest memory, or not aligned")]
    Address(&'static str),
    /// The length is not a power of two within the limit.
    #[error("a ring of {0} descriptors: use a power of two up to the queue size")]
    Size(u32),
    /// The avail index moved by more than the ring holds.
    #[error("the avail index ran {0} ahead of a ring of {1}")]
    AvailIndex(u16, u16),
    /// The avail ring names a descriptor that does not exist.
    #[error("descriptor {0} is made available in a ring of {1}")]
    Head(u16, u16),
    /// The memory it lies in, or its requests' buffers.
    #[error("guest memory was cut off under the device: its file is shorter than it was")]
    MemoryCut,
    /// It lies in memory that is not the guest's.
    #[error(
        "the guest's memory is not shared with this process, which sees zeros only: its front end's memory backend needs share=on"
    )]
    NotShared,
    /// What a predecessor left cannot be known.
    #[error(transparent)]
    Inflight(#[from] Corrupted),
}

/// Where a ring lies, in guest-physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Descriptor table, aligned to 16.
    pub descriptors: GuestAddress,
    /// Avail ring, aligned to 2.
    pub avail: GuestAddress,
    /// Used ring, aligned to 4.
    pub used: GuestAddress,
}

/// A ring, and how far this side has come in it.
#[derive(Debug)]
pub struct Vring {
    addresses: Addresses,
    size: u16,
    event_idx: bool,
    next_avail: Wrapping<u16>,
    /// The driver's avail index when it was last read: up to there, its cache line is left alone.
    seen_avail: Wrapping<u16>,
    next_used: Wrapping<u16>,
    /// Used index up to which the driver can see.
    shown: Wrapping<u16>,
    /// Used index up to which it has been asked whether it wants to be told.
    published: Wrapping<u16>,
    /// Where it is noted what is with this side, if the front end keeps that.
    track: Option<Track>,
    /// Taken by a predecessor and not answered, the oldest last. They come before the avail ring.
    left: Vec<u16>,
    /// Where what is written to guest memory is marked, while somebody copies it.
    log: Option<Log>,
}

impl Vring {
    /// A ring that goes on at `base`, the index of the next entry of the avail ring; or, if a predecessor left
    /// something in `track`, where that one was: a front end that lost its device knows only what the driver has made
    /// available.
    ///
    /// # Errors
    /// [`RingError`] if it does not lie in `memory`, or what was left does not fit it.
    pub fn new(
        memory: &GuestMemoryMmap,
        addresses: Addresses,
        size: u16,
        base: u16,
        event_idx: bool,
        track: Option<Track>,
    ) -> Result<Self, RingError> {
        let mut ring = Self {
            addresses,
            size,
            event_idx,
            next_avail: Wrapping(base),
            seen_avail: Wrapping(base),
            next_used: Wrapping(0),
            shown: Wrapping(0),
            published: Wrapping(0),
            track,
            left: Vec::new(),
            log: None,
        };
        ring.descriptors(memory)?;
        ring.avail(memory)?;
        // The used index belongs to this side, but only the ring remembers it across a restart.
        let used = Wrapping(read(&ring.used(memory)?, 2));
        (ring.next_used, ring.shown, ring.published) = (used, used, used);
        ring.take_over(memory)?;
        Ok(ring)
    }

    /// Everything taken is answered or still with this side. (QEMU gives the used index as base, Cloud Hypervisor the
    /// avail index: neither is where the predecessor was.)
    fn take_over(&mut self, memory: &GuestMemoryMmap) -> Result<(), RingError> {
        let Some(track) = &mut self.track else { return Ok(()) };
        let Left::Requests(mut heads) = track.resume(self.size, self.next_used.0)? else {
            return Ok(());
        };
        self.next_avail = self.next_used + Wrapping(heads.len() as u16);
        self.seen_avail = self.next_avail;
        heads.reverse();
        self.left = heads;
        // The interrupt for what it answered last may not have been sent: a driver that waits for any of it gets one.
        self.published = self.next_used - Wrapping(self.size);
        self.pending(memory).map(|_| ())
    }

    /// Where writes to guest memory are to be marked from now on, the used ring's here, buffers' by who writes them.
    pub fn set_log(&mut self, log: Option<Log>) {
        self.log = log;
        self.mark_used();
    }

    /// Where writes to guest memory are to be marked.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// It is two or three pages at most: which part was written is not worth to be known.
    fn mark_used(&self) {
        if let Some(log) = &self.log {
            log.mark(self.addresses.used, used_len(self.size) as u64);
        }
    }

    /// Where the used ring lies, which this side writes: its first byte, and that behind its last.
    #[must_use]
    pub fn used_place(&self) -> [u64; 2] {
        let first = self.addresses.used.0;
        [first, first + used_len(self.size) as u64]
    }

    /// Whether its driver has never made a request available.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn is_untouched(&self, memory: &GuestMemoryMmap) -> Result<bool, RingError> {
        if self.next_avail.0 != 0 || self.pending(memory)? > 0 {
            return Ok(false);
        }
        let mut table = vec![0u8; DESCRIPTOR_LEN * usize::from(self.size)];
        self.descriptors(memory)?.copy_to(&mut table);
        Ok(table.iter().all(|&byte| byte == 0))
    }

    /// Index of the next entry of the avail ring: what a front end stores over a stop.
    #[must_use]
    pub fn next_avail(&self) -> u16 {
        self.next_avail.0
    }

    /// Takes the next chain, if there is one, into `chain`.
    ///
    /// # Errors
    /// [`RingError`]: the ring itself is broken. A malformed chain is not an error of the ring:
    /// it comes back with [`Chain::is_malformed`].
    pub fn pop(&mut self, memory: &GuestMemoryMmap, chain: &mut Chain) -> Result<bool, RingError> {
        if let Some(head) = self.left.pop() {
            chain.reset(head);
            walk(&self.descriptors(memory)?, self.size, head, memory, chain);
            return Ok(true);
        }
        let avail = self.avail(memory)?;
        if self.next_avail == self.seen_avail {
            self.seen_avail = self.next_avail + Wrapping(self.pending_in(&avail)?);
            if self.next_avail == self.seen_avail {
                return Ok(false);
            }
        }
        let slot = usize::from(self.next_avail.0 % self.size);
        let head: u16 = read(&avail, 4 + 2 * slot);
        if head >= self.size {
            return Err(RingError::Head(head, self.size));
        }
        if let Some(track) = &mut self.track {
            track.taken(head);
        }
        self.next_avail += 1;
        chain.reset(head);
        walk(&self.descriptors(memory)?, self.size, head, memory, chain);
        Ok(true)
    }

    /// Makes chains available again that were taken and cannot be answered now, and those that a predecessor left: the
    /// ring then stands before them, and whoever goes on with it finds them there, be it another process, another host,
    /// or a front end that keeps no track of what is in flight. `heads`: all that was taken and has no used element,
    /// in any order. What is used must have been shown.
    ///
    /// Only the driver writes to the avail ring (virtio 1.2, 2.7.6); these entries it never reads, and it writes none
    /// of them again before as many chains are used. The index stays as it is.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn put_back(
        &mut self,
        memory: &GuestMemoryMmap,
        mut heads: Vec<u16>,
    ) -> Result<(), RingError> {
        let avail = self.avail(memory)?;
        heads.extend(self.left.drain(..).rev());
        let stands = self.next_avail - Wrapping(heads.len() as u16);
        for (n, head) in (0..).zip(&heads) {
            let slot = usize::from((stands + Wrapping(n)).0 % self.size);
            store(&avail, 4 + 2 * slot, head.to_le());
        }
        // The last entry's first: as many as are in flight are always those before the rest.
        for &head in heads.iter().rev() {
            self.track.iter_mut().for_each(|track| track.put_back(head));
        }
        self.next_avail = stands;
        if let Some(log) = self.log.as_ref().filter(|_| !heads.is_empty()) {
            log.mark(self.addresses.avail, avail_len(self.size) as u64);
        }
        Ok(())
    }

    /// Chains that wait in the avail ring.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn pending(&self, memory: &GuestMemoryMmap) -> Result<u16, RingError> {
        Ok(self.pending_in(&self.avail(memory)?)? + self.left.len() as u16)
    }

    fn pending_in(&self, avail: &VolatileSlice<'_>) -> Result<u16, RingError> {
        // Acquire: the entries and descriptors before the index are visible once it is.
        let index = avail.load::<u16>(2, Ordering::Acquire);
        let index = index.map_err(|_| RingError::Address("avail ring"))?;
        let pending = (Wrapping(u16::from_le(index)) - self.next_avail).0;
        if pending > self.size {
            return Err(RingError::AvailIndex(pending, self.size));
        }
        Ok(pending)
    }

    /// Writes one used element. The driver sees it when there are some, or with [`Vring::publish`]: every store of the
    /// index takes its cache line from a driver that looks, none for long keeps it idle.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn push_used(
        &mut self,
        memory: &GuestMemoryMmap,
        head: u16,
        written: u32,
    ) -> Result<(), RingError> {
        let used = self.used(memory)?;
        let at = 4 + USED_ELEMENT_LEN * usize::from(self.next_used.0 % self.size);
        store(&used, at, u32::from(head).to_le());
        store(&used, at + 4, written.to_le());
        if let Some(track) = &mut self.track {
            track.answered(head);
        }
        self.next_used += 1;
        if (self.next_used - self.shown).0 >= SHOWN_TOGETHER {
            self.show(&used);
        }
        Ok(())
    }

    fn show(&mut self, used: &VolatileSlice<'_>) {
        // Data, status and elements are visible before the index.
        store(used, 2, self.next_used.0.to_le());
        if let Some(track) = &mut self.track {
            track.shown(self.next_used.0);
        }
        self.shown = self.next_used;
        self.mark_used();
    }

    /// Whether there are used elements that the driver has not been asked about.
    #[must_use]
    pub fn has_unpublished(&self) -> bool {
        self.published != self.next_used
    }

    /// Shows the driver every used element so far, and tells whether it wants an interrupt for them.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn publish(&mut self, memory: &GuestMemoryMmap) -> Result<bool, RingError> {
        if self.shown != self.next_used {
            self.show(&self.used(memory)?);
        }
        let avail = self.avail(memory)?;
        let (old, new) = (self.published, self.next_used);
        self.published = new;
        // The index must be visible before the driver's wish is read: it stores its wish, then looks at the index
        // (virtio 1.2, 2.7.7.2). Without a full fence both sides may see the old value and sleep.
        fence(Ordering::SeqCst);
        if self.event_idx {
            let event: u16 = read(&avail, 4 + 2 * usize::from(self.size));
            return Ok(needs_event(event, new.0, old.0));
        }
        let flags: u16 = read(&avail, 0);
        Ok(u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Asks the driver to kick for the next chain, or not to. After asking, the caller must look at the ring once more.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn ask_for_kicks(&self, memory: &GuestMemoryMmap, wanted: bool) -> Result<(), RingError> {
        let used = self.used(memory)?;
        if !self.event_idx {
            let flags = if wanted { 0 } else { VRING_USED_F_NO_NOTIFY as u16 };
            store(&used, 0, flags.to_le());
        } else if wanted {
            let at = 4 + USED_ELEMENT_LEN * usize::from(self.size);
            store(&used, at, self.next_avail.0.to_le());
        }
        self.mark_used();
        // The wish must be visible before the ring is looked at again.
        fence(Ordering::SeqCst);
        Ok(())
    }

    fn descriptors<'m>(&self, memory: &'m GuestMemoryMmap) -> Result<VolatileSlice<'m>, RingError> {
        let len = DESCRIPTOR_LEN * usize::from(self.size);
        part(memory, self.addresses.descriptors, len, 16, "descriptor table")
    }

    fn avail<'m>(&self, memory: &'m GuestMemoryMmap) -> Result<VolatileSlice<'m>, RingError> {
        part(memory, self.addresses.avail, avail_len(self.size), 2, "avail ring")
    }

    fn used<'m>(&self, memory: &'m GuestMemoryMmap) -> Result<VolatileSlice<'m>, RingError> {
        part(memory, self.addresses.used, used_len(self.size), 4, "used ring")
    }
}

/// Bytes of an avail ring.
fn avail_len(size: u16) -> usize {
    4 + 2 * usize::from(size) + 2
}

/// Bytes of a used ring.
fn used_len(size: u16) -> usize {
    4 + USED_ELEMENT_LEN * usize::from(size) + 2
}

/// A part of the ring in guest memory.
fn part<'m>(
    memory: &'m GuestMemoryMmap,
    address: GuestAddress,
    len: usize,
    align: u64,
    name: &'static str,
) -> Result<VolatileSlice<'m>, RingError> {
    let found = memory.get_slice(address, len).ok().filter(|_| address.0.is_multiple_of(align));
    found.ok_or(RingError::Address(name))
}

/// Whether `event`, the index the driver waits for, was passed between `old` and `new` (virtio 1.2, 2.7.10).
fn needs_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// One descriptor, read once.
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u32,
    next: u16,
}

fn descriptor(table: &VolatileSlice<'_>, index: u16) -> Option<Descriptor> {
    let mut bytes = [0; DESCRIPTOR_LEN];
    table.read_slice(&mut bytes, DESCRIPTOR_LEN * usize::from(index)).ok()?;
    let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
    Some(Descriptor {
        address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
        len: u32::from_le_bytes([l0, l1, l2, l3]),
        flags: u32::from(u16::from_le_bytes([f0, f1])),
        next: u16::from_le_bytes([n0, n1]),
    })
}

/// Where a table's links led.
enum End {
    /// To a last descriptor.
    Last,
    /// To a descriptor that names an indirect table.
    Indirect(Descriptor),
    /// Out of the table, round in a circle, or into memory that is not there.
    Broken,
}

/// Follows a chain from `head` into `chain`: any number of plain descriptors, then at most one indirect table
/// (virtio 1.2, 2.7.5.3.2).
fn walk(
    table: &VolatileSlice<'_>,
    size: u16,
    head: u16,
    memory: &GuestMemoryMmap,
    chain: &mut Chain,
) {
    let complete = match follow(table, size, head, chain) {
        End::Last => true,
        End::Indirect(descriptor) => walk_indirect(descriptor, memory, chain),
        End::Broken => false,
    };
    if !complete {
        chain.mark_malformed();
    }
}

/// A table inside a table is not allowed (virtio 1.2, 2.7.5.3.1).
fn walk_indirect(descriptor: Descriptor, memory: &GuestMemoryMmap, chain: &mut Chain) -> bool {
    let len = descriptor.len as usize;
    let Ok(entries) = u16::try_from(len / DESCRIPTOR_LEN) else { return false };
    if entries == 0 || entries > CHAIN_LEN_MAX || !len.is_multiple_of(DESCRIPTOR_LEN) {
        return false;
    }
    match memory.get_slice(GuestAddress(descriptor.address), len) {
        Ok(table) => matches!(follow(&table, entries, 0, chain), End::Last),
        Err(_) => false,
    }
}

/// Follows `next` links in one table. A chain longer than its table is a loop.
fn follow(table: &VolatileSlice<'_>, size: u16, first: u16, chain: &mut Chain) -> End {
    let mut index = first;
    for _ in 0..size {
        let found = if index < size { descriptor(table, index) } else { None };
        let Some(found) = found else { return End::Broken };
        let has_next = found.flags & VRING_DESC_F_NEXT != 0;
        if found.flags & VRING_DESC_F_INDIRECT != 0 {
            return if has_next { End::Broken } else { End::Indirect(found) };
        }
        let segment = Segment { address: GuestAddress(found.address), len: found.len };
        if !chain.push(segment, found.flags & VRING_DESC_F_WRITE != 0) {
            return End::Broken;
        }
        if !has_next {
            return End::Last;
        }
        index = found.next;
    }
    End::Broken
}

/// Reads a 16-bit little-endian value at an offset that [`part`] has made sure of.
fn read(slice: &VolatileSlice<'_>, at: usize) -> u16 {
    slice.load::<u16>(at, Ordering::Relaxed).map_or(0, u16::from_le)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u16 = 8;
    const ADDRESSES: Addresses = Addresses {
        descriptors: GuestAddress(0x1000),
        avail: GuestAddress(0x2000),
        used: GuestAddress(0x3000),
    };

    /// A guest that writes whatever it likes.
    struct Guest(GuestMemoryMmap);

    impl Guest {
        fn new() -> Self {
            Self(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap())
        }

        fn describe(
            &self,
            table: u64,
            index: u16,
            (address, len): (u64, u32),
            flags: u16,
            next: u16,
        ) {
            let bytes = [
                &address.to_le_bytes()[..],
                &len.to_le_bytes(),
                &flags.to_le_bytes(),
                &next.to_le_bytes(),
            ];
            let at = GuestAddress(table + 16 * u64::from(index));
            self.0.write_slice(&bytes.concat(), at).unwrap();
        }

        fn offer(&self, heads: &[u16]) {
            for (slot, head) in heads.iter().enumerate() {
                self.0.write_obj(*head, GuestAddress(0x2004 + 2 * slot as u64)).unwrap();
            }
            self.0.write_obj(heads.len() as u16, GuestAddress(0x2002)).unwrap();
        }

        fn ring(&self, event_idx: bool) -> Vring {
            Vring::new(&self.0, ADDRESSES, SIZE, 0, event_idx, None).unwrap()
        }

        fn pop(&self) -> Result<Option<Chain>, RingError> {
            let mut chain = Chain::default();
            let popped = self.ring(false).pop(&self.0, &mut chain)?;
            Ok(popped.then_some(chain))
        }
    }

    #[test]
    fn an_empty_ring_has_nothing() {
        assert!(Guest::new().pop().unwrap().is_none());
    }

    #[test]
    fn a_chain_is_followed_through_plain_descriptors_into_an_indirect_table() {
        let guest = Guest::new();
        guest.describe(0x1000, 5, (0x4000, 16), 1, 2);
        guest.describe(0x1000, 2, (0x5000, 32), 4, 0);
        guest.describe(0x5000, 0, (0x6000, 512), 1, 1);
        guest.describe(0x5000, 1, (0x7000, 1), 2, 0);
        guest.offer(&[5]);
        let chain = guest.pop().unwrap().unwrap();
        assert!(!chain.is_malformed());
        assert_eq!((chain.head(), chain.data_from_guest(), chain.data_to_guest()), (5, 512, 0));
    }

    #[test]
    fn broken_links_give_a_malformed_chain_and_a_living_ring() {
        type Break = fn(&Guest);
        let breaks: [(&str, Break); 7] = [
            ("a loop", |guest| guest.describe(0x1000, 0, (0x4000, 16), 1, 0)),
            ("a next outside the table", |guest| guest.describe(0x1000, 0, (0x4000, 16), 1, 99)),
            ("an indirect table with a next", |guest| {
                guest.describe(0x1000, 0, (0x4000, 16), 5, 1)
            }),
            ("an indirect table of no size", |guest| guest.describe(0x1000, 0, (0x4000, 0), 4, 0)),
            ("an indirect table of an odd size", |guest| {
                guest.describe(0x1000, 0, (0x4000, 17), 4, 0)
            }),
            ("an indirect table outside memory", |guest| {
                guest.describe(0x1000, 0, (1 << 40, 16), 4, 0)
            }),
            ("a table in a table", |guest| {
                guest.describe(0x1000, 0, (0x4000, 16), 4, 0);
                guest.describe(0x4000, 0, (0x4000, 16), 4, 0);
            }),
        ];
        for (what, break_it) in breaks {
            let guest = Guest::new();
            break_it(&guest);
            guest.offer(&[0]);
            assert!(guest.pop().unwrap().unwrap().is_malformed(), "{what}");
        }
    }

    #[test]
    fn a_ring_that_lies_about_itself_is_given_up() {
        let guest = Guest::new();
        guest.offer(&[SIZE]);
        assert_eq!(guest.pop().unwrap_err(), RingError::Head(SIZE, SIZE));
        guest.0.write_obj(SIZE + 1, GuestAddress(0x2002)).unwrap();
        assert_eq!(guest.pop().unwrap_err(), RingError::AvailIndex(SIZE + 1, SIZE));
        let outside = Addresses { used: GuestAddress(0xfff0), ..ADDRESSES };
        let ring = |addresses| Vring::new(&guest.0, addresses, SIZE, 0, false, None).map(|_| ());
        assert_eq!(ring(outside), Err(RingError::Address("used ring")));
        let odd = Addresses { descriptors: GuestAddress(0x1008), ..ADDRESSES };
        assert_eq!(ring(odd), Err(RingError::Address("descriptor table")));
    }

    /// A driver that looks need not wait for the end of a long turn; one that sleeps is woken once, at the end.
    #[test]
    fn many_used_elements_are_shown_before_the_turn_ends_and_told_at_its_end() {
        let guest = Guest::new();
        let mut ring = guest.ring(true);
        let shown = || guest.0.read_obj::<u16>(GuestAddress(0x3002)).unwrap();
        // The driver waits for the third.
        guest.0.write_obj(2u16, GuestAddress(0x2004 + 2 * u64::from(SIZE))).unwrap();
        for n in 0..SHOWN_TOGETHER + 1 {
            assert_eq!(shown(), n / SHOWN_TOGETHER * SHOWN_TOGETHER);
            ring.push_used(&guest.0, n % SIZE, 0).unwrap();
        }
        assert!(ring.has_unpublished());
        assert!(ring.publish(&guest.0).unwrap(), "the third was among them");
        assert_eq!(shown(), SHOWN_TOGETHER + 1);
        ring.push_used(&guest.0, 0, 0).unwrap();
        assert!(!ring.publish(&guest.0).unwrap(), "the third is long told");
    }

    #[test]
    fn what_the_driver_adds_while_a_batch_is_taken_is_taken_after_it() {
        let guest = Guest::new();
        let mut ring = guest.ring(false);
        let mut chain = Chain::default();
        (0..4).for_each(|n| guest.describe(0x1000, n, (0x4000, 16), 0, 0));
        guest.offer(&[3, 1]);
        assert!(ring.pop(&guest.0, &mut chain).unwrap());
        guest.offer(&[3, 1, 2]);
        let rest: Vec<u16> =
            std::iter::from_fn(|| ring.pop(&guest.0, &mut chain).unwrap().then(|| chain.head()))
                .collect();
        assert_eq!((rest, ring.next_avail()), (vec![1, 2], 3));
    }

    #[test]
    fn used_elements_are_shown_together() {
        let guest = Guest::new();
        let mut ring = guest.ring(false);
        ring.push_used(&guest.0, 3, 7).unwrap();
        ring.push_used(&guest.0, 4, 9).unwrap();
        assert!(ring.has_unpublished());
        assert_eq!(guest.0.read_obj::<u16>(GuestAddress(0x3002)).unwrap(), 0);
        assert!(ring.publish(&guest.0).unwrap(), "no flag forbids the interrupt");
        assert_eq!(guest.0.read_obj::<u16>(GuestAddress(0x3002)).unwrap(), 2);
        assert_eq!(guest.0.read_obj::<[u32; 4]>(GuestAddress(0x3004)).unwrap(), [3, 7, 4, 9]);
        guest.0.write_obj(1u16, GuestAddress(0x2000)).unwrap();
        ring.push_used(&guest.0, 5, 0).unwrap();
        assert!(!ring.publish(&guest.0).unwrap(), "the driver wants none");
    }

    #[test]
    fn with_event_indices_the_driver_is_told_when_it_asked() {
        let guest = Guest::new();
        let mut ring = guest.ring(true);
        let used_event = GuestAddress(0x2004 + 2 * u64::from(SIZE));
        guest.0.write_obj(1u16, used_event).unwrap();
        ring.push_used(&guest.0, 0, 0).unwrap();
        assert!(!ring.publish(&guest.0).unwrap(), "index 1 has not been passed");
        ring.push_used(&guest.0, 1, 0).unwrap();
        assert!(ring.publish(&guest.0).unwrap());
        ring.ask_for_kicks(&guest.0, true).unwrap();
        let avail_event = GuestAddress(0x3004 + 8 * u64::from(SIZE));
        assert_eq!(guest.0.read_obj::<u16>(avail_event).unwrap(), 0);
    }

    #[test]
    fn the_wish_for_an_event_is_right_across_the_wrap() {
        // Cases worked out by hand from the picture in virtio 1.2, 2.7.10.
        assert!(needs_event(0, 1, 0));
        assert!(!needs_event(1, 1, 0));
        assert!(needs_event(65535, 0, 65535));
        assert!(needs_event(2, 3, 65530));
        assert!(!needs_event(5, 3, 65530));
    }
}
