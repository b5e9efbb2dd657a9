//! Lines of a segment, and the records in them.

use std::io::{self, BufRead, BufReader, Read};

use keyd_client::message::AuditRecord;

use crate::limits::AUDIT_LINE_MAX;

/// Lines of limited length, their ends included; the last may have none.
#[derive(Debug)]
pub struct Lines<R>(BufReader<R>);

impl<R: Read> Lines<R> {
    /// Of a stream.
    pub fn new(reader: R) -> Self {
        Self(BufReader::with_capacity(64 << 10, reader))
    }

    /// The next one.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.0).take(AUDIT_LINE_MAX as u64).read_until(b'\n', &mut line)?;
        Ok((!line.is_empty()).then_some(line))
    }
}

/// A whole line as a record, and its bytes without the end.
#[must_use]
pub fn parse(line: &[u8]) -> Option<(AuditRecord, &[u8])> {
    let body = line.strip_suffix(b"\n")?;
    let record = serde_json::from_slice(body).ok()?;
    Some((record, body))
}
