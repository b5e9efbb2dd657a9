//! What a load measured.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::server::Used;

/// Microseconds from a request's submission until its answer was seen.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1000 were faster.
    pub p99_9: f64,
    /// The slowest.
    pub max: f64,
}

/// What a load measured.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Time measured.
    pub seconds: f64,
    /// Requests answered in it.
    pub requests: u64,
    /// Requests a second.
    pub iops: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Microseconds.
    pub latency: Latency,
    /// Kicks that the device asked for.
    pub kicks: u64,
    /// Sleeps that the device's interrupt ended.
    pub interrupts: u64,
    /// Server's CPU time for each request, user and system; none if no process was named.
    pub cpu_us_per_request: Option<f64>,
    /// What the server used.
    pub server: Option<Used>,
}

impl From<&Histogram<u64>> for Latency {
    fn from(nanoseconds: &Histogram<u64>) -> Self {
        let at = |quantile: f64| nanoseconds.value_at_quantile(quantile) as f64 / 1e3;
        let (mean, max) = (nanoseconds.mean() / 1e3, nanoseconds.max() as f64 / 1e3);
        Self { mean, p50: at(0.5), p99: at(0.99), p99_9: at(0.999), max }
    }
}

/// The middle of some values, and the least and the greatest. Of none, zeros.
#[must_use]
pub fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let Some((&least, &most)) = values.first().zip(values.last()) else { return [0.0; 3] };
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    [median, least, most]
}
