//! The log's files, and which rows lie in which.

use std::{io, sync::Arc};

use super::lines::Lines;
use crate::files::{Dir, FileAt, Stream};

/// The segment that grows.
pub const CURRENT: &str = "audit.log";

/// The next one, while it is made.
pub const UNFINISHED: &str = "audit.new";

/// Digits of a row's number in a closed segment's name: names sort as rows do.
const DIGITS: usize = 20;

/// The name of a closed segment.
#[must_use]
pub fn closed_name(first: u64) -> String {
    format!("audit-{first:0DIGITS$}.log")
}

/// The first row of the closed segment of a name, if it is one's.
#[must_use]
pub fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".log")?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// First rows of the closed segments, in order.
///
/// # Errors
/// The system's.
pub fn closed(dir: &dyn Dir) -> io::Result<Vec<u64>> {
    let mut firsts: Vec<u64> = dir.names()?.iter().filter_map(|name| first_of(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// The log's files at one moment.
#[derive(Clone)]
pub struct Segments {
    dir: Arc<dyn Dir>,
    /// First rows of the closed ones, in order.
    closed: Vec<u64>,
    /// First row of the current one, its number the next one's if it is empty.
    current_first: u64,
    current: Arc<dyn FileAt>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first row.
    pub first: u64,
    /// Whether it is the one that grows.
    pub current: bool,
}

impl Segment {
    /// Its file's name.
    #[must_use]
    pub fn name(self) -> String {
        if self.current { CURRENT.to_owned() } else { closed_name(self.first) }
    }
}

impl Segments {
    /// As they are now. The current one is given open: its name may become another's.
    ///
    /// # Errors
    /// The system's.
    pub fn list(
        dir: Arc<dyn Dir>,
        current_first: u64,
        current: Arc<dyn FileAt>,
    ) -> io::Result<Self> {
        let closed = closed(&*dir)?;
        Ok(Self { dir, closed, current_first, current })
    }

    /// Those that begin at `row` or later, in order.
    #[must_use]
    pub fn beginning_at(&self, row: u64) -> Vec<Segment> {
        self.all().filter(|segment| segment.first >= row).collect()
    }

    /// Those that hold rows from `row` on, in order.
    #[must_use]
    pub fn holding(&self, row: u64) -> Vec<Segment> {
        let all: Vec<Segment> = self.all().collect();
        let skip = all.iter().rposition(|segment| segment.first <= row).unwrap_or(0);
        all[skip..].to_vec()
    }

    fn all(&self) -> impl Iterator<Item = Segment> {
        let closed = self.closed.iter().map(|first| Segment { first: *first, current: false });
        closed.chain([Segment { first: self.current_first, current: true }])
    }

    /// One's file; none if it went away meanwhile.
    ///
    /// # Errors
    /// The system's.
    pub fn file(&self, segment: Segment) -> io::Result<Option<Arc<dyn FileAt>>> {
        if segment.current {
            return Ok(Some(self.current.clone()));
        }
        self.dir.open(&segment.name())
    }

    /// One's lines from an offset on, bytes; none if it went away.
    ///
    /// # Errors
    /// The system's.
    pub fn lines(&self, segment: Segment, offset: u64) -> io::Result<Option<Lines<Stream>>> {
        Ok(self.file(segment)?.map(|file| Lines::new(Stream::new(file, offset))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_closed_segments_are_exact() {
        assert_eq!(closed_name(7), "audit-00000000000000000007.log");
        assert_eq!(first_of(&closed_name(u64::MAX)), Some(u64::MAX));
        for other in [
            "audit.log",
            "audit-7.log",
            "audit-0000000000000000000x.log",
            "audit-+0000000000000000007.log",
            "audit-99999999999999999999.log",
            "audit-00000000000000000007.log.part",
        ] {
            assert_eq!(first_of(other), None, "{other}");
        }
    }
}
