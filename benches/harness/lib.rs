//! What the benches share: one core, alternating rounds, medians.

#![deny(unsafe_code)]

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps this thread on the last core it may run on: interrupts prefer the first. Says so if the system refuses.
pub fn pin_to_one_core() {
    let pinned = sched_getaffinity(None).and_then(|allowed| {
        let core = (0..CpuSet::MAX_CPU).rev().find(|&core| allowed.is_set(core));
        let mut set = CpuSet::new();
        set.set(core.unwrap_or(0));
        sched_setaffinity(None, &set)
    });
    if let Err(error) = pinned {
        eprintln!("not pinned to one core ({error}): expect noise");
    }
}

/// One candidate: its name, and the work whose rate is measured.
pub struct Candidate<'a> {
    /// For the table.
    pub name: String,
    /// Does the work once.
    pub run: Box<dyn FnMut() + 'a>,
}

/// Median seconds of one run of each candidate. The candidates take turns (A B C A B C ...), so that a slow spell of
/// the machine hits all of them.
pub fn medians(candidates: &mut [Candidate<'_>], rounds: usize, sample: Duration) -> Vec<f64> {
    let repeats: Vec<u32> =
        candidates.iter_mut().map(|candidate| repeats(candidate, sample)).collect();
    let mut seconds = vec![Vec::with_capacity(rounds); candidates.len()];
    for _ in 0..rounds {
        for ((candidate, &repeats), seconds) in
            candidates.iter_mut().zip(&repeats).zip(&mut seconds)
        {
            let begun = Instant::now();
            for _ in 0..repeats {
                (candidate.run)();
            }
            seconds.push(begun.elapsed().as_secs_f64() / f64::from(repeats));
        }
    }
    seconds.into_iter().map(median).collect()
}

/// How many runs fill a sample.
fn repeats(candidate: &mut Candidate<'_>, sample: Duration) -> u32 {
    let begun = Instant::now();
    let mut runs = 0;
    while begun.elapsed() < sample {
        (candidate.run)();
        runs += 1;
    }
    runs
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
