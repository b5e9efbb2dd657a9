//! What a guest asks, parsed once: from the bytes of a chain to a [`Request`] whose every number has been checked.
//!
//! Pure: no guest memory, no disk. Behind this file nothing is checked again. Layout of requests: virtio 1.2,
//! section 5.2.6.

use std::num::NonZeroU64;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};

use crate::limits::{DISCARD_SECTORS_MAX, RANGES_MAX, REQUEST_LEN_MAX, ZEROES_SECTORS_MAX};

/// Bytes of the request header.
pub const HEADER_LEN: usize = 16;

/// Bytes of one DISCARD or WRITE_ZEROES range.
pub const RANGE_LEN: usize = 16;

/// Bytes of the answer to GET_ID.
pub const ID_LEN: usize = 20;

/// Unit of sector numbers in requests, whatever the block size (virtio 1.2, 5.2.4).
const SECTOR: u64 = 512;

/// The answer in a request's last byte (virtio 1.2, 5.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = VIRTIO_BLK_S_OK as u8,
    /// Failed, or out of range.
    IoError = VIRTIO_BLK_S_IOERR as u8,
    /// Not a request of this device.
    Unsupported = VIRTIO_BLK_S_UNSUPP as u8,
}

/// A run of bytes of the disk; aligned to its block size and inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte, from the start of the guest's disk.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Disk to guest.
    Read,
    /// Guest to disk.
    Write,
    /// Make zeros by writing them encrypted.
    Zero,
    /// Make zeros by giving the space back.
    Punch,
    /// Make completed writes durable.
    Flush,
    /// Tell the disk's id.
    Id,
}

/// What the device can do, for the judgement of a request.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// Bytes of the guest's disk.
    pub capacity: u64,
    /// Block size: 512 or 4096 bytes.
    pub block_size: u32,
    /// Writes are refused.
    pub read_only: bool,
    /// Holes may be punched: DISCARD is offered, and zeros may be made by giving space back.
    pub punch: bool,
}

/// The header of a request, as the guest wrote it.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    kind: u32,
    sector: u64,
}

impl Header {
    /// Reads type, reserved word and sector, little-endian.
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = bytes;
        Self { kind: u32::from_le_bytes([k0, k1, k2, k3]), sector: u64::from_le_bytes(sector) }
    }

    /// Whether the data after the header is a list of ranges that must be read before the request can be judged.
    #[must_use]
    pub fn has_ranges(self) -> bool {
        matches!(self.kind, VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES)
    }
}

/// Judges a request. `readable` and `writable` are the bytes of data each way, without header and status; `ranges` is
/// the data of a DISCARD or WRITE_ZEROES. The extents of the request are appended to `extents`.
///
/// # Errors
/// The status that refuses it.
pub fn parse(
    header: Header,
    readable: u64,
    writable: u64,
    ranges: &[u8],
    can: &Abilities,
    extents: &mut Vec<Extent>,
) -> Result<Action, Status> {
    match header.kind {
        VIRTIO_BLK_T_IN => {
            extents.push(data_extent(header.sector, writable, can)?);
            Ok(Action::Read)
        }
        VIRTIO_BLK_T_OUT if can.read_only => Err(Status::IoError),
        VIRTIO_BLK_T_OUT => {
            extents.push(data_extent(header.sector, readable, can)?);
            Ok(Action::Write)
        }
        VIRTIO_BLK_T_FLUSH => Ok(Action::Flush),
        VIRTIO_BLK_T_GET_ID if writable >= ID_LEN as u64 => Ok(Action::Id),
        VIRTIO_BLK_T_GET_ID => Err(Status::IoError),
        VIRTIO_BLK_T_DISCARD if can.punch => parse_discard(ranges, can, extents),
        VIRTIO_BLK_T_WRITE_ZEROES if !can.read_only => parse_write_zeroes(ranges, can, extents),
        _ => Err(Status::Unsupported),
    }
}

/// Reserved flag bits, UNMAP among them, are an unsupported request (virtio 1.2, 5.2.6.2).
fn parse_discard(
    ranges: &[u8],
    can: &Abilities,
    extents: &mut Vec<Extent>,
) -> Result<Action, Status> {
    for range in split_ranges(ranges)? {
        if range.flags != 0 {
            return Err(Status::Unsupported);
        }
        extents.push(range_extent(&range, DISCARD_SECTORS_MAX, can)?);
    }
    Ok(Action::Punch)
}

