//! Every kept input, and for a moment what comes of changing them: what a long run of `scripts/fuzz` found stays found.

use std::time::{Duration, Instant};

use fuzz::{TARGETS, alarm, corpus, mutation};

/// How long a target's inputs are changed. It bounds the time, not what is tried: the order is always the same.
const TIME: Duration = Duration::from_millis(1500);

#[test]
fn nothing_that_is_made_up_breaks_what_must_hold() {
    alarm::arm();
    for (name, target) in TARGETS {
        let inputs = corpus::inputs(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        let attempt = |bytes: &[u8]| {
            alarm::trying(name, bytes);
            target(bytes);
        };
        inputs.iter().for_each(|bytes| attempt(bytes));
        let mut random = fastrand::Rng::with_seed(0);
        let (began, mut tried) = (Instant::now(), 0);
        while began.elapsed() < TIME {
            attempt(&mutation::mutated(&inputs, &mut random));
            tried += 1;
        }
        println!("{name}: {} kept inputs, {tried} changed ones", inputs.len());
    }
}
