//! Memory shared with a device: one region of a memfd, its words at hand as atomics.

use std::{
    fs::File,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::VhostUserMemoryRegionInfo;
use vm_memory::{
    AtomicInteger, FileOffset, GuestAddress, GuestMemoryMmap, MmapRegion, VolatileMemory,
    VolatileSlice,
};

/// Where the device sees the first byte; not zero, which some devices take for "none".
const BASE: u64 = 1 << 20;

/// The memory.
pub struct Memory {
    region: MmapRegion,
    file: Arc<File>,
}

impl Memory {
    /// So many bytes, filled with noise: no page is met for the first time while something is measured, and nothing
    /// that is written compresses or is all zeros.
    ///
    /// # Errors
    /// There is no room.
    pub fn new(len: usize) -> Result<Self> {
        let fd = memfd_create("guest", MemfdFlags::CLOEXEC).context("guest memory")?;
        ftruncate(&fd, len as u64).context("guest memory")?;
        let file = Arc::new(File::from(fd));
        let region = MmapRegion::from_file(FileOffset::from_arc(file.clone(), 0), len)
            .context("mapping guest memory")?;
        let memory = Self { region, file };
        let mut random = fastrand::Rng::with_seed(1);
        for offset in (0..len / 8 * 8).step_by(8) {
            memory.word::<AtomicU64>(offset).store(random.u64(..), Ordering::Relaxed);
        }
        Ok(memory)
    }

    /// How the device is told of it.
    #[must_use]
    pub fn region(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: BASE,
            memory_size: self.region.size() as u64,
            userspace_addr: self.address(0),
            mmap_offset: 0,
            mmap_handle: self.file.as_raw_fd(),
        }
    }

    /// The same memory as a device in this process maps it.
    ///
    /// # Errors
    /// It cannot be mapped once more.
    pub fn device(&self) -> Result<GuestMemoryMmap> {
        let file = FileOffset::from_arc(self.file.clone(), 0);
        let range = (GuestAddress(BASE), self.region.size(), Some(file));
        GuestMemoryMmap::from_ranges_with_files([range]).context("mapping guest memory")
    }

    /// Where this process sees a byte, which is how vhost-user names rings.
    #[must_use]
    pub fn address(&self, offset: usize) -> u64 {
        self.region.as_ptr() as u64 + offset as u64
    }

    /// Where the device sees a byte, which is how descriptors name buffers.
    #[must_use]
    pub fn guest_address(offset: usize) -> u64 {
        BASE + offset as u64
    }

    /// A word.
    ///
    /// # Panics
    /// If it is not in the memory, or not aligned.
    #[must_use]
    #[inline]
    pub fn word<T: AtomicInteger>(&self, offset: usize) -> &T {
        self.region.get_atomic_ref(offset).expect("in memory and aligned")
    }

    /// Some bytes.
    ///
    /// # Panics
    /// If they are not in the memory.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> VolatileSlice<'_> {
        self.region.get_slice(offset, len).expect("in memory")
    }
}