/// One request has one action, so its ranges must agree on UNMAP for any of them to be punched; UNMAP is a permission,
/// not an order (virtio 1.2, 5.2.6.2), so the cautious reading is to write zeros.
fn parse_write_zeroes(
    ranges: &[u8],
    can: &Abilities,
    extents: &mut Vec<Extent>,
) -> Result<Action, Status> {
    let mut may_unmap = true;
    for range in split_ranges(ranges)? {
        if range.flags & !VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0 {
            return Err(Status::Unsupported);
        }
        may_unmap &= range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0;
        extents.push(range_extent(&range, ZEROES_SECTORS_MAX, can)?);
    }
    Ok(if may_unmap && can.punch { Action::Punch } else { Action::Zero })
}

/// One range as the guest wrote it.
struct Range {
    sector: u64,
    sectors: u32,
    flags: u32,
}

fn split_ranges(bytes: &[u8]) -> Result<impl Iterator<Item = Range> + '_, Status> {
    let (ranges, rest) = bytes.as_chunks::<RANGE_LEN>();
    if ranges.is_empty() || !rest.is_empty() || ranges.len() > RANGES_MAX as usize {
        return Err(Status::IoError);
    }
    Ok(ranges.iter().map(|range| {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = *range;
        Range {
            sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            sectors: u32::from_le_bytes([n0, n1, n2, n3]),
            flags: u32::from_le_bytes(flags),
        }
    }))
}

fn data_extent(sector: u64, len: u64, can: &Abilities) -> Result<Extent, Status> {
    if len > REQUEST_LEN_MAX {
        return Err(Status::IoError);
    }
    extent(sector, len, can)
}

fn range_extent(range: &Range, sectors_max: u32, can: &Abilities) -> Result<Extent, Status> {
    if range.sectors > sectors_max {
        return Err(Status::IoError);
    }
    extent(range.sector, u64::from(range.sectors) * SECTOR, can)
}

