//! Which machine this is, and what others did on it meanwhile.

use std::{fs, process::Command, time::Instant};

use rustix::param::clock_ticks_per_second;
use serde::Serialize;
use system_tests::process::{run, tool};

use benches::cores;

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    peer: String,
    version: &'static str,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let cpu = model.and_then(|line| line.split_once(": ")).map_or("?", |(_, cpu)| cpu);
        let mut extensions = String::new();
        for extension in ["vaes", "avx512f"] {
            if info.split_whitespace().any(|flag| flag == extension) {
                extensions.push_str(&format!(", {extension}"));
            }
        }
        let asked =
            run(Command::new(tool("qemu-storage-daemon", "qemu-system-common")).arg("--version"));
        let peer = asked.out.lines().next().unwrap_or_default().to_owned();
        Self {
            cpu: format!("{cpu}{extensions}"),
            cores: cores().len(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            peer,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// One paragraph.
    pub fn description(&self) -> String {
        format!("{}; {} cores; Linux {}; {}", self.cpu, self.cores, self.kernel, self.peer)
    }
}

/// What everybody and the hypervisor have used up to a moment, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Everybody {
    at: Instant,
    busy: u64,
    stolen: u64,
}

impl Everybody {
    /// So far.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let all = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let ticks: Vec<u64> = all.filter_map(|ticks| ticks.parse().ok()).collect();
        let at = |place: usize| ticks.get(place).copied().unwrap_or(0);
        // user, nice, system, irq, softirq
        let busy = [0, 1, 2, 5, 6].into_iter().map(at).sum();
        Self { at: Instant::now(), busy, stolen: at(7) }
    }

    /// Shares of one core since then: busy, whoever it was, and stolen.
    pub fn since(self) -> (f64, f64) {
        let now = Self::now();
        let ticks = self.at.elapsed().as_secs_f64() * clock_ticks_per_second() as f64;
        ((now.busy - self.busy) as f64 / ticks, (now.stolen - self.stolen) as f64 / ticks)
    }
}
