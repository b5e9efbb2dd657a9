//! Is the log what was written? The chain is followed from its beginning through every segment to the committed head.

use std::io;

use super::{
    Begin, Damage, Finding, Head, chain, lines,
    segments::{Segment, Segments},
};

/// Checks the log against where it begins and ends, by stream: memory does not grow with it. What lies behind the head
/// in the current segment is [`super::recover`]'s.
///
/// # Errors
/// Reading it failed.
pub fn verify(segments: &Segments, begin: &Begin, head: &Head) -> io::Result<Result<(), Finding>> {
    let mut walk = Walk { segments, begin, head, last: None };
    let files = segments.beginning_at(begin.seq);
    for (n, segment) in files.iter().enumerate() {
        if let Err(finding) = walk.follows(*segment) {
            return Ok(Err(finding));
        }
        if let Err(finding) = walk.through(*segment, files.get(n + 1))? {
            return Ok(Err(finding));
        }
    }
    Ok(walk.ends_right())
}

struct Walk<'a> {
    segments: &'a Segments,
    begin: &'a Begin,
    head: &'a Head,
    /// The newest row that is right.
    last: Option<Link>,
}

struct Link {
    seq: u64,
    hash: String,
    segment: Segment,
    /// Where it ends in its segment, bytes.
    end: u64,
}

enum Step {
    Follows(Link),
    /// It does not name the row before it.
    Unchained(Link),
    Bad(Damage),
}

impl Walk<'_> {
    fn seq(&self) -> u64 {
        self.last.as_ref().map_or(self.begin.seq.saturating_sub(1), |link| link.seq)
    }

    fn hash(&self) -> &str {
        self.last.as_ref().map_or(&self.begin.previous, |link| &link.hash)
    }

    fn at_head(&self) -> bool {
        self.seq() >= self.head.seq
    }

    /// Whether a segment begins where the one before it ends.
    fn follows(&self, segment: Segment) -> Result<(), Finding> {
        let next = self.seq() + 1;
        let name = segment.name();
        let before = self.last.as_ref().map(|link| link.segment.name());
        if segment.first > next {
            let place = match before {
                Some(before) => format!("between {before} and {name}"),
                None => format!("before {name}"),
            };
            return Err(Finding { row: next, what: Damage::Missing, place });
        }
        if segment.first < next {
            let place = format!("in {}", before.unwrap_or(name));
            return Err(Finding { row: segment.first, what: Damage::Surplus, place });
        }
        Ok(())
    }

    /// Follows the rows of a segment.
    fn through(
        &mut self,
        segment: Segment,
        after: Option<&Segment>,
    ) -> io::Result<Result<(), Finding>> {
        let (mut end, place) = (0, format!("in {}", segment.name()));
        let bad = |row, what| Ok(Err(Finding { row, what, place: place.clone() }));
        let Some(mut lines) = self.segments.lines(segment, 0)? else {
            return bad(segment.first, Damage::Missing);
        };
        loop {
            if self.at_head() && segment.current {
                return Ok(Ok(()));
            }
            let row = self.seq() + 1;
            let Some(line) = lines.read()? else {
                let short = segment.current && !self.at_head();
                return if short { bad(row, Damage::Missing) } else { Ok(Ok(())) };
            };
            if self.at_head() {
                return bad(row, Damage::Surplus);
            }
            end += line.len() as u64;
            match self.step(segment, end, &line) {
                Step::Follows(link) => self.last = Some(link),
                Step::Bad(what) => return bad(row, what),
                // One of the two was changed: the line after tells which.
                Step::Unchained(link) => {
                    let after = match (lines.read()?, after) {
                        (None, Some(segment)) => self.first_line(*segment)?,
                        (line, _) => line,
                    };
                    return Ok(Err(self.blame(&link, after.as_deref())));
                }
            }
        }
    }

    fn step(&self, segment: Segment, end: u64, line: &[u8]) -> Step {
        let seq = self.seq() + 1;
        let Some((record, body)) = lines::parse(line) else {
            return Step::Bad(Damage::NoRecord);
        };
        if record.seq != seq {
            return Step::Bad(Damage::Missing);
        }
        let link = Link { seq, hash: chain::hash(body), segment, end };
        if record.previous == self.hash() { Step::Follows(link) } else { Step::Unchained(link) }
    }

    fn first_line(&self, segment: Segment) -> io::Result<Option<Vec<u8>>> {
        self.segments.lines(segment, 0)?.map_or(Ok(None), |mut lines| lines.read())
    }

    /// If the line after, or the head, vouches for `link`, the row before it is the changed one.
    fn blame(&self, link: &Link, after: Option<&[u8]>) -> Finding {
        let vouched = match after.and_then(lines::parse) {
            _ if link.seq == self.head.seq => link.hash == self.head.hash,
            Some((record, _)) => record.previous == link.hash,
            None => false,
        };
        let blamed = self.last.as_ref().filter(|_| vouched).unwrap_or(link);
        let place = format!("in {}", blamed.segment.name());
        Finding { row: blamed.seq, what: Damage::Changed, place }
    }

    fn ends_right(&self) -> Result<(), Finding> {
        let end = self.last.as_ref().map_or(self.head.len, |link| link.end);
        // The next row comes into a segment of its own, which holds nothing yet.
        let begun = self.head.segment > self.head.seq;
        let right = self.seq() == self.head.seq && self.hash() == self.head.hash;
        if right && (begun || end == self.head.len) {
            return Ok(());
        }
        let place = self.last.as_ref().map(|link| link.segment.name()).unwrap_or_default();
        Err(Finding { row: self.head.seq, what: Damage::Changed, place: format!("in {place}") })
    }
}

#[cfg(test)]
pub(crate) mod tests;
