//! The guest's side of a request: its chain of buffers, and moving bytes between them and ours.
//!
//! The only file of the data path that touches guest data. A chain is two streams of bytes, one each way, however the
//! driver cut them into descriptors (virtio 1.2, 2.7.4.2: the device makes no assumption about the cut).

use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

use crate::request::{HEADER_LEN, Header, Status};

/// One buffer of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Guest-physical address.
    pub address: GuestAddress,
    /// Bytes.
    pub len: u32,
}

/// A buffer of the chain is not in guest memory.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a buffer of the request is not in guest memory")]
pub struct NotInMemory;

/// A chain taken from the avail ring. Its vectors are reused from request to request: none is allocated on the way.
#[derive(Debug, Default)]
pub struct Chain {
    head: u16,
    malformed: bool,
    readable: Stream,
    writable: Stream,
}

/// The buffers of one direction, as one run of bytes.
#[derive(Debug, Default)]
struct Stream {
    segments: Vec<Segment>,
    len: u64,
}

/// A place in a stream; moves forward only.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    segment: usize,
    offset: u32,
}

/// A chain's data from some byte on, in guest memory.
#[derive(Debug)]
pub struct Data<'a> {
    stream: &'a Stream,
    memory: &'a GuestMemoryMmap,
    cursor: Cursor,
}

impl Chain {
    /// Begins a new chain in the old one's memory.
    pub fn reset(&mut self, head: u16) {
        self.head = head;
        self.malformed = false;
        for stream in [&mut self.readable, &mut self.writable] {
            stream.segments.clear();
            stream.len = 0;
        }
    }

    /// Adds a buffer. `false` if the order is wrong: what the device writes comes after all it reads
    /// (virtio 1.2, 2.7.4.2).
    pub fn push(&mut self, segment: Segment, to_guest: bool) -> bool {
        if !to_guest && !self.writable.segments.is_empty() {
            return false;
        }
        let stream = if to_guest { &mut self.writable } else { &mut self.readable };
        stream.segments.push(segment);
        stream.len += u64::from(segment.len);
        true
    }

    /// Notes that the links of the chain are broken. It is given back to the driver unread.
    pub fn mark_malformed(&mut self) {
        self.malformed = true;
    }

    /// Whether the links of the chain are broken.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// The descriptor index that gives the chain back.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Bytes of data from the guest: what is readable after the header.
    #[must_use]
    pub fn data_from_guest(&self) -> u64 {
        self.readable.len.saturating_sub(HEADER_LEN as u64)
    }

    /// Bytes of data to the guest: what is writable before the status byte.
    #[must_use]
    pub fn data_to_guest(&self) -> u64 {
        self.writable.len.saturating_sub(1)
    }

    /// Copies the request header, once.
    ///
    /// # Errors
    /// [`NotInMemory`], also if the chain is too short for one.
    pub fn header(&self, memory: &GuestMemoryMmap) -> Result<Header, NotInMemory> {
        let mut bytes = [0; HEADER_LEN];
        let mut start = Cursor { segment: 0, offset: 0 };
        self.readable.copy_out(memory, &mut start, &mut bytes)?;
        Ok(Header::from_bytes(bytes))
    }

    /// The data from the guest, from byte `at` on.
    #[must_use]
    pub fn source<'a>(&'a self, memory: &'a GuestMemoryMmap, at: u64) -> Data<'a> {
        self.readable.data(memory, at + HEADER_LEN as u64)
    }

    /// Where data to the guest goes, from byte `at` on.
    #[must_use]
    pub fn destination<'a>(&'a self, memory: &'a GuestMemoryMmap, at: u64) -> Data<'a> {
        self.writable.data(memory, at)
    }

    /// Where the first `len` bytes of data to the guest and the status lie: addresses and lengths.
    pub fn places(&self, len: u64) -> impl Iterator<Item = (GuestAddress, u64)> + '_ {
        let status = self.writable.len.saturating_sub(1);
        let parts = [(0, len.min(status)), (status, 1)];
        let mut at = 0;
        self.writable.segments.iter().flat_map(move |segment| {
            let (start, end) = (at, at + u64::from(segment.len));
            at = end;
            let address = segment.address;
            parts.into_iter().filter_map(move |(from, count)| {
                let (from, to) = (from.max(start), (from + count).min(end));
                let place = GuestAddress(address.0.saturating_add(from - start));
                (from < to).then(|| (place, to - from))
            })
        })
    }

    /// Writes the status into the chain's last byte.
    ///
    /// # Errors
    /// [`NotInMemory`], also if there is no writable byte.
    pub fn answer(&self, memory: &GuestMemoryMmap, status: Status) -> Result<(), NotInMemory> {
        let last = self.writable.len.checked_sub(1).ok_or(NotInMemory)?;
        let mut place = self.writable.seek(last);
        self.writable.copy_in(memory, &mut place, &[status as u8])
    }
}

