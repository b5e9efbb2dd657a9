//! What is told at the end.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use anyhow::{Context, Result};
use benches::{
    figures::Figures,
    front_end::FrontEnd,
    server::{Footprint, Server},
};
use serde::Serialize;

use crate::{args::Plan, quiet};

/// What is told at the end.
#[derive(Debug, Serialize)]
pub struct Report {
    block: u32,
    depth: u16,
    queues: u16,
    reads_percent: u8,
    random: bool,
    sleep: bool,
    features: String,
    /// What was measured.
    pub figures: Figures,
    /// Blocks that were read and were right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<u64>,
    /// What the server occupies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,
}

impl Report {
    /// A report without figures yet.
    pub fn new(plan: &Plan, front_end: &FrontEnd) -> Self {
        Self {
            block: plan.job.block,
            depth: plan.options.depth,
            queues: plan.options.queues,
            reads_percent: plan.job.mix.reads,
            random: plan.job.mix.random,
            sleep: plan.job.sleep,
            features: format!("{:#x}", front_end.features),
            figures: Figures::default(),
            verified: None,
            footprint: None,
        }
    }

    /// Measures a quiet guest.
    pub fn idle(&mut self, server: Option<Server>, time: Duration) -> Result<()> {
        let server = server.context("--mode idle wants --server-pid")?;
        self.figures.server = Some(quiet(server, time)?);
        self.figures.seconds = time.as_secs_f64();
        self.footprint = Some(server.footprint()?);
        Ok(())
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        if figures.requests > 0 {
            let latency = &figures.latency;
            writeln!(
                f,
                "{:.0} requests/s   {:.1} MB/s   {} requests of {} bytes in {:.2} s",
                figures.iops,
                figures.bytes_per_second / 1e6,
                figures.requests,
                self.block,
                figures.seconds
            )?;
            writeln!(
                f,
                "latency, us: mean {:.1}   p50 {:.1}   p99 {:.1}   p99.9 {:.1}   max {:.0}",
                latency.mean, latency.p50, latency.p99, latency.p99_9, latency.max
            )?;
            let each = |count: u64| count as f64 / figures.requests as f64;
            writeln!(
                f,
                "a request: {:.3} kicks, {:.3} interrupts",
                each(figures.kicks),
                each(figures.interrupts)
            )?;
        }
        if let Some(server) = &figures.server {
            write!(f, "server: ")?;
            if let Some(cpu) = figures.cpu_us_per_request.filter(|_| figures.requests > 0) {
                write!(f, "{cpu:.2} us of CPU a request, ")?;
            }
            writeln!(
                f,
                "{:.2} % of a core, {:.1} wake-ups/s",
                100.0 * server.cpu_share,
                server.wakeups_per_second
            )?;
        }
        if let Some(footprint) = &self.footprint {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                f,
                "server: {:.1} MiB resident, {:.1} MiB locked, {} threads",
                mib(footprint.resident),
                mib(footprint.locked),
                footprint.threads
            )?;
        }
        if let Some(verified) = self.verified {
            writeln!(f, "verified: {verified} blocks, each as it was written")?;
        }
        Ok(())
    }
}
