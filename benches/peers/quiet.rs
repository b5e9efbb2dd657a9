//! What a server costs while its guest is connected and quiet.

use std::thread;

use anyhow::Result;
use benches::{
    front_end::{FrontEnd, Options},
    server::{Footprint, Used},
};
use serde::Serialize;

use crate::{args::Pace, measure::Progress, media::Kind, servers::Field};

/// One server.
#[derive(Debug, Clone, Serialize)]
pub struct Quiet {
    medium: Kind,
    server: String,
    used: Used,
    footprint: Footprint,
}

/// Connects to every server, does nothing, and looks. All at the same time: they are to need next to nothing.
pub fn measure(field: &Field, pace: &Pace, progress: &Progress) -> Result<Vec<Quiet>> {
    progress.part(&format!("{}: quiet guests", field.kind()));
    let connect = |candidate: &crate::servers::Candidate| {
        FrontEnd::connect(&candidate.socket, &Options::default())
    };
    let guests = field.candidates.iter().map(connect).collect::<Result<Vec<_>>>()?;
    // What connecting cost is over by then.
    thread::sleep(pace.idle / 4);
    let servers = || field.candidates.iter().map(|candidate| candidate.server());
    let before = servers().map(|server| server.usage()).collect::<Result<Vec<_>>>()?;
    thread::sleep(pace.idle);
    let quiet = field.candidates.iter().zip(before).map(|(candidate, before)| {
        Ok(Quiet {
            medium: field.kind(),
            server: candidate.name.clone(),
            used: candidate.server().usage()?.since(&before),
            footprint: candidate.server().footprint()?,
        })
    });
    let quiet = quiet.collect();
    drop(guests);
    quiet
}

/// The table.
pub fn table(all: &[Quiet]) -> String {
    let mut text = format!(
        "\n{:<22}{:>10}{:>14}{:>14}{:>12}{:>9}\n",
        "quiet guest", "% of core", "wake-ups/s", "resident MiB", "locked MiB", "threads"
    );
    for quiet in all {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        text.push_str(&format!(
            "  {:<6}{:<14}{:>10.3}{:>14.1}{:>14.1}{:>12.1}{:>9}\n",
            quiet.medium.to_string(),
            quiet.server,
            100.0 * quiet.used.cpu_share,
            quiet.used.wakeups_per_second,
            mib(quiet.footprint.resident),
            mib(quiet.footprint.locked),
            quiet.footprint.threads
        ));
    }
    text
}
