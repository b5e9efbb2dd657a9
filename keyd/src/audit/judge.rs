//! What of a log can still be relied on after a break.

use std::io;

use super::{
    Begin, Finding, Head, lines,
    segments::{Segment, Segments},
    verify,
};

/// A log that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The first bad row; none if the log is whole.
    pub finding: Option<Finding>,
    /// Where its newest whole part begins, at the beginning of a segment; none if the newest segment is broken itself.
    pub sound: Option<Begin>,
}

/// Follows the log, and beyond a bad row looks for the first segment from which on everything is whole. That segment
/// vouches for its own first row only; the committed head vouches for all of it.
///
/// # Errors
/// Reading it failed.
pub fn judge(segments: &Segments, begin: &Begin, head: &Head) -> io::Result<Judgement> {
    let finding = match verify::verify(segments, begin, head)? {
        Ok(()) => return Ok(Judgement { finding: None, sound: Some(begin.clone()) }),
        Err(finding) => finding,
    };
    let mut sound = None;
    for segment in segments.beginning_at(begin.seq + 1) {
        if let Some(candidate) = beginning(segments, segment, head)?
            && verify::verify(segments, &candidate, head)?.is_ok()
        {
            sound = Some(candidate);
            break;
        }
    }
    Ok(Judgement { finding: Some(finding), sound })
}

/// Where the chain begins if it begins with a segment; none if that has no record to say so.
///
/// # Errors
/// Reading it failed.
pub fn beginning(segments: &Segments, segment: Segment, head: &Head) -> io::Result<Option<Begin>> {
    if segment.current && segment.first == head.seq + 1 {
        return Ok(Some(Begin { seq: segment.first, previous: head.hash.clone() }));
    }
    let Some(mut lines) = segments.lines(segment, 0)? else {
        return Ok(None);
    };
    let line = lines.read()?;
    let record = line.as_deref().and_then(lines::parse).map(|(record, _)| record);
    Ok(record.map(|record| Begin { seq: segment.first, previous: record.previous.to_string() }))
}
