//! Memory for secrets: locked, undumpable, gone in a forked child, wiped on drop. The only `unsafe` of this crate.

use std::{
    fmt,
    mem::size_of,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
};

use rustix::{
    mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags},
    param::page_size,
};
use thiserror::Error;
use zeroize::Zeroize;

/// Why a secret could not be given a page.
#[derive(Debug, Error)]
pub enum PageError {
    /// No memory.
    #[error("cannot map a page for a secret: {0}")]
    Map(rustix::io::Errno),
    /// The lock limit is too small: a secret must not be swapped out, so it is not taken at all.
    #[error(
        "cannot lock a page for a secret: {errno}; {kib} KiB more are needed for it: raise the memory lock limit (ulimit -l, LimitMEMLOCK=)"
    )]
    Lock {
        /// What the system said.
        errno: rustix::io::Errno,
        /// KiB that were to be locked.
        kib: usize,
    },
}

/// A `T` in pages of its own: locked (never swapped), left out of core dumps, zero in a forked child, and wiped when
/// dropped.
pub struct Locked<T> {
    value: NonNull<T>,
    len: usize,
}

// SAFETY: `Locked` owns its pages and the `T` in them exclusively, like a `Box<T>`.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as for `Box<T>`: a shared `Locked<T>` gives out `&T` only.
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T> Locked<T> {
    /// Runs `make` and moves its value into fresh pages, then wipes the stack below, where the move left copies.
    ///
    /// # Errors
    /// [`PageError`]; `make` has not run then.
    ///
    /// # Panics
    /// Never for the types of this project: `T` must not need more than a page's alignment.
    pub fn new(make: impl FnOnce() -> T) -> Result<Self, PageError> {
        assert!(align_of::<T>() <= page_size());
        let len = size_of::<T>().max(1).next_multiple_of(page_size());
        let value = map_secret_pages(len)?.cast::<T>();
        // Before `Self` exists: should `make` panic, the pages leak, and no uninitialised `T` is dropped.
        construct(value, make);
        scrub_stack();
        Ok(Self { value, len })
    }

    /// Ends the process, and its pages before it: one thread that hangs in the kernel keeps a process, and all of its
    /// memory, from ending. Another thread that touches the value meanwhile ends the process by a fault.
    pub fn end_process(&self, code: i32) -> ! {
        self.vacate();
        std::process::exit(code)
    }

    /// Gives the pages back to the kernel. First nobody may touch them any more: they would read as zeros, a key that
    /// somebody would go on to encrypt with.
    fn vacate(&self) {
        let address = self.value.as_ptr().cast();
        // SAFETY: the pages are ours, and no thread reads anything in them from here on: at worst there is a fault.
        let closed = unsafe { mm::mprotect(address, self.len, MprotectFlags::empty()) };
        if closed.is_ok() {
            // SAFETY: as above.
            let _ = unsafe { mm::madvise(address, self.len, Advice::LinuxDontneedLocked) };
        }
    }
}

/// Kept out of line so that its frame, with the copies of `T` in it, lies in the part of the stack that
/// [`scrub_stack`] overwrites.
#[inline(never)]
fn construct<T>(place: NonNull<T>, make: impl FnOnce() -> T) {
    // SAFETY: `place` is a fresh mapping of at least `size_of::<T>()` bytes, page-aligned, owned by the caller.
    unsafe { place.as_ptr().write(make()) }
}

