//! Which pages of guest memory the device has written: a front end that copies the memory elsewhere while the VM runs
//! must copy those once more (vhost-user, "Migration": one bit for each 4096 bytes of guest-physical addresses).
//!
//! A page is marked after it was written. A front end that took the mark before it copied the page has copied the new
//! bytes, or finds the next mark; and it looks for the last time when every ring has stopped.

use std::{
    fs::File,
    sync::{Arc, atomic::Ordering},
};

use thiserror::Error;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, MmapRegion, VolatileMemory,
    mmap::MmapRegionError,
};

use crate::memory::cut;

/// Bytes of guest memory that one bit stands for (`VHOST_LOG_PAGE`).
const PAGE: u64 = 4096;

/// Why a log cannot be used.
#[derive(Debug, Error)]
pub enum LogError {
    /// Its file ends before.
    #[error("a log of {0} bytes in a file that ends before")]
    Short(u64),
    /// It could be cut off under us.
    #[error(
        "a log that is not sealed against shrinking: make it a memfd with F_SEAL_SHRINK, as front ends do"
    )]
    Unsealed,
    /// There is memory without a bit.
    #[error(
        "a log of {0} bytes, and guest memory reaches up to page {1}: one bit a page of 4096 bytes"
    )]
    TooSmall(u64, u64),
    /// The system refused.
    #[error("mapping the log: {0}")]
    Map(#[from] MmapRegionError),
    /// The file.
    #[error("the log's file: {0}")]
    File(#[from] std::io::Error),
}

/// A log, mapped.
#[derive(Debug, Clone)]
pub struct Log(Arc<MmapRegion>);

impl Log {
    /// Maps `len` bytes of a file from `offset` on, for all of `memory`.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn map(
        file: File,
        (offset, len): (u64, u64),
        memory: &GuestMemoryMmap,
    ) -> Result<Self, LogError> {
        if !cut::cannot_be(&file) {
            return Err(LogError::Unsealed);
        }
        let end = offset.checked_add(len).ok_or(LogError::Short(len))?;
        if file.metadata()?.len() < end {
            return Err(LogError::Short(len));
        }
        let pages = if memory.num_regions() == 0 { 0 } else { memory.last_addr().0 / PAGE + 1 };
        if pages.div_ceil(8) > len {
            return Err(LogError::TooSmall(len, pages));
        }
        let len = usize::try_from(len).map_err(|_| LogError::Short(len))?;
        Ok(Self(Arc::new(MmapRegion::from_file(FileOffset::new(file, offset), len)?)))
    }

    /// Notes that `len` bytes from `address` on were written. What lies behind the log's end is no memory that was
    /// there when it came.
    pub fn mark(&self, address: GuestAddress, len: u64) {
        let Some(last) = len.checked_sub(1).and_then(|rest| address.0.checked_add(rest)) else {
            return;
        };
        for page in address.0 / PAGE..=last / PAGE {
            let byte = usize::try_from(page / 8).unwrap_or(usize::MAX);
            let Ok(bits) = self.0.get_atomic_ref::<std::sync::atomic::AtomicU8>(byte) else {
                return;
            };
            // Release: who sees the mark sees the page.
            bits.fetch_or(1 << (page % 8), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    use super::*;
    use crate::vring::{Addresses, Vring};

    const MEMORY: usize = 64 << 12;

    fn sealed(len: u64) -> File {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file: File = memfd_create("log", flags).unwrap().into();
        file.set_len(len).unwrap();
        fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
        file
    }

    fn memory() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0x10_0000), MEMORY)]).unwrap()
    }

    fn log(len: u64) -> (File, Result<Log, LogError>) {
        let file = sealed(4096 + len);
        let log = Log::map(file.try_clone().unwrap(), (4096, len), &memory());
        (file, log)
    }

    fn marked(file: &File) -> Vec<u64> {
        let mut bytes = vec![0; 64];
        let _ = file.read_at(&mut bytes, 4096).unwrap();
        (0..512)
            .filter(|page| bytes[page / 8] & 1 << (page % 8) != 0)
            .map(|page| page as u64)
            .collect()
    }

    #[test]
    fn a_page_has_its_bit_and_a_part_of_it_is_enough() {
        let (file, log) = log(64);
        let log = log.unwrap();
        log.mark(GuestAddress(0x10_0000), 1);
        log.mark(GuestAddress(0x10_2fff), 2);
        log.mark(GuestAddress(0x10_5000), 8192);
        log.mark(GuestAddress(0x10_9000), 0);
        // Pages count from address zero on: 1 MiB is 256.
        assert_eq!(marked(&file), [256, 258, 259, 261, 262]);
    }

    #[test]
    fn an_avail_ring_into_which_a_request_was_put_back_is_marked() {
        let (file, log) = log(64);
        let memory = memory();
        let [descriptors, avail, used] = [0x10_0000, 0x10_1000, 0x10_2000].map(GuestAddress);
        let addresses = Addresses { descriptors, avail, used };
        let mut ring = Vring::new(&memory, addresses, 8, 1, false, None).unwrap();
        ring.set_log(Some(log.unwrap()));
        ring.put_back(&memory, vec![]).unwrap();
        assert_eq!(marked(&file), [258]);
        ring.put_back(&memory, vec![0]).unwrap();
        assert_eq!(marked(&file), [257, 258]);
    }

    #[test]
    fn what_is_no_memory_of_ours_is_not_marked() {
        let (file, log) = log(40);
        let log = log.unwrap();
        log.mark(GuestAddress(40 * 8 * 4096), 4096);
        log.mark(GuestAddress(u64::MAX), 2);
        log.mark(GuestAddress(u64::MAX - 4096), 4096);
        assert!(marked(&file).is_empty());
    }

    #[test]
    fn a_log_that_is_too_small_or_cut_off_or_could_be_is_refused() {
        // Memory ends at page 320, whose bit would be the first of byte 40.
        assert!(matches!(log(39).1, Err(LogError::TooSmall(39, 320))));
        assert!(log(40).1.is_ok());
        let file = sealed(4096);
        assert!(matches!(Log::map(file, (4000, 97), &memory()), Err(LogError::Short(97))));
        let huge = Log::map(sealed(0), (u64::MAX, 2), &memory());
        assert!(matches!(huge, Err(LogError::Short(2))));
        let open: File = memfd_create("open", MemfdFlags::ALLOW_SEALING).unwrap().into();
        open.set_len(40).unwrap();
        assert!(matches!(Log::map(open, (0, 40), &memory()), Err(LogError::Unsealed)));
    }
}
