//! What is asked of every server.

use benches::load::Mix;
use serde::Serialize;

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Point {
    /// For tables.
    pub name: &'static str,
    #[serde(skip)]
    mix: Mix,
    /// Bytes of a request.
    pub block: u32,
    /// Requests at one time.
    pub depth: u16,
}

const RANDOM_READ: Mix = Mix { random: true, reads: 100 };
const RANDOM_WRITE: Mix = Mix { random: true, reads: 0 };
const READ: Mix = Mix { random: false, reads: 100 };
const WRITE: Mix = Mix { random: false, reads: 0 };

/// Latency.
pub const READ_ONE: Point =
    Point { name: "4k randread QD1", mix: RANDOM_READ, block: 4096, depth: 1 };
/// Requests a second.
pub const READ_MANY: Point =
    Point { name: "4k randread QD32", mix: RANDOM_READ, block: 4096, depth: 32 };
/// The same, writing.
pub const WRITE_MANY: Point =
    Point { name: "4k randwrite QD32", mix: RANDOM_WRITE, block: 4096, depth: 32 };
/// Bytes a second.
pub const READ_LONG: Point =
    Point { name: "128k read QD16", mix: READ, block: 128 << 10, depth: 16 };
/// The same, writing.
pub const WRITE_LONG: Point =
    Point { name: "128k write QD16", mix: WRITE, block: 128 << 10, depth: 16 };

/// All of them.
pub const POINTS: [Point; 5] = [READ_ONE, READ_MANY, WRITE_MANY, READ_LONG, WRITE_LONG];

/// Depths of the picture.
pub const DEPTHS: [u16; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Bytes of a disk, and how many of them are used: written before, then read and written.
pub const DISK_LEN: u64 = 2 << 30;
/// See above.
pub const SPAN: u64 = 1 << 30;

impl Point {
    /// What is asked.
    pub fn mix(self) -> Mix {
        self.mix
    }

    /// The same at another depth.
    pub fn at_depth(self, depth: u16) -> Self {
        Self { depth, ..self }
    }

    /// The rate of so many requests a second, as tables tell it.
    pub fn rate(self, iops: f64) -> String {
        if self.block > 4096 {
            format!("{:.2} GB/s", iops * f64::from(self.block) / 1e9)
        } else if iops < 99_950.0 {
            format!("{:.1}k", iops / 1e3)
        } else {
            format!("{:.0}k", iops / 1e3)
        }
    }
}