fn map_secret_pages(len: usize) -> Result<NonNull<u8>, PageError> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe {
        mm::mmap_anonymous(
            ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    }
    .map_err(PageError::Map)?;
    let pages = NonNull::new(address.cast()).expect("mmap never returns null without MAP_FIXED");
    if cfg!(miri) {
        // It watches over pointers, and knows neither locks nor advice.
        return Ok(pages);
    }
    // SAFETY: the range is the mapping just made, `len` bytes from `address`.
    let locked = unsafe { mm::mlock(address, len) };
    if let Err(errno) = locked {
        // SAFETY: nothing refers to the mapping yet.
        let _ = unsafe { mm::munmap(address, len) };
        return Err(PageError::Lock { errno, kib: len >> 10 });
    }
    for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
        // Advice only narrows who may see the page; a kernel without it still has the lock and the wipe.
        // SAFETY: as above; neither advice changes what this process reads.
        let _ = unsafe { mm::madvise(address, len, advice) };
    }
    Ok(pages)
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the value is initialised and dropped once; then the pages, still mapped and owned by us alone, are
        // wiped as plain bytes and given back.
        unsafe {
            ptr::drop_in_place(self.value.as_ptr());
            let bytes = std::slice::from_raw_parts_mut(self.value.as_ptr().cast::<u8>(), self.len);
            bytes.zeroize();
            let _ = mm::munmap(self.value.as_ptr().cast(), self.len);
        }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: initialised in `new`, alive until drop.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: initialised in `new`, alive until drop; `&mut self` makes it exclusive.
        unsafe { self.value.as_mut() }
    }
}

impl<T> fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locked(secret)")
    }
}

/// How far below the caller the stack is wiped, bytes: deeper than any frame that handles key material. (Miri, which
/// spills nothing, would take seconds.)
const SCRUB_LEN: usize = if cfg!(miri) { 64 } else { 64 * 1024 };

/// Overwrites the stack below the caller. To be called after key material went through deeper frames, whose spilled
/// registers and moved values would otherwise stay readable until chance overwrites them.
#[inline(never)]
pub fn scrub_stack() {
    let mut frame = [0u8; SCRUB_LEN];
    frame.zeroize();
    std::hint::black_box(&frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_value_can_be_read_and_changed() {
        let mut locked = Locked::new(|| [7u8; 100]).unwrap();
        locked[99] = 9;
        assert_eq!((locked[0], locked[99]), (7, 9));
    }

    #[test]
    fn the_value_is_dropped_once() {
        let counter = std::sync::Arc::new(());
        let locked = Locked::new(|| counter.clone()).unwrap();
        assert_eq!(std::sync::Arc::strong_count(&counter), 2);
        drop(locked);
        assert_eq!(std::sync::Arc::strong_count(&counter), 1);
    }

    /// What the kernel says of a value's pages.
    fn mapping<T>(locked: &Locked<T>) -> String {
        let address = locked.value.as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mappings = maps.split_inclusive("VmFlags:").zip(maps.split("VmFlags:").skip(1));
        let holds = |before: &str| {
            let header = before.lines().rfind(|line| line.contains('-') && !line.contains("kB"))?;
            let (low, high) = header.split(' ').next()?.split_once('-')?;
            let range =
                usize::from_str_radix(low, 16).ok()?..usize::from_str_radix(high, 16).ok()?;
            let from = before.find(header)?;
            range.contains(&address).then(|| before[from..].to_owned())
        };
        mappings
            .filter_map(|(before, after)| Some(holds(before)? + after.lines().next()?))
            .next()
            .expect("the page is in the map")
    }

    #[test]
    #[cfg_attr(miri, ignore = "nothing is locked there")]
    fn the_page_is_locked_and_left_out_of_dumps() {
        let locked = Locked::new(|| [1u8; 64]).unwrap();
        let mapping = mapping(&locked);
        let flags = mapping.lines().last().unwrap();
        for flag in ["lo", "dd", "wf"] {
            assert!(flags.split_whitespace().any(|f| f == flag), "no {flag} in {flags}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "nothing is mapped there")]
    fn what_a_process_that_is_to_end_gives_back_can_nobody_touch_and_nothing_is_left_of_it() {
        use std::os::unix::fs::FileExt;
        let locked = Locked::new(|| [0xa5_u8; 64]).unwrap();
        // Past the protection of pages, as a debugger reads.
        let read = || {
            let mut bytes = [0; 64];
            let memory = std::fs::File::open("/proc/self/mem").unwrap();
            let read = memory.read_exact_at(&mut bytes, locked.value.as_ptr() as u64);
            read.ok().map(|()| bytes)
        };
        assert_eq!(read(), Some([0xa5; 64]));
        assert!(mapping(&locked).contains(" rw-p "));
        locked.vacate();
        assert!(mapping(&locked).contains(" ---p "), "{}", mapping(&locked));
        assert_ne!(read(), Some([0xa5; 64]));
        std::mem::forget(locked);
    }
}
