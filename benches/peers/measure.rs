//! Servers take turns; every measurement becomes a sample.

use std::{
    io::{IsTerminal, stderr},
    sync::atomic::Ordering,
};

use anyhow::{Context, Result, bail};
use benches::{
    figures::{Figures, spread},
    front_end::{FrontEnd, Options},
    load::{Job, STOP, Until, run},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{
    args::Pace,
    media::Kind,
    plan::{DEPTHS, POINTS, Point, READ_MANY, SPAN, WRITE_MANY},
    servers::{Candidate, Family, Field},
};

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Where.
    pub medium: Kind,
    /// Of which server.
    pub server: String,
    /// What that is.
    pub family: Family,
    /// Of which load.
    pub point: Point,
    /// In which turn.
    pub round: usize,
    /// What came out.
    pub figures: Figures,
}

/// How far it is: a bar on a terminal, else a line now and then.
pub struct Progress(ProgressBar);

impl Progress {
    /// So many steps.
    pub fn new(steps: usize) -> Self {
        if !stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(steps as u64);
        let style =
            ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed} of ~{duration}  {msg}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// A step begins.
    pub fn step(&self, what: String) {
        self.0.inc(1);
        self.0.set_message(what);
    }

    /// A part begins: told in any case.
    pub fn part(&self, what: &str) {
        if self.0.is_hidden() {
            eprintln!("{what}");
        }
        self.0.set_message(what.to_owned());
    }
}

/// Writes what will be read, and overwritten.
pub fn fill(field: &Field, progress: &Progress) -> Result<()> {
    let mut filled: Vec<Family> = Vec::new();
    for candidate in &field.candidates {
        // Both engines of a peer have the same file.
        if filled.contains(&candidate.family) {
            continue;
        }
        filled.push(candidate.family);
        progress.part(&format!("{}: {} writes its disk", field.kind(), candidate.name));
        fill_one(candidate)?;
    }
    // Nothing of the filling goes on while something is measured.
    rustix::fs::sync();
    Ok(())
}

/// Writes one server's disk.
pub fn fill_one(candidate: &Candidate) -> Result<()> {
    let point = POINTS[4];
    let until = Until::Requests(SPAN / u64::from(point.block));
    load(candidate, point, 1, until).map(drop)
}

/// One measurement.
pub fn load(candidate: &Candidate, point: Point, queues: u16, until: Until) -> Result<Figures> {
    let options = Options { queues, depth: point.depth, block: point.block, ..Options::default() };
    let (mix, block, span) = (point.mix(), point.block, SPAN);
    let job = Job { mix, block, span, until, sleep: false, seed: 1 };
    let attempt = || {
        let mut front_end = FrontEnd::connect(&candidate.socket, &options)?;
        run(&mut front_end, &job, None, Some(candidate.server()))
    };
    let figures = attempt().with_context(|| {
        let tasks = candidate.server().tasks();
        format!("{}, {} (the server's threads: {tasks})", candidate.name, point.name)
    })?;
    if STOP.load(Ordering::Relaxed) {
        bail!("stopped");
    }
    Ok(figures)
}

/// Every point on every server, in turns: a slow spell of the machine hits all of them.
pub fn rounds(
    field: &Field,
    points: &[Point],
    pace: &Pace,
    progress: &Progress,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let until = Until::Time(pace.warm_up, pace.time);
    for round in 0..pace.rounds {
        progress.part(&format!("{}: round {} of {}", field.kind(), round + 1, pace.rounds));
        field.warm()?;
        for &point in points {
            for candidate in &field.candidates {
                progress.step(format!("{}: {}, {}", field.kind(), point.name, candidate.name));
                // What the one before left in the page cache must not be written during this one's turn.
                rustix::fs::sync();
                let figures = load(candidate, point, 1, until)?;
                samples.push(sample(field, candidate, point, round, figures));
            }
        }
    }
    Ok(samples)
}

/// Depth after depth, for the picture: ours, and of the peers the engine that was better.
pub fn sweep(
    field: &Field,
    samples: &[Sample],
    pace: &Pace,
    progress: &Progress,
) -> Result<Vec<Sample>> {
    let mut swept = Vec::new();
    let until = Until::Time(pace.warm_up, pace.time);
    let families = [Family::Ours512, Family::Ours4096, Family::Raw, Family::Luks];
    progress.part(&format!("{}: depth after depth", field.kind()));
    for round in 0..pace.sweeps {
        for (point, depth) in sweep_points() {
            for family in families {
                let better = better(samples, field.kind(), point, family);
                let candidate = field.of(family).find(|candidate| Some(&candidate.name) == better);
                let Some(candidate) = candidate else { continue };
                let point = point.at_depth(depth);
                progress.step(format!("{} at depth {depth}, {}", point.name, candidate.name));
                let figures = load(candidate, point, 1, until)?;
                swept.push(sample(field, candidate, point, round, figures));
            }
        }
    }
    Ok(swept)
}

fn sweep_points() -> impl Iterator<Item = (Point, u16)> {
    [READ_MANY, WRITE_MANY].into_iter().flat_map(|point| DEPTHS.map(|depth| (point, depth)))
}

/// Steps of the sweep, at most.
pub fn sweep_steps(pace: &Pace) -> usize {
    sweep_points().count() * 4 * pace.sweeps
}

fn sample(
    field: &Field,
    candidate: &Candidate,
    point: Point,
    round: usize,
    figures: Figures,
) -> Sample {
    let (medium, server, family) = (field.kind(), candidate.name.clone(), candidate.family);
    Sample { medium, server, family, point, round, figures }
}

/// The server of a family that has the highest median at a point.
pub fn better(samples: &[Sample], medium: Kind, point: Point, family: Family) -> Option<&String> {
    let here = samples
        .iter()
        .filter(|sample| (sample.medium, sample.point, sample.family) == (medium, point, family));
    let mut servers: Vec<&String> = here.map(|sample| &sample.server).collect();
    servers.sort();
    servers.dedup();
    servers.into_iter().max_by(|a, b| {
        let median = |server: &str| {
            spread(of(samples, medium, point, server).map(|figures| figures.iops))[0]
        };
        median(a).total_cmp(&median(b))
    })
}

/// What a server measured at a point, turn by turn.
pub fn of<'a>(
    samples: &'a [Sample],
    medium: Kind,
    point: Point,
    server: &'a str,
) -> impl Iterator<Item = &'a Figures> {
    let here = move |sample: &&Sample| {
        sample.medium == medium && sample.point == point && sample.server == server
    };
    samples.iter().filter(here).map(|sample| &sample.figures)
}

/// Ratio of two servers, turn by turn: median, least, greatest.
pub fn ratio(samples: &[Sample], medium: Kind, point: Point, ours: &str, theirs: &str) -> [f64; 3] {
    let ours = of(samples, medium, point, ours);
    let theirs = of(samples, medium, point, theirs);
    spread(ours.zip(theirs).map(|(ours, theirs)| ours.iops / theirs.iops))
}
