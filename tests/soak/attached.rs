//! The load alone: the disk's processes are ended and started by somebody else, as by systemd, and here is only the
//! front end, which sees that its device is gone and looks for the next one. SIGTERM ends it as it ends a VM: what is
//! under way has to be answered yet.

use std::{
    fmt::{self, Display, Formatter},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use signal_hook::{consts::SIGTERM, flag};
use system_tests::{front_end::Base, load::Load};

use crate::{Args, Progress, say};

/// How often counts are told as JSON.
const TELLING: Duration = Duration::from_millis(200);

#[derive(Debug, Default, Serialize)]
struct Counts {
    /// The device was lost, and the next one has the rings.
    losses: u64,
    requests: u64,
    /// Longest time from a loss that was seen until the next device had the rings, milliseconds.
    longest_gap_ms: u64,
    /// Everything was read back.
    intact: bool,
}

/// Loads the disk until its time or its losses are over, or SIGTERM comes, and reads everything back.
///
/// # Panics
/// If a request is lost, answered twice or fails, or no device comes back.
pub fn hold(socket: &Path, args: &Args) {
    let told_to_end = Arc::new(AtomicBool::new(false));
    let _ = flag::register(SIGTERM, told_to_end.clone()).expect("a signal can be caught");
    let mut load = Load::on(socket, args.queues as usize, args.seed);
    let mut random = fastrand::Rng::with_seed(args.seed);
    let mut counts = Counts::default();
    let progress = Progress::new();
    let end = Instant::now() + Duration::from_secs(60 * args.minutes);
    let mut tell_at = Instant::now();
    while Instant::now() < end
        && args.losses.is_none_or(|losses| counts.losses < losses)
        && !told_to_end.load(Ordering::Relaxed)
    {
        load.load_for(Duration::from_millis(10));
        if load.front_end.is_lost() {
            let lost = Instant::now();
            // The guest goes on asking while nobody is there.
            load.load_for(Duration::from_millis(random.u64(0..30)));
            load.front_end.reconnect(if random.bool() { Base::Used } else { Base::Avail });
            counts.losses += 1;
            counts.longest_gap_ms = counts.longest_gap_ms.max(lost.elapsed().as_millis() as u64);
        }
        counts.requests = load.answered();
        if args.json && Instant::now() >= tell_at {
            say(&counts, true);
            tell_at = Instant::now() + TELLING;
        } else if !args.json {
            progress.tell(&counts, end);
        }
    }
    load.assert_intact();
    counts.requests = load.answered();
    counts.intact = true;
    progress.end();
    say(&counts, args.json);
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { losses, requests, longest_gap_ms, .. } = self;
        write!(
            f,
            "process lost {losses} times; {requests} requests; longest gap {longest_gap_ms} ms"
        )
    }
}
