//! Mutexes whose holders never leave half-made state behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a mutex, also after a thread panicked with it: what the mutexes here guard is changed in single steps, so it
/// is whole at every moment.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
