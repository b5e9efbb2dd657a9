//! An operation as a plain system call.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut},
};

use rustix::{
    fs::{FallocateFlags, fallocate, fdatasync},
    io::{Errno, ReadWriteFlags, pread, preadv2, pwrite, pwritev2},
};

use super::Operation;

/// Does an operation, or what is left of it, by one call: the bytes it moved, or why not. `flags` are for reads and
/// writes only. Whether a write has to be durable is theirs to say.
pub(super) fn call(
    image: &File,
    operation: &mut Operation,
    flags: ReadWriteFlags,
) -> Result<usize, Errno> {
    match operation {
        Operation::Read { into, at, len, done } => {
            let (place, from) = (&mut into.bytes_mut()[*done..*len], *at + *done as u64);
            if flags.is_empty() {
                pread(image, place, from)
            } else {
                preadv2(image, &mut [IoSliceMut::new(place)], from, flags)
            }
        }
        Operation::Write { from, at, done, .. } => {
            let (bytes, to) = (&from.bytes()[*done..], *at + *done as u64);
            if flags.is_empty() {
                pwrite(image, bytes, to)
            } else {
                pwritev2(image, &[IoSlice::new(bytes)], to, flags)
            }
        }
        Operation::Sync => fdatasync(image).map(|()| 0),
        Operation::Punch { at, len } => {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(image, hole, *at, *len).map(|()| 0)
        }
    }
}
