//! A guest that writes what it likes into its ring, its tables and its buffers, also in the middle of the device's
//! turn: the unchanged queue, on the simulated disk, beside another queue that must notice nothing.
//!
//! What must hold is judged without our parsers: the disk is asked for nothing outside the data area
//! ([`crate::disk`]); the image holds no plaintext; no guest memory is written but the used ring and buffers that some
//! chain gave to the device; no head comes back more often than it was offered; a guest that kept to the rules gets
//! everything back; and whatever it did, its ring can be stopped.

mod bench;
mod guest;
mod oracle;
mod step;

use arbitrary::{Arbitrary, Unstructured};

use bench::Bench;
use step::Step;

/// How a queue begins.
#[derive(Debug, Arbitrary)]
struct Setup {
    /// Entries of the ring: 2 to the power of this, modulo 6.
    size: u8,
    /// Where the indices stand: near their wrap, too.
    index: u16,
    event_idx: bool,
    large_units: bool,
    dense: bool,
    read_only: bool,
    write_through: bool,
    seed: u8,
    /// The in-flight region's part of this ring, if the front end keeps one.
    inflight: Option<Vec<u8>>,
}

#[derive(Debug, Arbitrary)]
struct Input {
    setup: Setup,
    steps: Vec<Step>,
}

/// Longest program: each step may be many turns of the queue.
const STEPS_MAX: usize = 64;

/// Runs the target.
///
/// # Panics
/// If an oracle is broken.
pub fn run(bytes: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    // A region that is refused: the ring is not started.
    let Some(mut bench) = Bench::new(&input.setup) else { return };
    for step in input.steps.iter().take(STEPS_MAX) {
        bench.take(step);
    }
    bench.end();
}
