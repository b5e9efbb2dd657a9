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

use crate::limits::{BUFFER_LEN, BUFFERS};

/// The buffers of one queue, last in first out, so that a lightly loaded queue stays in the cache.
pub struct Pool {
    memory: NonNull<u8>,
    free: Vec<Raw>,
}

/// One buffer's slice of the pool; exactly one exists for each index.
struct Raw {
    index: u16,
    start: NonNull<u8>,
}

// SAFETY: a `Raw` is the only handle of its slice of the mapping; moving it to another thread moves the access.
unsafe impl Send for Raw {}
// SAFETY: the pool owns the mapping and the handles in `free`; nothing in it is tied to a thread.
unsafe impl Send for Pool {}

/// A buffer without meaning: old ciphertext, or zeros.
pub struct Blank(Raw);

/// A buffer whose first `len` bytes are ciphertext.
pub struct Ciphertext {
    raw: Raw,
    len: usize,
}

impl Pool {
    /// Maps the buffers of one queue: [`BUFFERS`] of [`BUFFER_LEN`] bytes, page-aligned, zero.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
        let memory = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                BUFFERS * BUFFER_LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        // SAFETY: the range is the mapping just made. Buffers that the disk writes must not be shared with a child.
        unsafe { mm::madvise(memory, BUFFERS * BUFFER_LEN, Advice::LinuxDontFork)? };
        let memory = NonNull::new(memory.cast::<u8>()).expect("mmap never returns null");
        let free = (0..BUFFERS)
            .rev()
            .map(|index| {
                // SAFETY: `index * BUFFER_LEN` is inside the mapping.
                let start = unsafe { memory.add(index * BUFFER_LEN) };
                Raw { index: index as u16, start }
            })
            .collect();
        Ok(Self { memory, free })
    }

    /// Takes a buffer, if one is free.
    pub fn take(&mut self) -> Option<Blank> {
        self.free.pop().map(Blank)
    }

    /// Gives a buffer back.
    pub fn give(&mut self, blank: Blank) {
        self.free.push(blank.0);
    }

    /// Whether a buffer is free.
    #[must_use]
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The buffers as (address, bytes), in order of index, for registration with the kernel.
    #[must_use]
    pub fn slices(&self) -> Vec<(*mut u8, usize)> {
        (0..BUFFERS)
            .map(|n| (self.memory.as_ptr().wrapping_add(n * BUFFER_LEN), BUFFER_LEN))
            .collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A buffer that is not here may still be written by the kernel: leaking its memory is the lesser harm.
        if self.free.len() == BUFFERS {
            // SAFETY: every handle is in `free`, so nothing refers to the mapping any more.
            let _ = unsafe { mm::munmap(self.memory.as_ptr().cast(), BUFFERS * BUFFER_LEN) };
        }
    }
}

impl Raw {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the slice is this handle's own part of the mapping, which the pool keeps as long as a handle is out;
        // it is initialised (zero at first), and `&self` excludes writers.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), BUFFER_LEN) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), BUFFER_LEN) }
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
        assert!(len <= BUFFER_LEN);
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
        write!(f, "Pool({} of {BUFFERS} free)", self.free.len())
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

    #[test]
    fn every_buffer_is_handed_out_once() {
        let mut pool = Pool::new().unwrap();
        let mut taken: Vec<Blank> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), BUFFERS);
        for (n, blank) in taken.iter_mut().enumerate() {
            blank.bytes_mut().fill(n as u8);
        }
        for (n, blank) in taken.into_iter().enumerate() {
            let ciphertext = blank.into_ciphertext(BUFFER_LEN);
            assert!(ciphertext.bytes().iter().all(|&byte| byte == n as u8));
            pool.give(ciphertext.into_blank());
        }
        assert!(pool.has_free());
    }

    #[test]
    fn the_buffer_given_last_is_taken_first() {
        let mut pool = Pool::new().unwrap();
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        let index = first.index();
        pool.give(second);
        pool.give(first);
        assert_eq!(pool.take().unwrap().index(), index);
    }

    #[test]
    fn ciphertext_is_as_long_as_was_said() {
        let mut pool = Pool::new().unwrap();
        assert_eq!(pool.take().unwrap().into_ciphertext(512).bytes().len(), 512);
    }
}
