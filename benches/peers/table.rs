//! The tables.

use benches::figures::{Figures, spread};

use crate::{
    measure::{Sample, better, of, ratio},
    media::Kind,
    plan::Point,
    servers::{Family, Field},
};

/// What is told of a medium before its table.
pub fn heading(field: &Field) -> String {
    let mut text = format!("\n{}\n", field.kind().description());
    for candidate in &field.candidates {
        text.push_str(&format!("  {:<14} {}\n", candidate.name, candidate.remark));
    }
    text
}

/// One medium: each point with every server.
pub fn points(samples: &[Sample], medium: Kind) -> String {
    let mut text = String::new();
    let here = || samples.iter().filter(|sample| sample.medium == medium);
    let mut points: Vec<Point> = Vec::new();
    for sample in here() {
        if !points.contains(&sample.point) {
            points.push(sample.point);
        }
    }
    for point in points {
        text.push_str(&format!(
            "\n{:<18}{:>10}  {:<13}{:>8}{:>8}{:>8}   {:<18}{}\n",
            point.name, "median", "least-most", "CPU/req", "p50 us", "p99 us", "x raw", "x LUKS"
        ));
        let mut servers: Vec<&str> = Vec::new();
        for sample in here().filter(|sample| sample.point == point) {
            if !servers.contains(&&sample.server[..]) {
                servers.push(&sample.server);
            }
        }
        for server in servers {
            text.push_str(&row(samples, medium, point, server));
        }
    }
    text
}

fn row(samples: &[Sample], medium: Kind, point: Point, server: &str) -> String {
    let figure = |take: fn(&Figures) -> f64| spread(of(samples, medium, point, server).map(take));
    let [median, least, most] = figure(|figures| figures.iops);
    let [cpu, ..] = figure(|figures| figures.cpu_us_per_request.unwrap_or(0.0));
    let [p50, ..] = figure(|figures| figures.latency.p50);
    let [p99, ..] = figure(|figures| figures.latency.p99);
    let bare = |iops: f64| point.rate(iops).replace(" GB/s", "");
    let range = format!("{}-{}", bare(least), bare(most));
    let mut row = format!(
        "  {server:<16}{:>10}  {range:<13}{cpu:>8.2}{p50:>8.1}{p99:>8.1}",
        point.rate(median)
    );
    let ours = samples.iter().any(|sample| {
        sample.server == server && matches!(sample.family, Family::Ours512 | Family::Ours4096)
    });
    if ours {
        row.push_str("   ");
        for family in [Family::Raw, Family::Luks] {
            let cell = better(samples, medium, point, family).map_or(String::new(), |theirs| {
                let [median, least, most] = ratio(samples, medium, point, server, theirs);
                format!("{median:.2} ({least:.2}-{most:.2})")
            });
            row.push_str(&format!("{cell:<18}"));
        }
    }
    format!("{}\n", row.trim_end())
}
