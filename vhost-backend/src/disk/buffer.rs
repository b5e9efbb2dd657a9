//! I/O buffers: a fixed, aligned pool for each queue, and the two states of a buffer.
//!
//! [`Blank`] may be read into; [`Ciphertext`] may be written out or opened. No plaintext ever enters the pool:
//! writes are sealed on their way in, reads are opened on their way out (see [`crate::seal`]). One of the files
//! where `unsafe` lives.

use std::{
    fmt,
    ptr::{self, NonNull},
};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use crate::limits::{BUFFER_LEN, BUFFERS, LARGE_BUFFERS, POOL_LEN, SMALL_BUFFER_LEN};

/// The buffers of one queue, of two sizes; last in first out, so that a lightly loaded queue stays in the cache.
pub struct Pool {
    memory: NonNull<u8>,
    large: Vec<Raw>,
    small: Vec<Raw>,
}

/// One buffer's slice of the pool; exactly one exists for each index.
struct Raw {
    index: u16,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a `Raw` is the only handle of its slice of the mapping; moving it to another thread moves the access.
unsafe impl Send for Raw {}
// SAFETY: the pool owns the mapping and the free handles; nothing in it is tied to a thread.
unsafe impl Send for Pool {}

/// A buffer without meaning: old ciphertext, or zeros.
pub struct Blank(Raw);

/// A buffer whose first `len` bytes are ciphertext.
pub struct Ciphertext {
    raw: Raw,
    len: usize,
}

impl Pool {
    /// Maps the buffers of one queue: [`LARGE_BUFFERS`] of [`BUFFER_LEN`] bytes and
    /// [`SMALL_BUFFERS`](crate::limits::SMALL_BUFFERS) of [`SMALL_BUFFER_LEN`], page-aligned, zero.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
        let memory = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                POOL_LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        // Miri watches over pointers, and knows no advice.
        if !cfg!(miri) {
            // SAFETY: the range is the mapping just made. Buffers that the disk writes must not be shared with a child.
            unsafe { mm::madvise(memory, POOL_LEN, Advice::LinuxDontFork)? };
        }
        let memory = NonNull::new(memory.cast::<u8>()).expect("mmap never returns null");
        let raw = |index| {
            let (offset, len) = place(index);
            // SAFETY: every place is inside the mapping.
            let start = unsafe { memory.add(offset) };
            Raw { index: index as u16, start, len }
        };
        let large = (0..LARGE_BUFFERS).rev().map(raw).collect();
        let small = (LARGE_BUFFERS..BUFFERS).rev().map(raw).collect();
        Ok(Self { memory, large, small })
    }

    /// Takes a buffer for `len` bytes, if one is free.
    pub fn take(&mut self, len: usize) -> Option<Blank> {
        let small = if len <= SMALL_BUFFER_LEN { self.small.pop() } else { None };
        small.or_else(|| self.large.pop()).map(Blank)
    }

    /// Gives a buffer back.
    pub fn give(&mut self, blank: Blank) {
        let free = if blank.0.len == BUFFER_LEN { &mut self.large } else { &mut self.small };
        free.push(blank.0);
    }

    /// Whether a buffer is free.
    #[must_use]
    pub fn has_free(&self) -> bool {
        !self.large.is_empty() || !self.small.is_empty()
    }

    /// The buffers as (address, bytes), in order of index, for registration with the kernel.
    #[must_use]
    pub fn slices(&self) -> Vec<(*mut u8, usize)> {
        let slice = |(offset, len)| (self.memory.as_ptr().wrapping_add(offset), len);
        (0..BUFFERS).map(place).map(slice).collect()
    }

    fn free(&self) -> usize {
        self.large.len() + self.small.len()
    }
}

