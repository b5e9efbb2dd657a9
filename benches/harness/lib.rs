//! What the benches share: one core, alternating rounds, medians; and a client for any vhost-user-blk device.

#![deny(unsafe_code)]

pub mod figures;
pub mod front_end;
pub mod load;
pub mod memory;
pub mod pattern;
pub mod ring;
pub mod server;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Whether cargo's filter, as in `cargo bench -p benches cipher`, leaves this bench in. It hands its words to every
/// one.
#[must_use]
pub fn is_asked_for(name: &str) -> bool {
    is_left_in(name, std::env::args().skip(1))
}

fn is_left_in(name: &str, mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.all(|argument| argument.starts_with('-') || name.contains(&argument))
}

/// Keeps this thread on the last core it may run on: interrupts prefer the first. Says so if the system refuses.
pub fn pin_to_one_core() {
    pin(&[cores().last().copied().unwrap_or(0)]);
}

/// The cores that this process may run on: those it had at the first call, before it pinned itself.
#[must_use]
pub fn cores() -> Vec<usize> {
    static CORES: LazyLock<Vec<usize>> = LazyLock::new(|| {
        let allowed = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect()
    });
    CORES.clone()
}

/// Keeps this thread, and what it starts from now on, on some cores. Says so if the system refuses.
pub fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("not pinned to {cores:?} ({error}): expect noise");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_of_cargo_bench_is_heeded() {
        let given = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter();
        assert!(is_left_in("cipher", given("cipher --bench")));
        assert!(is_left_in("cipher", given("--bench")));
        assert!(!is_left_in("keyd", given("cipher --bench")));
    }
}
