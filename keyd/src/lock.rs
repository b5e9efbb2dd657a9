//! Mutexes, taken without a word about their poison.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a mutex. A thread that panics with one ends the process as it is built for use (`panic = "abort"`); in tests
/// the others go on.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