/// The one place where a guest's sector number becomes a byte of the disk.
fn extent(sector: u64, len: u64, can: &Abilities) -> Result<Extent, Status> {
    let len = NonZeroU64::new(len).ok_or(Status::IoError)?.get();
    let start = sector.checked_mul(SECTOR).ok_or(Status::IoError)?;
    let end = start.checked_add(len).ok_or(Status::IoError)?;
    let block = u64::from(can.block_size);
    let aligned = start.is_multiple_of(block) && len.is_multiple_of(block);
    if !aligned || end > can.capacity {
        return Err(Status::IoError);
    }
    Ok(Extent { start, len })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAN: Abilities =
        Abilities { capacity: 1 << 30, block_size: 4096, read_only: false, punch: true };

    fn header(kind: u32, sector: u64) -> Header {
        Header { kind, sector }
    }

    fn judge(
        header: Header,
        readable: u64,
        writable: u64,
        ranges: &[u8],
        can: &Abilities,
    ) -> Result<(Action, Vec<Extent>), Status> {
        let mut extents = Vec::new();
        parse(header, readable, writable, ranges, can, &mut extents).map(|action| (action, extents))
    }

    fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
        [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
    }

    #[test]
    fn the_header_is_little_endian() {
        let bytes = [1, 0, 0, 0, 9, 9, 9, 9, 2, 1, 0, 0, 0, 0, 0, 0];
        let parsed = Header::from_bytes(bytes);
        assert_eq!((parsed.kind, parsed.sector), (1, 258));
    }

    #[test]
    fn a_read_becomes_its_extent() {
        let read = judge(header(0, 8), 0, 8192, &[], &CAN);
        assert_eq!(read, Ok((Action::Read, vec![Extent { start: 4096, len: 8192 }])));
    }

    #[test]
    fn the_last_block_is_inside_and_the_next_is_not() {
        let last = (1 << 30) / 512 - 8;
        assert!(judge(header(1, last), 4096, 0, &[], &CAN).is_ok());
        assert_eq!(judge(header(1, last), 8192, 0, &[], &CAN), Err(Status::IoError));
        assert_eq!(judge(header(1, last + 8), 4096, 0, &[], &CAN), Err(Status::IoError));
    }

    #[test]
    fn a_sector_whose_byte_offset_wraps_to_zero_is_out_of_range() {
        assert_eq!(judge(header(0, 1 << 55), 0, 4096, &[], &CAN), Err(Status::IoError));
        assert_eq!(judge(header(0, u64::MAX), 0, 4096, &[], &CAN), Err(Status::IoError));
    }

    #[test]
    fn a_request_has_its_longest_length_and_no_longer() {
        let longest = |len| judge(header(0, 0), 0, len, &[], &CAN);
        assert!(longest(REQUEST_LEN_MAX).is_ok());
        assert_eq!(longest(REQUEST_LEN_MAX + 4096), Err(Status::IoError));
    }

    #[test]
    fn parts_of_blocks_are_refused() {
        assert_eq!(judge(header(0, 1), 0, 4096, &[], &CAN), Err(Status::IoError));
        assert_eq!(judge(header(0, 8), 0, 512, &[], &CAN), Err(Status::IoError));
        assert_eq!(judge(header(0, 0), 0, 0, &[], &CAN), Err(Status::IoError));
    }

    #[test]
    fn an_unknown_request_is_unsupported() {
        for kind in [2, 3, 5, 6, 9, 10, 12, 14, 0x8000_0000, u32::MAX] {
            assert_eq!(judge(header(kind, 0), 0, 0, &[], &CAN), Err(Status::Unsupported), "{kind}");
        }
    }

    #[test]
    fn a_read_only_disk_refuses_every_kind_of_write() {
        let can = Abilities { read_only: true, punch: false, ..CAN };
        assert_eq!(judge(header(1, 0), 4096, 0, &[], &can), Err(Status::IoError));
        let zeroes = range(0, 8, 0);
        assert_eq!(judge(header(13, 0), 16, 0, &zeroes, &can), Err(Status::Unsupported));
        assert_eq!(judge(header(11, 0), 16, 0, &zeroes, &can), Err(Status::Unsupported));
    }

    #[test]
    fn unmap_decides_between_punching_and_writing_zeros() {
        let action =
            |ranges: &[u8], can: &Abilities| judge(header(13, 0), 16, 0, ranges, can).unwrap().0;
        assert_eq!(action(&range(0, 8, 1), &CAN), Action::Punch);
        assert_eq!(action(&range(0, 8, 0), &CAN), Action::Zero);
        assert_eq!(action(&range(0, 8, 1), &Abilities { punch: false, ..CAN }), Action::Zero);
        assert_eq!(action(&[range(0, 8, 1), range(8, 8, 0)].concat(), &CAN), Action::Zero);
    }

    #[test]
    fn reserved_flags_are_unsupported() {
        assert_eq!(judge(header(11, 0), 16, 0, &range(0, 8, 1), &CAN), Err(Status::Unsupported));
        assert_eq!(judge(header(13, 0), 16, 0, &range(0, 8, 2), &CAN), Err(Status::Unsupported));
    }

    #[test]
    fn ranges_come_whole_and_within_their_number() {
        let one = range(0, 8, 0);
        assert!(judge(header(11, 0), 0, 0, &one.repeat(16), &CAN).is_ok());
        assert_eq!(judge(header(11, 0), 0, 0, &one.repeat(17), &CAN), Err(Status::IoError));
        assert_eq!(judge(header(11, 0), 0, 0, &one[..15], &CAN), Err(Status::IoError));
        assert_eq!(judge(header(11, 0), 0, 0, &[], &CAN), Err(Status::IoError));
        let can = Abilities { capacity: 1 << 40, ..CAN };
        for (kind, longest) in [(11, DISCARD_SECTORS_MAX), (13, ZEROES_SECTORS_MAX)] {
            assert!(judge(header(kind, 0), 0, 0, &range(0, longest, 0), &can).is_ok());
            let long = range(0, longest + 8, 0);
            assert_eq!(judge(header(kind, 0), 0, 0, &long, &can), Err(Status::IoError));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_lies_inside_the_disk(
            kind in prop_oneof![Just(0u32), Just(1), Just(11), Just(13), any::<u32>()],
            sector: u64,
            readable in 0u64..1 << 34,
            writable in 0u64..1 << 34,
            ranges in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok((_, extents)) = judge(header(kind, sector), readable, writable, &ranges, &CAN) {
                for extent in extents {
                    prop_assert!(extent.len > 0);
                    prop_assert!(extent.start.checked_add(extent.len).unwrap() <= CAN.capacity);
                    prop_assert_eq!(extent.start % 4096 + extent.len % 4096, 0);
                }
            }
        }
    }
}
