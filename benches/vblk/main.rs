//! A load for any vhost-user-blk device: ours, qemu-storage-daemon's, SPDK's.

mod args;
mod report;

use std::{process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result};
use args::{Args, Plan};
use benches::{
    cores,
    front_end::FrontEnd,
    load::{Job, Mix, Until, run},
    pattern::Ledger,
    pin,
    server::Server,
};
use clap::Parser;
use report::Report;

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("vblk: {error:#}");
            return ExitCode::from(2);
        }
    };
    pin(&[args.core.or(cores().first().copied()).unwrap_or(0)]);
    match execute(&plan) {
        Ok(report) if args.json => println!("{}", report.json()),
        Ok(report) => print!("{report}"),
        Err(error) => {
            eprintln!("vblk: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn execute(plan: &Plan) -> Result<Report> {
    let mut front_end = FrontEnd::connect(&plan.socket, &plan.options)?;
    let mut report = Report::new(plan, &front_end);
    if let Some(time) = plan.idle {
        report.idle(plan.server, time)?;
        return Ok(report);
    }
    let span = plan.job.span.min(front_end.capacity);
    let blocks = span / u64::from(plan.job.block);
    let mut ledger = plan.verify.then(|| Ledger::new(blocks, plan.job.block));
    let pass = |reads: u8| Job {
        mix: Mix { random: false, reads },
        until: Until::Requests(blocks),
        ..plan.job
    };
    if plan.fill {
        run(&mut front_end, &pass(0), ledger.as_mut(), None).context("filling the disk")?;
    }
    report.figures = run(&mut front_end, &plan.job, ledger.as_mut(), plan.server)?;
    if let Some(ledger) = &mut ledger {
        run(&mut front_end, &pass(100), Some(ledger), None).context("reading all again")?;
        report.verified = Some(ledger.verified);
    }
    if let Some(server) = plan.server {
        report.footprint = Some(server.footprint()?);
    }
    Ok(report)
}

/// What a server uses while its guest is quiet.
fn quiet(server: Server, time: Duration) -> Result<benches::server::Used> {
    // What connecting cost is over by then.
    thread::sleep(Duration::from_millis(500));
    let before = server.usage()?;
    thread::sleep(time);
    Ok(server.usage()?.since(&before))
}
