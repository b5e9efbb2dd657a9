//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::media::Kind;

/// Runs our server and qemu-storage-daemon, raw and LUKS, in turns on the same media, and tells the ratios.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  scripts/bench --quick                      about a minute, on tmpfs only
  scripts/bench                              everything: half an hour on a quiet machine
  scripts/bench --media disk --rounds 3      the disk below --dir, with O_DIRECT
  scripts/bench --points randread --seconds 1

The server has one core and the client another. Figures of a machine that does something else are noise: what the
others used is told at the end.")]
pub struct Args {
    /// About a minute: tmpfs, few and short rounds.
    #[arg(long)]
    pub quick: bool,

    /// Everything, which is the default.
    #[arg(long, conflicts_with = "quick")]
    pub full: bool,

    /// Where the files lie.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MEDIUM,...")]
    media: Vec<Kind>,

    /// Points whose name holds this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub points: String,

    /// Turns of every server.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,

    /// Time of one measurement.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,

    /// Neither the sweep over depths, nor idle servers, nor many queues.
    #[arg(long)]
    pub points_only: bool,

    /// Instead of all that: fio in a virtual machine that has every server's disk.
    #[arg(long)]
    pub guest: bool,

    /// A directory on the disk to measure; the build's own by default.
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_TARGET_TMPDIR"))]
    pub dir: PathBuf,

    /// Where peers.json and peers.svg go; the build's directory by default.
    #[arg(long, value_name = "PATH", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench"))]
    pub output: PathBuf,

    /// What cargo tells every bench, and its filter.
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(hide = true)]
    filter: Option<String>,
}

/// How long everything takes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Turns of every server.
    pub rounds: usize,
    /// Turns in the sweep over depths.
    pub sweeps: usize,
    /// Before a measurement.
    pub warm_up: Duration,
    /// A measurement.
    pub time: Duration,
    /// A look at idle servers.
    pub idle: Duration,
}

impl Args {
    /// How long everything takes.
    pub fn pace(&self) -> Pace {
        let (rounds, sweeps, seconds, idle) =
            if self.quick { (3, 1, 0.3, 2) } else { (7, 3, 2.0, 5) };
        Pace {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            sweeps,
            warm_up: Duration::from_millis(if self.quick { 50 } else { 300 }),
            time: Duration::from_secs_f64(self.seconds.unwrap_or(seconds).clamp(0.05, 3600.0)),
            idle: Duration::from_secs(idle),
        }
    }

    /// Whether cargo's filter, as in `cargo bench -p benches cipher`, leaves this bench in.
    pub fn is_asked_for(&self) -> bool {
        self.filter.as_deref().is_none_or(|filter| "peers".contains(filter))
    }

    /// The media to measure on.
    pub fn media(&self) -> Vec<Kind> {
        match (&self.media[..], self.quick) {
            ([], quick) if quick || self.guest => vec![Kind::Tmpfs],
            ([], false) => vec![Kind::Tmpfs, Kind::Ext4, Kind::Disk],
            (chosen, _) => chosen.to_vec(),
        }
    }
}