impl<'a> Data<'a> {
    /// Gathers the next `into.len()` bytes of the guest's data. The guest may change them at any time: they are read
    /// once, and what was read is what is used.
    ///
    /// # Errors
    /// [`NotInMemory`].
    pub fn gather(&mut self, into: &mut [u8]) -> Result<(), NotInMemory> {
        self.stream.copy_out(self.memory, &mut self.cursor, into)
    }

    /// Scatters `bytes` over the next bytes of the guest's buffers.
    ///
    /// # Errors
    /// [`NotInMemory`].
    pub fn scatter(&mut self, bytes: &[u8]) -> Result<(), NotInMemory> {
        self.stream.copy_in(self.memory, &mut self.cursor, bytes)
    }

    /// The next bytes as they lie in guest memory: as many whole `unit`s as lie together, `len` bytes at most. `None`
    /// if there is not even one, or it is not in memory: then they are to be gathered or scattered.
    pub fn straight(&mut self, unit: usize, len: usize) -> Option<VolatileSlice<'a>> {
        let mut cursor = self.cursor;
        let (address, run) = self.stream.advance(&mut cursor, len).ok()?;
        let whole = run - run % unit;
        if whole == 0 {
            return None;
        }
        let slice = self.memory.get_slice(address, whole).ok()?;
        cursor.offset -= u32::try_from(run - whole).ok()?;
        self.cursor = cursor;
        Some(slice)
    }
}

impl Stream {
    fn data<'a>(&'a self, memory: &'a GuestMemoryMmap, at: u64) -> Data<'a> {
        Data { stream: self, memory, cursor: self.seek(at) }
    }

    fn seek(&self, at: u64) -> Cursor {
        let mut left = at;
        for (segment, found) in self.segments.iter().enumerate() {
            if left < u64::from(found.len) {
                return Cursor { segment, offset: u32::try_from(left).unwrap_or(u32::MAX) };
            }
            left -= u64::from(found.len);
        }
        Cursor { segment: self.segments.len(), offset: 0 }
    }

    /// The longest run at the cursor, at most `len` bytes; moves the cursor past it.
    fn advance(
        &self,
        cursor: &mut Cursor,
        len: usize,
    ) -> Result<(GuestAddress, usize), NotInMemory> {
        loop {
            let segment = self.segments.get(cursor.segment).ok_or(NotInMemory)?;
            let left = segment.len - cursor.offset;
            if left == 0 {
                *cursor = Cursor { segment: cursor.segment + 1, offset: 0 };
                continue;
            }
            let run = len.min(left as usize);
            let address =
                segment.address.0.checked_add(u64::from(cursor.offset)).ok_or(NotInMemory)?;
            cursor.offset += u32::try_from(run).map_err(|_| NotInMemory)?;
            return Ok((GuestAddress(address), run));
        }
    }

    fn copy_out(
        &self,
        memory: &GuestMemoryMmap,
        cursor: &mut Cursor,
        mut into: &mut [u8],
    ) -> Result<(), NotInMemory> {
        while !into.is_empty() {
            let (address, run) = self.advance(cursor, into.len())?;
            let (now, later) = into.split_at_mut(run);
            memory.read_slice(now, address).map_err(|_| NotInMemory)?;
            into = later;
        }
        Ok(())
    }

