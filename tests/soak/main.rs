//! A long siege: processes are killed at random moments under verified load, and keys are pulled meanwhile. Or the load
//! alone, on a disk whose processes are somebody else's.

mod attached;

use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use system_tests::{
    front_end::Base,
    siege::{SIZE, Siege},
    world::World,
};

/// Kills vhost-backend and keyd at random moments under verified load, and pulls the key meanwhile: no request may be
/// lost, answered twice or fail.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  scripts/soak --minutes 10
  scripts/soak --minutes 1 --queues 4 --seed 7 --json
  scripts/soak --attach /run/portcullis/d/disk.sock   # the disk of a unit; 'systemctl kill -s KILL' is yours to say

Exit codes: 0 nothing lost, 101 something was: the panic says what, and prints what the processes said.")]
struct Args {
    /// For how long
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Queues of the disk
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=16))]
    queues: u64,
    /// The same seed kills at the same places of the tape; when the processes come so far is the machine's matter
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A directory on the file system to lie on; the system's temporary one by default
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Load the disk that is served on this socket, an untouched one of 16 MiB, and kill nothing: its processes are
    /// somebody else's, who starts them again
    #[arg(long, value_name = "SOCKET", conflicts_with = "dir")]
    attach: Option<PathBuf>,
    /// End when the disk's process was lost and the next one found so often
    #[arg(long, requires = "attach")]
    losses: Option<u64>,
    /// Print the counts as JSON; with --attach again and again
    #[arg(long)]
    json: bool,
}

/// What happens to the disk.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// The backend is killed.
    Backend,
    /// keyd is killed and comes back before the lease ends.
    Keyd,
    /// Both are.
    Both,
    /// The key is pulled and given back.
    Key,
    /// The key is pulled, the backend dies without it, and the key is given back.
    KeyAndBackend,
    /// The backend is told to end: a planned change.
    Change,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    cycles: u64,
    backend_kills: u64,
    keyd_kills: u64,
    revocations: u64,
    planned_changes: u64,
    requests: u64,
    /// Longest time from a kill of the backend until the next one had the rings, milliseconds.
    longest_gap_ms: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(socket) = &args.attach {
        attached::hold(socket, &args);
        return ExitCode::SUCCESS;
    }
    let mut world = args.dir.as_deref().map_or_else(World::new, World::in_dir);
    let _ = world.make_disk("d", SIZE, "");
    let mut siege = Siege::of(&world, "d", args.queues as usize, args.seed);
    let mut random = fastrand::Rng::with_seed(args.seed);
    let mut counts = Counts::default();
    let progress = Progress::new();
    let end = Instant::now() + Duration::from_secs(60 * args.minutes);
    while Instant::now() < end {
        siege.load_for(Duration::from_millis(random.u64(1..150)));
        let base = if random.bool() { Base::Used } else { Base::Avail };
        strike(draw(&mut random), &mut world, &mut siege, base, &mut random, &mut counts);
        counts.cycles += 1;
        if counts.cycles.is_multiple_of(50) {
            // Now and then everything is read back.
            siege.assert_intact();
        }
        counts.requests = siege.answered();
        progress.tell(&counts, end);
    }
    siege.assert_intact();
    counts.requests = siege.answered();
    progress.end();
    say(&counts, args.json);
    ExitCode::SUCCESS
}

/// Says what was counted: whatever else was found has ended the run before.
fn say<C: Display + Serialize>(counts: &C, json: bool) {
    if json {
        println!("{}", serde_json::to_string(counts).expect("counts"));
    } else {
        println!("{counts}\nlost: 0, answered twice: 0, errors seen by the guest: 0");
    }
}

fn draw(random: &mut fastrand::Rng) -> Blow {
    match random.u8(0..100) {
        0..60 => Blow::Backend,
        60..68 => Blow::Keyd,
        68..76 => Blow::Both,
        76..84 => Blow::Key,
        84..92 => Blow::KeyAndBackend,
        _ => Blow::Change,
    }
}

fn strike(
    blow: Blow,
    world: &mut World,
    siege: &mut Siege,
    base: Base,
    random: &mut fastrand::Rng,
    counts: &mut Counts,
) {
    let mut pause = || Duration::from_millis(random.u64(0..30));
    let struck = Instant::now();
    match blow {
        Blow::Backend => siege.backend.kill(),
        Blow::Keyd => kill_keyd(world, siege, pause()),
        Blow::Both => {
            siege.backend.kill();
            kill_keyd(world, siege, pause());
        }
        Blow::Key => {
            world.disable("d");
            siege.load_for(pause());
            world.enable("d");
        }
        Blow::KeyAndBackend => {
            world.disable("d");
            siege.load_for(pause());
            siege.backend.kill();
            world.enable("d");
        }
        Blow::Change => assert!(siege.backend.terminate().success(), "{}", siege.backend.said()),
    }
    counts.keyd_kills += u64::from(matches!(blow, Blow::Keyd | Blow::Both));
    counts.revocations += u64::from(matches!(blow, Blow::Key | Blow::KeyAndBackend));
    counts.planned_changes += u64::from(matches!(blow, Blow::Change));
    if matches!(blow, Blow::Keyd | Blow::Key) {
        return;
    }
    counts.backend_kills += u64::from(!matches!(blow, Blow::Change));
    // The guest goes on asking while nobody is there.
    siege.load_for(pause());
    siege.restart(world, base);
    counts.longest_gap_ms = counts.longest_gap_ms.max(struck.elapsed().as_millis() as u64);
}

fn kill_keyd(world: &mut World, siege: &mut Siege, pause: Duration) {
    world.keyd.take().expect("it runs").kill();
    siege.load_for(pause);
    world.start_keyd();
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { cycles, backend_kills, keyd_kills, revocations, planned_changes, .. } = self;
        write!(
            f,
            "{cycles} cycles: backend killed {backend_kills}, keyd killed {keyd_kills}, key pulled {revocations}, \
             planned changes {planned_changes}; {} requests; longest gap {} ms",
            self.requests, self.longest_gap_ms
        )
    }
}

/// A line that moves on a terminal, else a line every ten seconds.
struct Progress {
    bar: ProgressBar,
    told: std::cell::Cell<Instant>,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{elapsed} {msg}").expect("a template"));
        Self { bar, told: std::cell::Cell::new(Instant::now()) }
    }

    fn tell(&self, counts: &impl Display, end: Instant) {
        let left = end.saturating_duration_since(Instant::now()).as_secs();
        self.bar.set_message(format!("{counts}; {left} s left"));
        self.bar.tick();
        if self.bar.is_hidden() && self.told.get().elapsed() > Duration::from_secs(10) {
            eprintln!("{counts}; {left} s left");
            self.told.set(Instant::now());
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
