//! Rate and latency against depth, as an SVG that is readable on light and dark.

use std::fmt::Write as _;

use benches::figures::{Figures, spread};

use crate::{
    measure::Sample,
    plan::{DEPTHS, Point, READ_MANY, WRITE_MANY},
    servers::Family,
};

/// Families with their names and colours, which are told apart on white and on black, and by those who see no red.
const SERIES: [(Family, &str, &str); 4] = [
    (Family::Ours4096, "encrypted, 4096-byte units", "#0a84c6"),
    (Family::Ours512, "encrypted, 512-byte units", "#2ca089"),
    (Family::Raw, "qemu-storage-daemon, raw", "#8a8a8a"),
    (Family::Luks, "qemu-storage-daemon, LUKS", "#d9822b"),
];

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 640.0;
const PLOT: (f64, f64) = (350.0, 210.0);

/// A panel: what it shows, of which point, and by which figure.
struct Panel {
    title: &'static str,
    point: Point,
    take: fn(&Figures) -> f64,
    left: f64,
    top: f64,
    /// Latencies span decades.
    logarithmic: bool,
}

/// The picture; `None` without samples.
pub fn draw(swept: &[Sample]) -> Option<String> {
    if swept.is_empty() {
        return None;
    }
    let rate: fn(&Figures) -> f64 = |figures| figures.iops / 1e3;
    let tail: fn(&Figures) -> f64 = |figures| figures.latency.p99;
    let (left, right, upper, lower) = (70.0, 520.0, 60.0, 355.0);
    let panel = |title, point, take, left, top, logarithmic| Panel {
        title,
        point,
        take,
        left,
        top,
        logarithmic,
    };
    let panels = [
        panel("4k random reads: thousands a second", READ_MANY, rate, left, upper, false),
        panel("4k random writes: thousands a second", WRITE_MANY, rate, right, upper, false),
        panel("4k random reads: p99, microseconds", READ_MANY, tail, left, lower, true),
        panel("4k random writes: p99, microseconds", WRITE_MANY, tail, right, lower, true),
    ];
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<style>text{{fill:#444}}.grid{{stroke:#888;stroke-opacity:.35}}\
         @media(prefers-color-scheme:dark){{text{{fill:#ccc}}}}</style>\n\
         <text x=\"70\" y=\"22\" font-size=\"14\">One queue, one core for the server, requests at one time from 1 to 64 ({})</text>\n",
        swept[0].medium
    );
    panels.iter().for_each(|panel| panel.draw(swept, &mut svg));
    legend(&mut svg);
    svg.push_str("</svg>\n");
    Some(svg)
}

impl Panel {
    fn draw(&self, swept: &[Sample], svg: &mut String) {
        let lines = SERIES.map(|(family, _, colour)| (colour, self.line(swept, family)));
        let values = || lines.iter().flat_map(|(_, line)| line.iter().map(|&(_, value)| value));
        let most = values().fold(0.0, f64::max);
        let least = values().fold(f64::MAX, f64::min);
        let ticks = if self.logarithmic { decades(least, most) } else { steps(most) };
        let (bottom, top) = (ticks[0], ticks[ticks.len() - 1]);
        let scale = |value: f64| if self.logarithmic { value.max(1e-3).log10() } else { value };
        let y = |value: f64| {
            let share = (scale(value) - scale(bottom)) / (scale(top) - scale(bottom));
            self.top + PLOT.1 * (1.0 - share)
        };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\">{}</text>",
            self.left,
            self.top - 10.0,
            self.title
        );
        for tick in ticks {
            let at = y(tick);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{tick}</text>",
                self.left,
                self.left + PLOT.0,
                self.left - 6.0,
                at + 4.0
            );
        }
        for (number, depth) in DEPTHS.iter().enumerate() {
            let (x, y) = (self.x(number), self.top + PLOT.1 + 16.0);
            let _ =
                writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{depth}</text>");
        }
        for (colour, line) in &lines {
            let points: Vec<String> = line
                .iter()
                .map(|&(number, value)| format!("{:.1},{:.1}", self.x(number), y(value)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
                points.join(" ")
            );
        }
    }

    fn x(&self, number: usize) -> f64 {
        self.left + PLOT.0 * number as f64 / (DEPTHS.len() - 1) as f64
    }

    /// Medians of one family at every depth that was measured.
    fn line(&self, swept: &[Sample], family: Family) -> Vec<(usize, f64)> {
        let at = |(number, &depth): (usize, &u16)| {
            let point = self.point.at_depth(depth);
            let here = swept.iter().filter(|s| s.family == family && s.point == point);
            let mut values = here.map(|sample| (self.take)(&sample.figures)).peekable();
            values.peek()?;
            Some((number, spread(values)[0]))
        };
        DEPTHS.iter().enumerate().filter_map(at).collect()
    }
}

/// Round numbers from zero to above the greatest.
fn steps(most: f64) -> Vec<f64> {
    let rough = (most / 4.0).max(1e-9);
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|&step| step * decade >= rough);
    let step = step.unwrap_or(10.0) * decade;
    let count = (most / step).ceil().max(1.0) as usize;
    (0..=count).map(|number| number as f64 * step).collect()
}

/// Powers of ten around the least and the greatest.
fn decades(least: f64, most: f64) -> Vec<f64> {
    let (first, last) =
        (least.max(1e-3).log10().floor() as i32, most.max(1e-3).log10().ceil() as i32);
    (first..=last.max(first + 1)).map(|power| 10f64.powi(power)).collect()
}

fn legend(svg: &mut String) {
    for (number, (_, name, colour)) in SERIES.iter().enumerate() {
        let x = 40.0 + 215.0 * number as f64;
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"615\" y2=\"615\" stroke=\"{colour}\" stroke-width=\"4\"/>\
             <text x=\"{}\" y=\"619\">{name}</text>",
            x + 22.0,
            x + 28.0
        );
    }
}