    fn copy_in(
        &self,
        memory: &GuestMemoryMmap,
        cursor: &mut Cursor,
        mut bytes: &[u8],
    ) -> Result<(), NotInMemory> {
        while !bytes.is_empty() {
            let (address, run) = self.advance(cursor, bytes.len())?;
            let (now, later) = bytes.split_at(run);
            memory.write_slice(now, address).map_err(|_| NotInMemory)?;
            bytes = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn memory() -> GuestMemoryMmap {
        // Two regions that touch: a buffer may lie across the seam.
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x8000), (GuestAddress(0x8000), 0x8000)])
            .unwrap()
    }

    fn chain(readable: &[(u64, u32)], writable: &[(u64, u32)]) -> Chain {
        let mut chain = Chain::default();
        for (list, to_guest) in [(readable, false), (writable, true)] {
            for &(address, len) in list {
                assert!(chain.push(Segment { address: GuestAddress(address), len }, to_guest));
            }
        }
        chain
    }

    #[test]
    fn a_header_may_be_cut_anywhere() {
        let memory = memory();
        memory.write_slice(&[1, 0, 0], GuestAddress(0x100)).unwrap();
        memory.write_slice(&[0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], GuestAddress(0x7ffa)).unwrap();
        let whole = chain(&[(0x100, 3), (0x50, 0), (0x7ffa, 13)], &[]);
        let expected = Header::from_bytes([1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(format!("{:?}", whole.header(&memory).unwrap()), format!("{expected:?}"));
    }

    #[test]
    fn a_short_header_is_not_in_memory() {
        assert!(chain(&[(0, 15)], &[]).header(&memory()).is_err());
    }

    #[test]
    fn the_status_is_the_last_byte_even_behind_an_empty_buffer() {
        let memory = memory();
        let chain = chain(&[], &[(0x100, 8), (0x200, 1), (0x300, 0)]);
        chain.answer(&memory, Status::Unsupported).unwrap();
        let status: u8 = memory.read_obj(GuestAddress(0x200)).unwrap();
        assert_eq!(status, 2);
        assert_eq!(chain.data_to_guest(), 8);
    }

    #[test]
    fn without_a_writable_byte_there_is_no_answer() {
        assert_eq!(chain(&[(0, 16)], &[]).answer(&memory(), Status::Ok), Err(NotInMemory));
        assert_eq!(chain(&[], &[(0x10000, 1)]).answer(&memory(), Status::Ok), Err(NotInMemory));
    }

    #[test]
    fn what_the_device_reads_comes_first() {
        let mut chain = chain(&[], &[(0, 1)]);
        assert!(!chain.push(Segment { address: GuestAddress(8), len: 1 }, false));
    }

    #[test]
    fn places_are_where_data_and_status_were_written() {
        let memory = memory();
        let chain = chain(&[], &[(0x1ffe, 4), (0x5000, 0), (0x3000, 8), (0x4000, 5)]);
        chain.destination(&memory, 0).scatter(&[7; 10]).unwrap();
        chain.answer(&memory, Status::Unsupported).unwrap();
        let mut told: Vec<u64> = Vec::new();
        for (address, len) in chain.places(10) {
            told.extend(address.0..address.0 + len);
        }
        let mut bytes = vec![0; 0x1_0000];
        memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
        let mut found: Vec<u64> =
            (0..).zip(bytes).filter(|&(_, byte)| byte != 0).map(|(at, _)| at).collect();
        told.sort_unstable();
        found.sort_unstable();
        assert_eq!(told, found);
        assert_eq!(found.len(), 11);
        // All that is writable, and no more, however much is asked for.
        assert_eq!(chain.places(u64::MAX).map(|(_, len)| len).sum::<u64>(), 17);
    }

    #[test]
    fn an_address_that_wraps_is_not_in_memory() {
        let chain = chain(&[], &[(u64::MAX - 1, 0x100)]);
        let memory = memory();
        assert_eq!(chain.destination(&memory, 0x10).scatter(&[1]), Err(NotInMemory));
        assert!(chain.destination(&memory, 0x10).straight(1, 1).is_none());
    }

    proptest! {
        #[test]
        fn what_is_scattered_is_gathered(
            lens in proptest::collection::vec(0u32..700, 1..12),
            at in 0u64..64,
        ) {
            let memory = memory();
            let list: Vec<(u64, u32)> =
                lens.iter().enumerate().map(|(n, &len)| (0x7000 + 1000 * n as u64, len)).collect();
            let total: usize = lens.iter().map(|&len| len as usize).sum();
            prop_assume!(total > at as usize + HEADER_LEN);
            let bytes: Vec<u8> =
                (0..total - at as usize - HEADER_LEN).map(|n| (n % 251) as u8).collect();
            let writes = chain(&[], &list);
            writes.destination(&memory, at + HEADER_LEN as u64).scatter(&bytes).unwrap();
            let reads = chain(&list, &[]);
            let mut from = reads.source(&memory, at);
            let mut back = vec![0; bytes.len()];
            for piece in back.chunks_mut(97) {
                from.gather(piece).unwrap();
            }
            prop_assert_eq!(&back, &bytes);
            // The same, straight where units of 32 bytes lie together.
            let (mut from, mut left) = (reads.source(&memory, at), &mut back[..]);
            left.fill(0xee);
            while !left.is_empty() {
                let len = match from.straight(32, left.len()) {
                    Some(run) => {
                        prop_assert!(run.len().is_multiple_of(32) && run.len() <= left.len());
                        run.copy_to(&mut left[..run.len()])
                    }
                    None => {
                        let len = left.len().min(32);
                        from.gather(&mut left[..len]).unwrap();
                        len
                    }
                };
                left = &mut left[len..];
            }
            prop_assert_eq!(back, bytes);
        }
    }
}
