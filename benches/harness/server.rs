//! What the kernel says of a server process: CPU time, sleeps, memory.

use std::{fs, time::Instant};

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use serde::{Deserialize, Serialize};

/// A process, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server(pub u32);

/// What a process has used up to a moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    at: Instant,
    /// Of the tasks that live, exact.
    living_ns: u64,
    /// Of all tasks there ever were, in ticks of the clock.
    all_ns: u64,
    sleeps: u64,
    preemptions: u64,
}

/// What it used between two moments.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Used {
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// The same as a share of one core.
    pub cpu_share: f64,
    /// How often a task woke from a sleep, each second.
    pub wakeups_per_second: f64,
    /// How often a task was made to give way, each second.
    pub preemptions_per_second: f64,
}

/// What it occupies.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Footprint {
    /// Resident, bytes, shared memory of the guest left out.
    pub resident: u64,
    /// Locked, bytes.
    pub locked: u64,
    /// Threads.
    pub threads: u64,
}

impl Server {
    /// What it has used so far.
    ///
    /// # Errors
    /// There is no such process.
    pub fn usage(self) -> Result<Usage> {
        let at = Instant::now();
        let (mut living_ns, mut sleeps, mut preemptions) = (0, 0, 0);
        for task in fs::read_dir(format!("/proc/{}/task", self.0)).context("no such server")? {
            let task = task?.path();
            // A worker of the kernel's may end while it is looked at.
            let Ok(schedstat) = fs::read_to_string(task.join("schedstat")) else { continue };
            let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
            living_ns += schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            sleeps += field(&status, "voluntary_ctxt_switches:");
            preemptions += field(&status, "nonvoluntary_ctxt_switches:");
        }
        Ok(Usage { at, living_ns, all_ns: self.ticks()?, sleeps, preemptions })
    }

    /// User and system time with that of tasks that have ended: workers of io_uring come and go.
    fn ticks(self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name may hold anything, but it ends with the last parenthesis.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(number).sum();
        Ok(ticks * (1_000_000_000 / clock_ticks_per_second()))
    }

    /// Its threads and what each waits in, for messages about a server that does not answer.
    #[must_use]
    pub fn tasks(self) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).into_iter().flatten().flatten();
        let tasks = tasks.map(|task| {
            let of = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            format!("{} in {}", of("comm").trim(), of("wchan"))
        });
        tasks.collect::<Vec<_>>().join(", ")
    }

    /// What it occupies.
    ///
    /// # Errors
    /// There is no such process.
    pub fn footprint(self) -> Result<Footprint> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let own = field(&status, "RssAnon:") + field(&status, "RssFile:");
        let locked = field(&status, "VmLck:") << 10;
        Ok(Footprint { resident: own << 10, locked, threads: field(&status, "Threads:") })
    }
}

impl Usage {
    /// What was used since. Of the two counts of CPU time the larger is right: one leaves out tasks that ended, the
    /// other what is less than a tick.
    #[must_use]
    pub fn since(&self, before: &Self) -> Used {
        let seconds = (self.at - before.at).as_secs_f64();
        let living = self.living_ns.saturating_sub(before.living_ns);
        let all = self.all_ns.saturating_sub(before.all_ns);
        // A tick more than the exact count is only rounding.
        let tick = 2_000_000_000 / clock_ticks_per_second();
        let ns = if all > living + tick { all } else { living };
        let cpu_seconds = ns as f64 / 1e9;
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Used {
            cpu_seconds,
            cpu_share: cpu_seconds / seconds,
            wakeups_per_second: rate(self.sleeps, before.sleeps),
            preemptions_per_second: rate(self.preemptions, before.preemptions),
        }
    }
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()).and_then(number).unwrap_or(0)
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}
