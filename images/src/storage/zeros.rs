//! Zeros on a block device: by its own means if it has any, else by writing (blkdev_fallocate).

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

/// The largest block that a device counts in, bytes. What begins or ends inside one it does not zero by itself.
const BLOCK_LEN: u64 = 4096;

/// Zeros a part of the device.
///
/// # Errors
/// What the system says.
pub(crate) fn write(device: &File, part: Range<u64>) -> io::Result<()> {
    let first = part.start.next_multiple_of(BLOCK_LEN).min(part.end);
    let last = (part.end / BLOCK_LEN * BLOCK_LEN).max(first);
    for piece in [part.start..first, first..last, last..part.end] {
        match by_the_kernel(device, &piece) {
            // The rest of a block is written through the page cache, as is all else of a disk with smaller sectors.
            Err(Errno::INVAL) if piece.end - piece.start < BLOCK_LEN => {
                device.write_all_at(&vec![0; (piece.end - piece.start) as usize], piece.start)?;
            }
            done => done?,
        }
    }
    Ok(())
}

fn by_the_kernel(device: &File, part: &Range<u64>) -> Result<(), Errno> {
    if part.is_empty() {
        return Ok(());
    }
    let (at, len) = (part.start, part.end - part.start);
    let keep = FallocateFlags::KEEP_SIZE;
    fallocate(device, FallocateFlags::PUNCH_HOLE | keep, at, len)
        .or_else(|_| fallocate(device, FallocateFlags::ZERO_RANGE | keep, at, len))
}
