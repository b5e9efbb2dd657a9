//! What is to be reached, and what was.

use benches::figures::{Figures, spread};

use crate::{
    measure::{Sample, better, of, ratio},
    media::Kind,
    plan::{POINTS, Point, READ_LONG, READ_MANY, READ_ONE, WRITE_LONG, WRITE_MANY},
    servers::Family,
};

/// A ratio to a peer's rate.
struct Line {
    number: u8,
    point: Point,
    peer: Family,
    target: f64,
    floor: f64,
}

const fn line(number: u8, point: Point, peer: Family, target: f64, floor: f64) -> Line {
    Line { number, point, peer, target, floor }
}

const LINES: [Line; 9] = [
    line(1, READ_MANY, Family::Raw, 1.8, 1.4),
    line(1, READ_MANY, Family::Luks, 6.0, 4.5),
    line(1, WRITE_MANY, Family::Raw, 1.8, 1.4),
    line(1, WRITE_MANY, Family::Luks, 6.0, 4.5),
    line(2, READ_ONE, Family::Raw, 1.5, 1.2),
    line(3, READ_LONG, Family::Raw, 1.0, 0.8),
    line(3, READ_LONG, Family::Luks, 9.0, 7.0),
    line(3, WRITE_LONG, Family::Raw, 1.0, 0.8),
    line(3, WRITE_LONG, Family::Luks, 9.0, 7.0),
];

/// What is to be reached and is told by another table.
pub const ELSEWHERE: &str = "\
4   the cipher: scripts/bench cipher
5   encryption on against off in our own path: scripts/bench encryption
6   a quiet guest, under 0.5 % of a core: the table of quiet guests
7   queues: the table of queues
8   from inside a guest: scripts/bench guest";

/// Every line with its target, its floor, the figure and what that means, on one medium.
pub fn lines(samples: &[Sample], medium: Kind) -> String {
    let mut text = format!(
        "\n{:<4}{:<38}{:>7}{:>7}{:>9}  on {medium}\n",
        "", "to be reached", "target", "floor", "figure"
    );
    let server = |family: Family| {
        let found = samples.iter().find(|s| s.medium == medium && s.family == family);
        found.map(|sample| &sample.server[..])
    };
    for family in [Family::Ours512, Family::Ours4096] {
        let Some(ours) = server(family) else { continue };
        for line in &LINES {
            let Some(theirs) = better(samples, medium, line.point, line.peer) else { continue };
            let [figure, ..] = ratio(samples, medium, line.point, ours, theirs);
            let name = format!("{}: {} / {theirs}", line.point.name, &ours["ours ".len()..]);
            text.push_str(&format!(
                "{:<4}{name:<38}{:>7.2}{:>7.2}{figure:>9.2}  {}\n",
                line.number,
                line.target,
                line.floor,
                verdict(figure, line)
            ));
        }
        text.push_str(&tails(samples, medium, ours));
        text.push_str(&cpu(samples, medium, ours));
    }
    text
}

fn verdict(figure: f64, line: &Line) -> &'static str {
    match figure {
        figure if figure >= line.target => "reached",
        figure if figure >= line.floor => "above the floor",
        _ => "NOT reached",
    }
}

/// Latency of single reads: no worse than raw's.
fn tails(samples: &[Sample], medium: Kind, ours: &str) -> String {
    let Some(raw) = better(samples, medium, READ_ONE, Family::Raw) else { return String::new() };
    let tail = |name: &str, take: fn(&Figures) -> f64| {
        let figures =
            [ours, raw].map(|server| spread(of(samples, medium, READ_ONE, server).map(take))[0]);
        at_most(2, READ_ONE, &format!("{name} us"), ours, raw, figures)
    };
    tail("p50", |figures| figures.latency.p50) + &tail("p99", |figures| figures.latency.p99)
}

/// CPU time for each request: below raw's, at every point.
fn cpu(samples: &[Sample], medium: Kind, ours: &str) -> String {
    let mut text = String::new();
    for point in POINTS {
        let Some(raw) = better(samples, medium, point, Family::Raw) else { continue };
        let cpu = |figures: &Figures| figures.cpu_us_per_request.unwrap_or(0.0);
        let figures =
            [ours, raw].map(|server| spread(of(samples, medium, point, server).map(cpu))[0]);
        text.push_str(&at_most(6, point, "CPU us", ours, raw, figures));
    }
    text
}

fn at_most(
    number: u8,
    point: Point,
    what: &str,
    ours: &str,
    theirs: &str,
    [figure, limit]: [f64; 2],
) -> String {
    let name = format!("{}, {what}: {} / {theirs}", point.name, &ours["ours ".len()..]);
    let verdict = if figure <= limit { "reached" } else { "NOT reached" };
    format!("{number:<4}{name:<38}{limit:>7.1}{:>7}{figure:>9.1}  {verdict}\n", "")
}
