//! Many queues of ours, and a huge disk.

use std::time::{Duration, Instant};

use anyhow::Result;
use benches::{
    cores,
    figures::Figures,
    front_end::{FrontEnd, Options},
    load::{Job, Until, run},
    server::Footprint,
};
use serde::Serialize;

use crate::{
    args::Pace,
    measure::{Progress, fill_one, load},
    plan::{DISK_LEN, Point, READ_MANY, SPAN},
    servers::{Candidate, Family, Field, on_cores, server_core},
};

/// One number of queues.
#[derive(Debug, Clone, Serialize)]
pub struct Queues {
    queues: u16,
    depth: u16,
    cores: usize,
    figures: Figures,
    footprint: Footprint,
}

/// What a disk's size makes of its start.
#[derive(Debug, Clone, Serialize)]
pub struct Attach {
    bytes: u64,
    milliseconds: f64,
}

/// Queues, requests at one time on each, whether the server has all cores.
const SHAPES: [(u16, u16, bool); 6] =
    [(1, 32, false), (2, 32, false), (1, 32, true), (2, 32, true), (8, 16, true), (64, 4, true)];

/// Reads at random places through 1 to 64 queues.
pub fn measure(
    field: &Field,
    client: usize,
    pace: &Pace,
    progress: &Progress,
) -> Result<Vec<Queues>> {
    let mut measured = Vec::new();
    for (everywhere, pinned_to) in [(false, vec![server_core()]), (true, cores())] {
        let name = if everywhere { "ours-wide" } else { "ours-narrow" };
        let server = on_cores(&pinned_to, client, || {
            field.ours(name, Family::Ours512, 512, DISK_LEN, "--num-queues 64")
        })?;
        progress.part(&format!("{}: many queues", field.kind()));
        fill_one(&server)?;
        for (queues, depth, _) in SHAPES.into_iter().filter(|shape| shape.2 == everywhere) {
            let point = READ_MANY.at_depth(depth);
            let until = Until::Time(pace.warm_up, pace.time);
            progress.step(format!("{queues} queues"));
            let figures = load(&server, point, queues, until)?;
            let footprint = connected(&server, point, queues)?;
            let cores = pinned_to.len();
            measured.push(Queues { queues, depth, cores, figures, footprint });
        }
    }
    Ok(measured)
}

/// What a server occupies with so many queues once each has worked.
fn connected(server: &Candidate, point: Point, queues: u16) -> Result<Footprint> {
    let options = Options { queues, depth: point.depth, block: point.block, ..Options::default() };
    let mut front_end = FrontEnd::connect(&server.socket, &options)?;
    let job = Job {
        mix: point.mix(),
        block: point.block,
        span: SPAN,
        until: Until::Requests(u64::from(queues) * 1000),
        sleep: false,
        seed: 1,
    };
    run(&mut front_end, &job, None, None)?;
    server.server().footprint()
}

/// From the start of a server to its first answer, for disks of two sizes.
pub fn attach(field: &Field, client: usize) -> Result<Vec<Attach>> {
    let mut attached = Vec::new();
    for bytes in [1 << 30, 16 << 40] {
        let name = format!("ours-{}g", bytes >> 30);
        let took = on_cores(&[server_core()], client, || -> Result<Duration> {
            let server = field.ours(&name, Family::Ours512, 512, bytes, "")?;
            // Its disk is there: what is measured is another start.
            drop(server);
            let begun = Instant::now();
            let server = field.start(&name, Family::Ours512, "");
            let point = READ_MANY.at_depth(1);
            let options = Options { depth: 1, ..Options::default() };
            let mut front_end = FrontEnd::connect(&server.socket, &options)?;
            let (mix, until) = (point.mix(), Until::Requests(1));
            let job = Job { mix, block: 4096, span: SPAN, until, sleep: false, seed: 1 };
            run(&mut front_end, &job, None, None)?;
            Ok(begun.elapsed())
        });
        attached.push(Attach { bytes, milliseconds: took?.as_secs_f64() * 1e3 });
    }
    Ok(attached)
}

/// Both tables.
pub fn table(measured: &[Queues], attached: &[Attach]) -> String {
    let mut text = format!(
        "\n{:<30}{:>8}{:>9}{:>10}{:>9}{:>15}{:>13}\n",
        "queues x depth, 4k randread",
        "cores",
        "median",
        "p99 us",
        "CPU us",
        "resident MiB",
        "locked MiB"
    );
    for queues in measured {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        text.push_str(&format!(
            "  {:<28}{:>8}{:>9}{:>10.1}{:>9.2}{:>15.1}{:>13.1}\n",
            format!("{} x {}", queues.queues, queues.depth),
            queues.cores,
            READ_MANY.rate(queues.figures.iops),
            queues.figures.latency.p99,
            queues.figures.cpu_us_per_request.unwrap_or(0.0),
            mib(queues.footprint.resident),
            mib(queues.footprint.locked)
        ));
    }
    text.push_str("  The client has a core to itself only where the server has one core: with all, they share.\n");
    for attach in attached {
        text.push_str(&format!(
            "  a disk of {} GiB: {:.0} ms from the server's start to its first answer\n",
            attach.bytes >> 30,
            attach.milliseconds
        ));
    }
    text
}
