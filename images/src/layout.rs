//! Where a guest sector lies in the image. Pure arithmetic, all of it checked.

use thiserror::Error;

use crate::{limits::DATA_LEN_MAX, size};

/// The unit in which guests, dm-crypt and XTS tweaks count, bytes, whatever the data unit is.
pub const SECTOR_LEN: u64 = 512;

/// Data unit of the cipher and block size of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectorSize {
    /// 512 bytes: existing partition tables and boot firmware.
    B512,
    /// 4096 bytes.
    B4096,
}

impl SectorSize {
    /// Both, for tests and tables.
    pub const ALL: [Self; 2] = [Self::B512, Self::B4096];

    /// From bytes; `None` for any other number than 512 and 4096.
    #[must_use]
    pub fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// In units of 512 bytes: how far apart the tweaks of neighbouring data units are (plain64).
    #[must_use]
    pub const fn sectors(self) -> u64 {
        self.bytes() as u64 / SECTOR_LEN
    }
}

/// Why a request does not lie on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutOfRange {
    /// Begins or ends inside a data unit.
    #[error("sector {sector} with {len} bytes does not lie on the disk's {unit}-byte blocks")]
    Unaligned {
        /// First sector, 512-byte units.
        sector: u64,
        /// Bytes.
        len: u64,
        /// Bytes of a data unit.
        unit: u32,
    },
    /// Ends behind the disk.
    #[error("sector {sector} with {len} bytes ends behind the disk's {capacity} sectors")]
    Beyond {
        /// First sector, 512-byte units.
        sector: u64,
        /// Bytes.
        len: u64,
        /// The disk, 512-byte units.
        capacity: u64,
    },
}

/// Why a shape is not a disk's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadShape {
    /// No data, or more than the limit.
    #[error(
        "a disk of {0} bytes: it must be between one sector and {max}",
        max = size::show(DATA_LEN_MAX)
    )]
    Size(u64),
    /// The data area is not whole sectors.
    #[error("{size} bytes are not a multiple of the sector size {unit}: {}", whole_sectors(*size, *unit))]
    Fraction {
        /// Bytes.
        size: u64,
        /// Bytes of a sector.
        unit: u32,
    },
    /// The data area begins at an odd place.
    #[error("a data area at byte {0}: it must lie on 4096 bytes and within {DATA_LEN_MAX}")]
    Offset(u64),
}

/// Sizes nearby that can be had. Whoever asks for less than a sector has left a unit out.
fn whole_sectors(size: u64, unit: u32) -> String {
    let unit = u64::from(unit);
    let below = size / unit * unit;
    match below {
        0 => format!("use {unit}; a size without a unit is in bytes, 10G is 10 GiB"),
        below => format!("use {below} or {}", below + unit),
    }
}

/// The data area of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    sector_size: SectorSize,
    data_offset: u64,
    size: u64,
}

impl Layout {
    /// A data area of `size` bytes at byte `data_offset` of the image.
    ///
    /// # Errors
    /// [`BadShape`]; no later arithmetic on this layout can overflow.
    pub fn new(sector_size: SectorSize, data_offset: u64, size: u64) -> Result<Self, BadShape> {
        let unit = sector_size.bytes();
        if size == 0 || size > DATA_LEN_MAX {
            return Err(BadShape::Size(size));
        }
        if !size.is_multiple_of(u64::from(unit)) {
            return Err(BadShape::Fraction { size, unit });
        }
        Self::check_offset(data_offset)?;
        Ok(Self { sector_size, data_offset, size })
    }

    /// Whether a data area may begin at this byte.
    ///
    /// # Errors
    /// [`BadShape::Offset`].
    pub fn check_offset(data_offset: u64) -> Result<(), BadShape> {
        if data_offset > DATA_LEN_MAX || !data_offset.is_multiple_of(4096) {
            return Err(BadShape::Offset(data_offset));
        }
        Ok(())
    }