/// Where in the pool's memory a buffer lies, and its bytes: the large ones first.
fn place(index: usize) -> (usize, usize) {
    match index.checked_sub(LARGE_BUFFERS) {
        None => (index * BUFFER_LEN, BUFFER_LEN),
        Some(small) => (LARGE_BUFFERS * BUFFER_LEN + small * SMALL_BUFFER_LEN, SMALL_BUFFER_LEN),
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A buffer that is not here may still be written by the kernel: leaking its memory is the lesser harm.
        if self.free() == BUFFERS {
            // SAFETY: every handle is here, so nothing refers to the mapping any more.
            let _ = unsafe { mm::munmap(self.memory.as_ptr().cast(), POOL_LEN) };
        }
    }
}

impl Raw {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the slice is this handle's own part of the mapping, which the pool keeps as long as a handle is out;
        // it is initialised (zero at first), and `&self` excludes writers.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Blank {
    /// The whole buffer, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// States that the first `len` bytes are ciphertext. Its callers, named in the `tidy` test, are those who encrypted
    /// them or read them from the disk.
    ///
    /// # Panics
    /// If `len` is more than the buffer: a fault of ours.
    #[must_use]
    pub fn into_ciphertext(self, len: usize) -> Ciphertext {
        assert!(len <= self.0.len);
        Ciphertext { raw: self.0, len }
    }

    pub(super) fn index(&self) -> u16 {
        self.0.index
    }

    pub(super) fn address(&self) -> *mut u8 {
        self.0.start.as_ptr()
    }
}

impl Ciphertext {
    /// The ciphertext.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.raw.bytes()[..self.len]
    }

    /// Forgets that the bytes mean anything.
    #[must_use]
    pub fn into_blank(self) -> Blank {
        Blank(self.raw)
    }

    pub(super) fn index(&self) -> u16 {
        self.raw.index
    }

    pub(super) fn address(&self) -> *const u8 {
        self.raw.start.as_ptr()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {BUFFERS} free)", self.free())
    }
}

impl fmt::Debug for Blank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blank({})", self.0.index)
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ciphertext({}, {} bytes)", self.raw.index, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SMALL_BUFFERS;

    #[test]
    fn every_buffer_is_handed_out_once() {
        let mut pool = Pool::new().unwrap();
        let mut taken: Vec<Blank> = std::iter::from_fn(|| pool.take(512)).collect();
        assert_eq!(taken.len(), BUFFERS);
        for (n, blank) in taken.iter_mut().enumerate() {
            blank.bytes_mut().fill(n as u8);
        }
        for (n, blank) in taken.into_iter().enumerate() {
            let len = blank.0.len;
            let ciphertext = blank.into_ciphertext(len);
            assert!(ciphertext.bytes().iter().all(|&byte| byte == n as u8));
            pool.give(ciphertext.into_blank());
        }
        assert!(pool.has_free());
    }

    #[test]
    fn the_buffer_given_last_is_taken_first() {
        let mut pool = Pool::new().unwrap();
        let (first, second) = (pool.take(1).unwrap(), pool.take(1).unwrap());
        let index = first.index();
        pool.give(second);
        pool.give(first);
        assert_eq!(pool.take(1).unwrap().index(), index);
    }

    #[test]
    fn what_is_long_gets_a_large_buffer_and_what_is_short_a_small_one_while_there_are_some() {
        let mut pool = Pool::new().unwrap();
        assert_eq!(pool.take(SMALL_BUFFER_LEN + 1).unwrap().bytes_mut().len(), BUFFER_LEN);
        let mut short = Vec::new();
        for _ in 0..SMALL_BUFFERS {
            short.push(pool.take(SMALL_BUFFER_LEN).unwrap());
            assert_eq!(short.last_mut().unwrap().bytes_mut().len(), SMALL_BUFFER_LEN);
        }
        assert_eq!(pool.take(512).unwrap().bytes_mut().len(), BUFFER_LEN);
        short.into_iter().for_each(|blank| pool.give(blank));
        while pool.take(BUFFER_LEN).is_some() {}
        assert!(pool.has_free());
    }

    #[test]
    fn ciphertext_is_as_long_as_was_said() {
        let mut pool = Pool::new().unwrap();
        assert_eq!(pool.take(512).unwrap().into_ciphertext(512).bytes().len(), 512);
    }
}
