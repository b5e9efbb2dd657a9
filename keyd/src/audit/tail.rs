//! The newest records, read from the end.

use std::io;

use keyd_client::message::AuditRecord;

use super::{lines, segments::Segments};
use crate::files::{FileAt, read_range};

/// Bytes read at once.
const STEP: u64 = 64 << 10;

/// The newest `count` records up to `end` of the current segment (bytes), oldest first. Lines that are no records are
/// left out: to find those is [`super::verify`]'s work.
///
/// # Errors
/// Reading failed.
pub fn tail(segments: &Segments, end: u64, count: usize) -> io::Result<Vec<AuditRecord>> {
    let mut newest = Vec::new();
    for segment in segments.holding(0).into_iter().rev() {
        let wanted = count - newest.len();
        if wanted == 0 {
            break;
        }
        if let Some(file) = segments.file(segment)? {
            let whole = file.end()?;
            let end = if segment.current { end.min(whole) } else { whole };
            let mut records = last_records(&*file, end, wanted)?;
            records.append(&mut newest);
            newest = records;
        }
    }
    Ok(newest)
}

fn last_records(file: &dyn FileAt, end: u64, count: usize) -> io::Result<Vec<AuditRecord>> {
    let mut bytes = Vec::new();
    let mut from = end;
    // One line end more than records: the first may be cut off in the middle.
    while from > 0 && bytes.iter().filter(|b| **b == b'\n').count() <= count {
        let start = from.saturating_sub(STEP);
        let mut chunk = read_range(file, start, from)?;
        chunk.append(&mut bytes);
        (bytes, from) = (chunk, start);
    }
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let whole = lines.get(usize::from(from > 0)..).unwrap_or_default();
    let records: Vec<AuditRecord> =
        whole.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let surplus = records.len().saturating_sub(count);
    Ok(records.into_iter().skip(surplus).collect())
}

/// The newest line that is a record, its end included, whatever lies behind it.
///
/// # Errors
/// Reading failed.
pub fn last_line(file: &dyn FileAt, end: u64) -> io::Result<Option<Vec<u8>>> {
    let mut step = STEP;
    loop {
        let from = end.saturating_sub(step);
        let bytes = read_range(file, from, end)?;
        let mut lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
        if from > 0 && !lines.is_empty() {
            lines.remove(0);
        }
        let found = lines.into_iter().rev().find(|line| lines::parse(line).is_some());
        if found.is_some() || from == 0 {
            return Ok(found.map(<[u8]>::to_vec));
        }
        step *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verify::tests::{in_one, in_segments, written};

    fn seqs(segments: &Segments, end: u64, count: usize) -> Vec<u64> {
        tail(segments, end, count).unwrap().iter().map(|record| record.seq).collect()
    }

    #[test]
    fn the_newest_come_oldest_first() {
        let (lines, head) = written(1000);
        let log = in_one(&lines.concat());
        for count in [0, 1, 2, 400, 999, 1000, 5000] {
            let expected: Vec<u64> = (1001 - count.min(1000) as u64..=1000).collect();
            assert_eq!(seqs(&log, head.len, count), expected);
        }
    }

    #[test]
    fn they_are_read_across_segments() {
        let (lines, _) = written(30);
        let (log, head) = in_segments(&lines, &[1, 11, 12, 25]);
        for count in [0, 1, 6, 7, 19, 30, 31] {
            let expected: Vec<u64> = (31 - count.min(30) as u64..=30).collect();
            assert_eq!(seqs(&log, head.len, count), expected);
        }
    }
}
