//! The command line.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use benches::{
    front_end::Options,
    load::{Job, Mix, Until},
    server::Server,
};
use clap::{Parser, ValueEnum};

/// Loads any vhost-user-blk device and tells what it takes: requests a second, latencies, the server's CPU time.
///
/// One thread drives all queues. It looks for answers without a pause, kicks only if the device asks for it, and
/// wants no interrupts; with --sleep it waits for them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  vblk disk.sock --mode randread --depth 32                      4 KiB reads at random places
  vblk disk.sock --mode write --block-size 128k --depth 16       128 KiB writes, one after the other
  vblk disk.sock --mode randread --depth 1 --server-pid 4711 --json
  vblk disk.sock --mode mixed --reads 70 --verify --span 256m    what is read must be what was written
  vblk disk.sock --mode idle --seconds 5 --server-pid 4711       what a connected, quiet guest costs

Writing modes and --verify DESTROY what the disk holds.

Exit codes: 0 done; 1 the device refused, failed or lied; 2 usage."
)]
pub struct Args {
    /// Where the device listens.
    socket: PathBuf,

    /// What is asked of it.
    #[arg(long, value_enum, default_value_t = Mode::Randread)]
    mode: Mode,

    /// Reads in a hundred requests of --mode mixed.
    #[arg(long, value_name = "PERCENT", default_value_t = 50,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: u8,

    /// Bytes of a request.
    #[arg(long, visible_alias = "bs", value_name = "SIZE", default_value = "4k", value_parser = size)]
    block_size: u64,

    /// Requests at one time, for each queue.
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u16).range(1..=340))]
    depth: u16,

    /// Virtqueues.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    queues: u16,

    /// Entries of a virtqueue; more are taken if the depth wants them.
    #[arg(long, value_name = "N", default_value_t = 256)]
    ring_size: u16,

    /// Time that is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,

    /// Time before that.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    warm_up: f64,

    /// The first bytes of the disk that are used; all of them by default.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    span: Option<u64>,

    /// For the places of requests: the same seed brings the same places.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Write every block first.
    #[arg(long)]
    fill: bool,

    /// Write address and count into every block, and judge what is read; every block is read again at the end.
    #[arg(long)]
    verify: bool,

    /// Sleep until the device's interrupt instead of polling.
    #[arg(long)]
    sleep: bool,

    /// Indirect descriptors, if the device has them.
    #[arg(long)]
    indirect: bool,

    /// Do without event indices.
    #[arg(long)]
    no_event_idx: bool,

    /// Core on which the client runs; the first one by default.
    #[arg(long, value_name = "N")]
    pub core: Option<usize>,

    /// The device's process: its CPU time and its sleeps are told too.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What is asked of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Reads at random places.
    Randread,
    /// Writes at random places.
    Randwrite,
    /// Reads, one after the other.
    Read,
    /// Writes, one after the other.
    Write,
    /// Reads and writes at random places.
    Mixed,
    /// Nothing: connected and quiet.
    Idle,
}

/// What is to be done.
pub struct Plan {
    /// Where the device listens.
    pub socket: PathBuf,
    /// How the front end is to be.
    pub options: Options,
    /// The load.
    pub job: Job,
    /// No load: the time to stay connected.
    pub idle: Option<Duration>,
    /// Write every block first.
    pub fill: bool,
    /// Judge what is read.
    pub verify: bool,
    /// The device's process.
    pub server: Option<Server>,
}

impl Args {
    /// What is to be done.
    ///
    /// # Errors
    /// Numbers that do not go together.
    pub fn plan(&self) -> Result<Plan> {
        let block = self.block_size;
        ensure!(
            block.is_multiple_of(512) && (512..=1 << 20).contains(&block),
            "--block-size is 512 to 1m"
        );
        ensure!(
            self.ring_size.is_power_of_two() && self.ring_size <= 1024,
            "--ring-size is a power of two, 1024 at most"
        );
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds);
        let (warm_up, measured) = (time(self.warm_up)?, time(self.seconds)?);
        let mix = match self.mode {
            Mode::Randread | Mode::Idle => Mix { random: true, reads: 100 },
            Mode::Randwrite => Mix { random: true, reads: 0 },
            Mode::Read => Mix { random: false, reads: 100 },
            Mode::Write => Mix { random: false, reads: 0 },
            Mode::Mixed => Mix { random: true, reads: self.reads },
        };
        Ok(Plan {
            socket: self.socket.clone(),
            options: Options {
                queues: self.queues,
                depth: self.depth,
                block: block as u32,
                entries: self.ring_size,
                indirect: self.indirect,
                event_idx: !self.no_event_idx,
            },
            job: Job {
                mix,
                block: block as u32,
                span: self.span.unwrap_or(u64::MAX),
                until: Until::Time(warm_up, measured),
                sleep: self.sleep,
                seed: self.seed,
            },
            idle: (self.mode == Mode::Idle).then_some(measured),
            fill: self.fill || self.verify,
            verify: self.verify,
            server: self.server_pid.map(Server),
        })
    }
}

/// A number of bytes with k, m or g.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..].to_ascii_lowercase()[..] {
        "" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        unit => return Err(format!("unknown unit '{unit}': k, m or g")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("'{digits}' is no number"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}
