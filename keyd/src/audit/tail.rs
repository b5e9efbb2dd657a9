//! The newest records, read from the end.

use std::io;

use keyd_client::message::AuditRecord;

use super::file::LogFile;

/// Bytes read at once.
const STEP: u64 = 64 << 10;

/// The newest `count` records before `end`, oldest first. Lines that are no records are left out: to find those is
/// [`super::verify`]'s work.
///
/// # Errors
/// Reading failed.
pub fn tail(log: &dyn LogFile, end: u64, count: usize) -> io::Result<Vec<AuditRecord>> {
    let mut bytes = Vec::new();
    let mut from = end;
    // One line end more than records: the first may be cut off in the middle.
    while from > 0 && bytes.iter().filter(|b| **b == b'\n').count() <= count {
        let start = from.saturating_sub(STEP);
        let mut chunk = read_exactly(log, start, from)?;
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

fn read_exactly(log: &dyn LogFile, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(to - from).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match log.read_at(from + filled as u64, &mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::audit::verify::tests::{Memory, written};

    #[test]
    fn the_newest_come_oldest_first() {
        let (lines, head) = written(1000);
        let log = Memory(Mutex::new(lines.concat()));
        for count in [0, 1, 2, 400, 999, 1000, 5000] {
            let seqs: Vec<u64> =
                tail(&log, head.len, count).unwrap().iter().map(|r| r.seq).collect();
            let expected: Vec<u64> = (1001 - count.min(1000) as u64..=1000).collect();
            assert_eq!(seqs, expected);
        }
    }
}
