//! Which machine this is, and what others did on it meanwhile.

use std::{fs, process::Command, time::Instant};

use anyhow::Result;
use benches::{
    cores,
    server::{Server, Usage},
};
use rustix::param::clock_ticks_per_second;
use serde::Serialize;
use system_tests::process::{run, tool};

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

/// What everybody and the hypervisor have used up to a moment, and what of it was ours.
pub struct Everybody {
    at: Instant,
    ticks: [u64; 2],
    ours: Vec<(Server, Usage)>,
}

/// Shares of one core.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Others {
    /// Used by others than client and servers, kernel threads among them.
    pub used: f64,
    /// Taken by the hypervisor.
    pub stolen: f64,
}

impl Everybody {
    /// So far; `servers` are ours, and so is this process.
    pub fn now(servers: impl Iterator<Item = Server>) -> Result<Self> {
        let ours = servers.chain([Server(std::process::id())]);
        let ours = ours.map(|server| Ok((server, server.usage()?))).collect::<Result<_>>()?;
        Ok(Self { at: Instant::now(), ticks: ticks(), ours })
    }

    /// What others did since.
    pub fn since(&self) -> Result<Others> {
        let seconds = self.at.elapsed().as_secs_f64();
        let now = ticks();
        let share = |place: usize| {
            let ticks = now[place].saturating_sub(self.ticks[place]);
            ticks as f64 / clock_ticks_per_second() as f64 / seconds
        };
        let mut ours = 0.0;
        for (server, before) in &self.ours {
            ours += server.usage()?.since(before).cpu_share;
        }
        Ok(Others { used: (share(0) - ours).max(0.0), stolen: share(1) })
    }
}

/// Ticks of all cores: busy, stolen.
fn ticks() -> [u64; 2] {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = all.filter_map(|ticks| ticks.parse().ok()).collect();
    let at = |place: usize| ticks.get(place).copied().unwrap_or(0);
    // user, nice, system, irq, softirq; steal
    [[0, 1, 2, 5, 6].into_iter().map(at).sum(), at(7)]
}
