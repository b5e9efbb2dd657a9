//! A panic in any thread ends the process with the input that led there: a target's own threads, and the daemons', must
//! not be able to panic unseen.

use std::{
    io::Write,
    panic,
    sync::{Mutex, Once, PoisonError},
};

/// What is being tried: a target, and its bytes.
static TRIED: Mutex<(&'static str, Vec<u8>)> = Mutex::new(("", Vec::new()));

/// From now on a panic anywhere ends the process.
pub fn arm() {
    static ARMED: Once = Once::new();
    ARMED.call_once(|| {
        panic::set_hook(Box::new(|what| {
            let (target, bytes) = &*TRIED.lock().unwrap_or_else(PoisonError::into_inner);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            // Past the capture of a test's output, which ends with the process.
            let _ = writeln!(std::io::stderr(), "{what}\ntarget {target}, input {hex}");
            std::process::abort();
        }));
    });
}

/// Notes what is tried next.
pub fn trying(target: &'static str, bytes: &[u8]) {
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    tried.0 = target;
    tried.1.clear();
    tried.1.extend_from_slice(bytes);
}
