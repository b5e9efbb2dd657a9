//! A chain in any cut of descriptors, judged: by the device, and by what virtio 1.2, 5.2.6, says in words.

use arbitrary::{Arbitrary, Unstructured};
use vhost_backend::{
    guest::{Chain, Segment},
    limits::{DISCARD_SECTORS_MAX, REQUEST_LEN_MAX, ZEROES_SECTORS_MAX},
    request::{self, Abilities, Action, Extent, Status},
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Bytes of guest memory, in two regions that touch: a buffer may lie across the seam.
const MEMORY: u64 = 0x2000;

#[derive(Debug, Arbitrary)]
struct Input {
    blocks: u32,
    large_blocks: bool,
    read_only: bool,
    discard: bool,
    punch: bool,
    kind: u8,
    wild_kind: u32,
    sector: Sector,
    ranges: Vec<(Sector, u32, u8)>,
    readable: Vec<Cut>,
    writable: Vec<Cut>,
    swapped: bool,
}

#[derive(Debug, Arbitrary)]
enum Sector {
    Near(u8),
    FromEnd(u8),
    /// Its byte offset wraps around to the beginning.
    Wrapped(u8),
    Wild(u64),
}

#[derive(Debug, Arbitrary)]
enum Cut {
    Short(u8),
    Blocks(u8),
    Long(u32),
    Elsewhere(u64, u32),
}

/// A buffer as the guest laid it out: address, bytes.
type Buffer = (u64, u64);

/// Runs the target.
///
/// # Panics
/// If an oracle is broken.
pub fn run(bytes: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let block: u64 = if input.large_blocks { 4096 } else { 512 };
    let can = Abilities {
        capacity: (u64::from(input.blocks) + 32) * block,
        block_size: block as u32,
        read_only: input.read_only,
        punch: input.discard && input.punch && !input.read_only,
    };
    let half = MEMORY as usize / 2;
    let regions = [(GuestAddress(0), half), (GuestAddress(MEMORY / 2), half)];
    let memory = GuestMemoryMmap::<()>::from_ranges(&regions).expect("memory");
    let said = input.said(&can);
    let (readable, writable) = input.lay_out(&memory, &said, block);
    let mut chain = Chain::default();
    chain.reset(0);
    for (list, to_guest) in [(&readable, false), (&writable, true)] {
        for &(address, len) in list {
            let segment = Segment { address: GuestAddress(address), len: len as u32 };
            assert!(chain.push(segment, to_guest), "the order is right");
        }
    }
    if input.swapped && !writable.is_empty() {
        let late = Segment { address: GuestAddress(0), len: 1 };
        assert!(!chain.push(late, false), "what the device reads comes first");
    }
    judge(&chain, &memory, (&readable, &writable), &can);
    answer(&chain, &memory, &writable);
}

impl Input {
    /// Header and ranges as the guest writes them.
    fn said(&self, can: &Abilities) -> Vec<u8> {
        let kind = [0, 1, 4, 8, 11, 13].get(usize::from(self.kind % 8)).copied();
        let sector = |sector: &Sector| match *sector {
            Sector::Near(n) => u64::from(n) * u64::from(can.block_size) / 512,
            Sector::FromEnd(n) => (can.capacity / 512).saturating_sub(u64::from(n % 32)),
            Sector::Wrapped(n) => (1 << 55) + u64::from(n) * u64::from(can.block_size) / 512,
            Sector::Wild(n) => n,
        };
        let mut said = kind.unwrap_or(self.wild_kind).to_le_bytes().to_vec();
        said.extend([0; 4]);
        said.extend(sector(&self.sector).to_le_bytes());
        for (start, sectors, flags) in &self.ranges {
            said.extend(sector(start).to_le_bytes());
            said.extend(sectors.to_le_bytes());
            said.extend(u32::from(*flags).to_le_bytes());
        }
        said
    }

    /// Lays the buffers one behind the other, and what the guest says into the readable ones.
    fn lay_out(
        &self,
        memory: &GuestMemoryMmap,
        said: &[u8],
        block: u64,
    ) -> (Vec<Buffer>, Vec<Buffer>) {
        let (mut place, mut rest) = (16, said);
        let readable = self.readable.iter().map(|cut| {
            let buffer = lay(cut, block, &mut place);
            let (now, later) = rest.split_at(rest.len().min(buffer.1 as usize));
            // What does not fit into memory stays as it is there.
            let _ = memory.write_slice(now, GuestAddress(buffer.0));
            rest = later;
            buffer
        });
        let readable = readable.collect();
        place = 0x800;
        (readable, self.writable.iter().map(|cut| lay(cut, block, &mut place)).collect())
    }
}

fn lay(cut: &Cut, block: u64, place: &mut u64) -> Buffer {
    let len = match *cut {
        Cut::Short(len) => u64::from(len),
        Cut::Blocks(blocks) => u64::from(blocks % 32) * block,
        Cut::Long(len) => u64::from(len),
        Cut::Elsewhere(address, len) => return (address, u64::from(len)),
    };
    let buffer = (*place, len);
    *place += len;
    buffer
}

/// The bytes of a stream as far as they are in memory, at most `most`.
fn stream(memory: &GuestMemoryMmap, buffers: &[Buffer], most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for &(address, len) in buffers {
        for at in 0..len.min(most - bytes.len() as u64) {
            bytes.push(memory.read_obj(GuestAddress(address.checked_add(at)?)).ok()?);
        }
    }
    Some(bytes)
}

fn judge(
    chain: &Chain,
    memory: &GuestMemoryMmap,
    (readable, writable): (&[Buffer], &[Buffer]),
    can: &Abilities,
) {
    let total = |buffers: &[Buffer]| buffers.iter().map(|(_, len)| len).sum::<u64>();
    let (from_guest, to_guest) =
        (total(readable).saturating_sub(16), total(writable).saturating_sub(1));
    assert_eq!((chain.data_from_guest(), chain.data_to_guest()), (from_guest, to_guest));
    let expected = stream(memory, readable, 16).filter(|bytes| bytes.len() == 16);
    let header = chain.header(memory);
    assert_eq!(header.is_ok(), expected.is_some(), "a header is read if it is there");
    let (Ok(header), Some(expected)) = (header, expected) else { return };
    let mut ranges = Vec::new();
    if header.has_ranges() && from_guest <= 4096 {
        ranges.resize(from_guest as usize, 0);
        if chain.source(memory, 0).gather(&mut ranges).is_err() {
            return;
        }
        let all = stream(memory, readable, 16 + from_guest);
        assert_eq!(all.as_deref().map(|all| &all[16..]), Some(&ranges[..]), "ranges as they lie");
    }
    let mut extents = Vec::new();
    let judged = request::parse(header, from_guest, to_guest, &ranges, can, &mut extents);
    let kind = u32::from_le_bytes([expected[0], expected[1], expected[2], expected[3]]);
    let sector = u64::from_le_bytes(expected[8..].try_into().expect("eight bytes"));
    let should = standard(kind, sector, (from_guest, to_guest), &ranges, can);
    assert_eq!(judged.map(|action| (action, extents)), should, "type {kind} at {sector}");
}

/// What virtio 1.2, 5.2.6, and the limits that the device announces make of a request, in numbers that do not wrap.
fn standard(
    kind: u32,
    sector: u64,
    (from_guest, to_guest): (u64, u64),
    ranges: &[u8],
    can: &Abilities,
) -> Result<(Action, Vec<Extent>), Status> {
    let data = |len: u64| {
        let fits = len <= REQUEST_LEN_MAX && lies_on_disk(sector, len, can);
        if fits { Ok(vec![Extent { start: sector * 512, len }]) } else { Err(Status::IoError) }
    };
    match kind {
        0 => Ok((Action::Read, data(to_guest)?)),
        1 if can.read_only => Err(Status::IoError),
        1 => Ok((Action::Write, data(from_guest)?)),
        4 => Ok((Action::Flush, vec![])),
        8 if to_guest >= 20 => Ok((Action::Id, vec![])),
        8 => Err(Status::IoError),
        11 if can.punch => Ok((Action::Punch, areas(ranges, (0, DISCARD_SECTORS_MAX), can)?.0)),
        13 if !can.read_only => {
            let (extents, unmap) = areas(ranges, (1, ZEROES_SECTORS_MAX), can)?;
            Ok((if unmap && can.punch { Action::Punch } else { Action::Zero }, extents))
        }
        _ => Err(Status::Unsupported),
    }
}

fn lies_on_disk(sector: u64, len: u64, can: &Abilities) -> bool {
    let (start, len) = (u128::from(sector) * 512, u128::from(len));
    let block = u128::from(can.block_size);
    len > 0 && start % block == 0 && len % block == 0 && start + len <= u128::from(can.capacity)
}

/// The areas of a list of ranges whose flags and lengths may be so much, and whether all of them may be unmapped.
fn areas(
    ranges: &[u8],
    (flags_max, sectors_max): (u32, u32),
    can: &Abilities,
) -> Result<(Vec<Extent>, bool), Status> {
    if ranges.is_empty() || !ranges.len().is_multiple_of(16) || ranges.len() / 16 > 16 {
        return Err(Status::IoError);
    }
    let (mut extents, mut unmap) = (Vec::new(), true);
    for range in ranges.chunks(16) {
        let sector = u64::from_le_bytes(range[..8].try_into().expect("eight bytes"));
        let word = |at: usize| u32::from_le_bytes(range[at..at + 4].try_into().expect("four"));
        let (sectors, flags) = (word(8), word(12));
        if flags > flags_max {
            return Err(Status::Unsupported);
        }
        let len = u64::from(sectors) * 512;
        if sectors > sectors_max || !lies_on_disk(sector, len, can) {
            return Err(Status::IoError);
        }
        unmap &= flags == 1;
        extents.push(Extent { start: sector * 512, len });
    }
    Ok((extents, unmap))
}

/// The status is the last writable byte, and nothing else is touched.
fn answer(chain: &Chain, memory: &GuestMemoryMmap, writable: &[Buffer]) {
    let read = || {
        let mut bytes = vec![0; MEMORY as usize];
        memory.read_slice(&mut bytes, GuestAddress(0)).expect("in memory");
        bytes
    };
    let mut expected = read();
    let last = writable.iter().rfind(|(_, len)| *len > 0);
    let place = last.and_then(|(address, len)| address.checked_add(len - 1));
    let place = place.filter(|place| *place < MEMORY);
    assert_eq!(chain.answer(memory, Status::Unsupported).is_ok(), place.is_some());
    if let Some(place) = place {
        expected[place as usize] = 2;
    }
    assert!(read() == expected, "more than the status was written");
}