    /// Data unit and block size.
    #[must_use]
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// First byte of the data area in the image.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Bytes of the data area.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The disk in units of 512 bytes, as virtio states it.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.size / SECTOR_LEN
    }

    /// Where `len` bytes from guest sector `sector` (512-byte units) begin in the image, bytes. `sector` is also
    /// their first tweak.
    ///
    /// # Errors
    /// [`OutOfRange`]; a length of zero is in range wherever its sector is, the end of the disk included.
    pub fn locate(&self, sector: u64, len: u64) -> Result<u64, OutOfRange> {
        let unit = self.sector_size;
        if !sector.is_multiple_of(unit.sectors()) || !len.is_multiple_of(u64::from(unit.bytes())) {
            let unit = unit.bytes();
            return Err(OutOfRange::Unaligned { sector, len, unit });
        }
        let capacity = self.capacity();
        match sector.checked_add(len / SECTOR_LEN) {
            Some(end) if end <= capacity => Ok(self.data_offset + sector * SECTOR_LEN),
            _ => Err(OutOfRange::Beyond { sector, len, capacity }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disk(sector_size: SectorSize) -> Layout {
        Layout::new(sector_size, 16 << 20, 1 << 20).unwrap()
    }

    #[test]
    fn a_sector_lies_behind_the_header() {
        let layout = disk(SectorSize::B512);
        assert_eq!(layout.capacity(), 2048);
        assert_eq!(layout.locate(0, 512), Ok(16 << 20));
        assert_eq!(layout.locate(2047, 512), Ok((17 << 20) - 512));
    }

    #[test]
    fn the_end_is_the_end() {
        let layout = disk(SectorSize::B512);
        assert!(layout.locate(2048, 0).is_ok());
        for (sector, len) in [(2048, 512), (2047, 1024), (u64::MAX, 512), (1, u64::MAX - 511)] {
            assert!(layout.locate(sector, len).is_err(), "{sector} {len}");
        }
    }

    #[test]
    fn a_4096_disk_takes_whole_blocks_only() {
        let layout = disk(SectorSize::B4096);
        assert!(layout.locate(8, 4096).is_ok());
        assert!(matches!(layout.locate(1, 4096), Err(OutOfRange::Unaligned { .. })));
        assert!(matches!(layout.locate(8, 512), Err(OutOfRange::Unaligned { .. })));
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let shape = |offset, size| Layout::new(SectorSize::B4096, offset, size);
        assert_eq!(shape(0, 0), Err(BadShape::Size(0)));
        assert_eq!(shape(0, DATA_LEN_MAX + 4096), Err(BadShape::Size(DATA_LEN_MAX + 4096)));
        assert!(matches!(shape(512, 4096), Err(BadShape::Offset(512))));
        let fraction = shape(0, 5000).unwrap_err();
        assert_eq!(
            fraction.to_string(),
            "5000 bytes are not a multiple of the sector size 4096: use 4096 or 8192"
        );
        // No size that is advised is one that is refused.
        let tiny = Layout::new(SectorSize::B512, 0, 10).unwrap_err();
        assert_eq!(
            tiny.to_string(),
            "10 bytes are not a multiple of the sector size 512: use 512; a size without a unit is in bytes, 10G is 10 GiB"
        );
    }

    proptest! {
        #[test]
        fn what_is_located_lies_inside(sector: u64, len: u64, size in 1u64..1 << 50) {
            let size = size * 512;
            let layout = Layout::new(SectorSize::B512, 1 << 20, size).unwrap();
            let (sector, len) = (sector >> (sector % 64), (len >> (len % 64)) & !511);
            let inside = u128::from(sector) * 512 + u128::from(len) <= u128::from(size);
            match layout.locate(sector, len) {
                Ok(offset) => {
                    prop_assert!(inside);
                    prop_assert_eq!(offset, (1 << 20) + sector * 512);
                }
                Err(_) => prop_assert!(!inside),
            }
        }
    }
}
