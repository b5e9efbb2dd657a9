//! The same servers under a guest: fio on each disk in turns, in one virtual machine.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use benches::{figures::spread, load::STOP};
use serde::Serialize;
use serde_json::Value;

use crate::{args::Pace, measure::Progress, plan::SPAN, servers::Field};

/// One run of fio.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    server: String,
    job: &'static str,
    iops: f64,
    /// Microseconds, as the guest sees them.
    p50: f64,
    p99: f64,
}

/// Names and what they tell fio.
const JOBS: [(&str, &str); 5] = [
    ("4k randread QD1", "--rw=randread --bs=4k --iodepth=1"),
    ("4k randread QD32", "--rw=randread --bs=4k --iodepth=32"),
    ("4k randwrite QD32", "--rw=randwrite --bs=4k --iodepth=32"),
    ("128k read QD16", "--rw=read --bs=128k --iodepth=16"),
    ("128k write QD16", "--rw=write --bs=128k --iodepth=16"),
];

/// Boots one guest with the disks of all servers, and lets them take turns.
pub fn measure(field: &Field, pace: &Pace, progress: &Progress) -> Result<Vec<Run>> {
    progress.part(&format!(
        "{}: booting a guest with {} disks",
        field.kind(),
        field.candidates.len()
    ));
    let mut guest = field.boot();
    let seconds = pace.time.as_secs().max(1);
    let mut runs = Vec::new();
    for round in 0..pace.rounds {
        progress.part(&format!("{}: guest, round {} of {}", field.kind(), round + 1, pace.rounds));
        for (job, options) in JOBS {
            for (candidate, letter) in field.candidates.iter().zip('a'..='z') {
                progress.step(format!("guest: {job}, {}", candidate.name));
                ensure!(!STOP.load(Ordering::Relaxed), "stopped");
                let command = format!(
                    "fio --name=j --filename=/dev/vd{letter} --direct=1 --ioengine=libaio --size={SPAN} --time_based \
                     --ramp_time=1 --runtime={seconds} --norandommap --randrepeat=0 --output-format=json {options}"
                );
                let said = guest.succeed(&command);
                runs.push(read(&said, job, &candidate.name).with_context(|| said.clone())?);
            }
        }
    }
    guest.power_off();
    Ok(runs)
}

/// What fio said, which may begin with warnings.
fn read(said: &str, job: &'static str, server: &str) -> Result<Run> {
    let json = said.find('{').context("fio prints no JSON")?;
    let report: Value = serde_json::from_str(&said[json..])?;
    let side = if job.contains("read") { "read" } else { "write" };
    let figures = &report["jobs"][0][side];
    let percentile =
        |name: &str| figures["clat_ns"]["percentile"][name].as_f64().unwrap_or(0.0) / 1e3;
    let iops = figures["iops"].as_f64().unwrap_or(0.0);
    ensure!(iops > 0.0, "fio did nothing");
    let (p50, p99) = (percentile("50.000000"), percentile("99.000000"));
    Ok(Run { server: server.to_owned(), job, iops, p50, p99 })
}

/// The table.
pub fn table(field: &Field, runs: &[Run]) -> String {
    let mut text = String::new();
    let figure = |server: &str, job: &str, take: fn(&Run) -> f64| {
        let here = runs.iter().filter(|run| (&run.server[..], run.job) == (server, job));
        spread(here.map(take))
    };
    let best = |begins: &str, job: &str| {
        let peers = field.candidates.iter().filter(|peer| peer.name.starts_with(begins));
        peers.map(|peer| figure(&peer.name, job, |run| run.iops)[0]).fold(f64::NAN, f64::max)
    };
    for (job, _) in JOBS {
        text.push_str(&format!(
            "\nin a guest, {job:<20}{:>8}  {:<13}{:>8}{:>9}{:>8}{:>8}\n",
            "IOPS", "least-most", "p50 us", "p99 us", "x raw", "x LUKS"
        ));
        for candidate in &field.candidates {
            let name = &candidate.name;
            let [middle, least, most] = figure(name, job, |run| run.iops);
            let [p50, ..] = figure(name, job, |run| run.p50);
            let [p99, ..] = figure(name, job, |run| run.p99);
            let range = format!("{least:.0}-{most:.0}");
            let ratios = if name.starts_with("ours") {
                format!("{:>8.2}{:>8.2}", middle / best("raw", job), middle / best("LUKS", job))
            } else {
                String::new()
            };
            text.push_str(&format!(
                "  {name:<30}{middle:>8.0}  {range:<13}{p50:>8.0}{p99:>9.0}{ratios}\n"
            ));
        }
    }
    text
}
