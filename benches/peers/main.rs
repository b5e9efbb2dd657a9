//! Our server beside qemu-storage-daemon, raw and LUKS, in turns, on the same media, under the same client.
//!
//! `scripts/bench`; `--help` tells the options.

mod args;
mod guest;
mod machine;
mod measure;
mod media;
mod picture;
mod plan;
mod queues;
mod quiet;
mod reach;
mod servers;
mod table;

use std::{fs, process::ExitCode, sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use args::{Args, Pace};
use benches::{cores, load::STOP, pin};
use clap::Parser;
use machine::{Everybody, Machine, Others};
use measure::{Progress, Sample};
use media::{Kind, Medium};
use plan::{POINTS, Point};
use serde::Serialize;
use servers::{Candidate, Field};
use signal_hook::{consts::TERM_SIGNALS, flag};

/// All that was measured, as JSON.
#[derive(Serialize)]
struct Results {
    machine: Machine,
    /// What others did while a medium was measured.
    others: Vec<(Kind, Others)>,
    samples: Vec<Sample>,
    sweep: Vec<Sample>,
    quiet: Vec<quiet::Quiet>,
    queues: Vec<queues::Queues>,
    attach: Vec<queues::Attach>,
    guest: Vec<guest::Run>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.is_asked_for() {
        return ExitCode::SUCCESS;
    }
    for signal in TERM_SIGNALS {
        // Without it an end by a signal leaves servers and files behind.
        flag::register(*signal, Arc::clone(&STOP)).expect("a signal");
    }
    match bench(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<()> {
    let cores = cores();
    ensure!(cores.len() > 1, "a core for the server and one for the client are needed");
    let points: Vec<Point> =
        POINTS.into_iter().filter(|point| point.name.contains(&args.points)).collect();
    ensure!(!points.is_empty(), "no point is called '{}'", args.points);
    let pace = args.pace();
    let mut results = Results {
        machine: Machine::this(),
        others: Vec::new(),
        samples: Vec::new(),
        sweep: Vec::new(),
        quiet: Vec::new(),
        queues: Vec::new(),
        attach: Vec::new(),
        guest: Vec::new(),
    };
    println!("{}", results.machine.description());
    println!(
        "server on core {}, client on core {}; {} turns of {:.1} s each; x: median (least-most) of the ratios of each turn",
        servers::server_core(),
        cores[0],
        pace.rounds,
        pace.time.as_secs_f64()
    );
    for kind in args.media() {
        // A medium that cannot be had is told, and the others are measured.
        match Medium::new(kind, &args.dir) {
            Ok(medium) => one_medium(args, medium, &points, &pace, &mut results)?,
            Err(error) => println!("\n{kind}: left out: {error:#}"),
        }
    }
    if !args.guest {
        println!("\n{}", reach::ELSEWHERE);
    }
    write(args, &results)
}

fn one_medium(
    args: &Args,
    medium: Medium,
    points: &[Point],
    pace: &Pace,
    results: &mut Results,
) -> Result<()> {
    let (kind, client) = (medium.kind, cores()[0]);
    let field = Field::new(medium, client)?;
    // Keys, lists and whatever else the start has set in motion.
    thread::sleep(Duration::from_millis(200));
    pin(&[client]);
    print!("{}", table::heading(&field));
    let steps = pace.rounds * points.len() * field.candidates.len();
    let more = if args.points_only { 0 } else { measure::sweep_steps(pace) + 6 };
    let progress = Progress::new(steps + more);
    measure::fill(&field, &progress)?;
    if args.guest {
        let runs = guest::measure(&field, pace, &progress)?;
        print!("{}", guest::table(&field, &runs));
        results.guest.extend(runs);
        return Ok(());
    }
    let everybody = Everybody::now(field.candidates.iter().map(Candidate::server))?;
    let samples = measure::rounds(&field, points, pace, &progress)?;
    let others = everybody.since()?;
    print!("{}{}", table::points(&samples, kind), reach::lines(&samples, kind));
    println!(
        "    meanwhile others used {:.1} % of a core, kernel threads among them, and the host took {:.1} %",
        100.0 * others.used,
        100.0 * others.stolen
    );
    results.others.push((kind, others));
    if !args.points_only {
        let quiet = quiet::measure(&field, pace, &progress)?;
        print!("{}", quiet::table(&quiet));
        results.quiet.extend(quiet);
        if kind == Kind::Tmpfs {
            results.sweep = measure::sweep(&field, &samples, pace, &progress)?;
            results.queues = queues::measure(&field, client, pace, &progress)?;
            results.attach = queues::attach(&field, client)?;
            print!("{}", queues::table(&results.queues, &results.attach));
        }
    }
    results.samples.extend(samples);
    Ok(())
}

fn write(args: &Args, results: &Results) -> Result<()> {
    fs::create_dir_all(&args.output)?;
    let output = args.output.canonicalize()?;
    let json = output.join(if args.guest { "guest.json" } else { "peers.json" });
    fs::write(&json, serde_json::to_string_pretty(results)?).context("peers.json")?;
    println!("written: {}", json.display());
    if let Some(svg) = picture::draw(&results.sweep) {
        let picture = output.join("peers.svg");
        fs::write(&picture, svg).context("peers.svg")?;
        println!("written: {}", picture.display());
    }
    Ok(())
}
