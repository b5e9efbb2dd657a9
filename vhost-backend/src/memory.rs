//! The guest's memory: regions the front end shares, mapped here, and its addresses translated.

#[allow(unsafe_code)]
pub mod cut;

use std::{fs::File, sync::Arc};

use thiserror::Error;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
};

use crate::limits::MEMORY_REGIONS_MAX;

/// Why a memory table was refused.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The file cannot be mapped so.
    #[error("cannot map a guest memory region: {0}")]
    Map(String),
    /// Regions overlap, or there are too many.
    #[error("guest memory regions overlap, or are more than {MEMORY_REGIONS_MAX}")]
    Regions,
    /// No such region.
    #[error("no guest memory region lies there")]
    Unknown,
    /// An address of the front end's lies in no region.
    #[error("address {0:#x} of the front end lies in no guest memory region")]
    Address(u64),
}

/// Guest memory as the front end told it.
#[derive(Debug, Default)]
pub struct Memory {
    regions: Vec<Region>,
    map: Arc<GuestMemoryMmap>,
}

#[derive(Debug, Clone)]
struct Region {
    guest: u64,
    front_end: u64,
    len: u64,
    mapped: Arc<GuestRegionMmap>,
}

impl Memory {
    /// Replaces all regions (SET_MEM_TABLE).
    ///
    /// # Errors
    /// [`MemoryError`]; the old regions stay then.
    pub fn set(
        &mut self,
        table: &[VhostUserMemoryRegion],
        files: Vec<File>,
    ) -> Result<(), MemoryError> {
        let regions = table.iter().zip(files).map(|(region, file)| map(region, file));
        self.replace(regions.collect::<Result<_, _>>()?)
    }

    /// Adds a region (ADD_MEM_REG).
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn add(&mut self, region: &VhostUserMemoryRegion, file: File) -> Result<(), MemoryError> {
        let mut regions = self.regions.clone();
        regions.push(map(region, file)?);
        self.replace(regions)
    }

    /// Removes a region (REM_MEM_REG).
    ///
    /// # Errors
    /// [`MemoryError::Unknown`].
    pub fn remove(&mut self, region: &VhostUserMemoryRegion) -> Result<(), MemoryError> {
        let (guest, front_end, len) =
            (region.guest_phys_addr, region.user_addr, region.memory_size);
        let mut regions = self.regions.clone();
        regions.retain(|old| (old.guest, old.front_end, old.len) != (guest, front_end, len));
        if regions.len() == self.regions.len() {
            return Err(MemoryError::Unknown);
        }
        self.replace(regions)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// The map to serve from.
    #[must_use]
    pub fn map(&self) -> Arc<GuestMemoryMmap> {
        self.map.clone()
    }

    /// The guest-physical address of an address in the front end's own space.
    ///
    /// # Errors
    /// [`MemoryError::Address`].
    pub fn translate(&self, address: u64) -> Result<GuestAddress, MemoryError> {
        self.regions
            .iter()
            .find_map(|region| {
                let offset = address.checked_sub(region.front_end)?;
                (offset < region.len).then(|| GuestAddress(region.guest + offset))
            })
            .ok_or(MemoryError::Address(address))
    }

    fn replace(&mut self, mut regions: Vec<Region>) -> Result<(), MemoryError> {
        if regions.len() > MEMORY_REGIONS_MAX {
            return Err(MemoryError::Regions);
        }
        regions.sort_by_key(|region| region.guest);
        self.map = if regions.is_empty() {
            Arc::default()
        } else {
            let mapped = regions.iter().map(|region| region.mapped.clone()).collect();
            Arc::new(GuestMemoryMmap::from_arc_regions(mapped).map_err(|_| MemoryError::Regions)?)
        };
        self.regions = regions;
        Ok(())
    }
}

/// How much of a guest's memory is looked at, bytes: firmware, or a kernel, has written to the first of it.
const LOOKED_AT: u64 = 2 << 20;

/// Whether there is nothing but zeros where a guest that runs has something, but for pages of `ours`, from and up to:
/// then it is not its memory. A front end can hand over a file that it has mapped for itself alone.
#[must_use]
pub fn is_blank(map: &GuestMemoryMmap, ours: [u64; 2]) -> bool {
    const PAGE: u64 = 4096;
    let mut page = [0; PAGE as usize];
    let Some(region) = map.iter().next() else { return false };
    let start = region.start_addr().0;
    let pages = (start..start + region.len().min(LOOKED_AT)).step_by(PAGE as usize);
    let mut others = pages.filter(|at| ours[1] <= *at || ours[0] >= at + PAGE);
    others.all(|at| {
        let read = map.read(&mut page, GuestAddress(at)).unwrap_or(0);
        page[..read].iter().all(|&byte| byte == 0)
    })
}

fn map(region: &VhostUserMemoryRegion, file: File) -> Result<Region, MemoryError> {
    let (guest, front_end, len) = (region.guest_phys_addr, region.user_addr, region.memory_size);
    // Touching a mapping behind the end of its file is SIGBUS, the end of the process. `vm-memory` does not look.
    let end = region.mmap_offset.checked_add(len).ok_or(MemoryError::Regions)?;
    let about = file.metadata().map_err(|error| MemoryError::Map(error.to_string()))?;
    if about.is_file() && about.len() < end {
        return Err(MemoryError::Map(format!(
            "its file has {} bytes, the region ends at {end}",
            about.len()
        )));
    }
    let mapping = region.mmap_region(file).map_err(|error| MemoryError::Map(error.to_string()))?;
    let mapped = GuestRegionMmap::new(mapping, GuestAddress(guest)).ok_or(MemoryError::Regions)?;
    Ok(Region { guest, front_end, len, mapped: Arc::new(mapped) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(written: &[u64]) -> GuestMemoryMmap {
        let map = GuestMemoryMmap::from_ranges(&[(GuestAddress(0x1000), 4 << 20)]).unwrap();
        written.iter().for_each(|at| map.write_obj(1u8, GuestAddress(*at)).unwrap());
        map
    }

    #[test]
    fn memory_is_blank_if_only_we_have_written_to_it() {
        let ours = [0x3ff0, 0x4010];
        assert!(is_blank(&memory(&[]), ours));
        assert!(is_blank(&memory(&[0x3ff0, 0x4010]), ours));
        assert!(is_blank(&memory(&[0x1000 + LOOKED_AT]), ours), "no more is looked at");
        for guest in [0x1000, 0x2fff, 0x5000, 0xfff + LOOKED_AT] {
            assert!(!is_blank(&memory(&[guest, 0x3ff0]), ours), "{guest:#x}");
        }
        assert!(!is_blank(&GuestMemoryMmap::default(), ours), "there is nothing to look at");
    }
}
