//! Stores to memory that others read, each after all that precede it in the code.

use std::sync::atomic::Ordering;

use vm_memory::{AtomicAccess, Bytes, VolatileSlice};

/// Stores a value at an offset that the caller has made sure of.
pub(crate) fn store<T: AtomicAccess>(to: &VolatileSlice<'_>, at: usize, value: T) {
    #[cfg(test)]
    if !kill::lets_through() {
        return;
    }
    let _ = to.store(value, at, Ordering::Release);
}

/// A kill between two stores: none of this thread's has an effect any more.
#[cfg(test)]
pub(crate) mod kill {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    /// The next `stores` are the last.
    pub(crate) fn after(stores: u64) {
        LEFT.set(stores);
    }

    /// Whether it has come.
    pub(crate) fn has_come() -> bool {
        LEFT.get() == 0
    }

    /// A new process: everything has an effect again.
    pub(crate) fn is_over() {
        LEFT.set(u64::MAX);
    }

    pub(super) fn lets_through() -> bool {
        let left = LEFT.get();
        LEFT.set(left.saturating_sub(u64::from(left < u64::MAX)));
        left > 0
    }
}
