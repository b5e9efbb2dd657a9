//! The chain's links. Pure.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use keyd_client::{
    message::{AuditRecord, UnixMillis},
    printable,
};

use super::{Entry, Head};

/// SHA-256 of a line without its end, hexadecimal.
#[must_use]
pub fn hash(line: &[u8]) -> String {
    hexadecimal(digest(&SHA256, line).as_ref())
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The next line of a log with this head, its end included, and the head after it.
///
/// # Errors
/// None that happen: the record is strings and numbers.
pub fn link(
    head: &Head,
    time: UnixMillis,
    entry: Entry,
) -> Result<(Vec<u8>, Head), serde_json::Error> {
    let record = AuditRecord {
        seq: head.seq + 1,
        time,
        who: entry.who,
        operation: entry.operation.into(),
        subject: entry.subject,
        outcome: entry.outcome,
        detail: entry.detail,
        previous: head.hash.as_str().into(),
    };
    let mut line = printable::to_line(&record)?;
    let hash = hash(&line);
    line.push(b'\n');
    let len = head.len + line.len() as u64;
    let next = Head { seq: record.seq, hash, segment: head.segment, len };
    Ok((line, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::AUDIT_ROW_LEN_MAX;

    #[test]
    fn the_hash_is_sha256() {
        // FIPS 180-4 example: "abc".
        assert_eq!(
            hash(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_row_is_one_line_that_no_terminal_obeys_and_of_limited_length() {
        let foreign =
            format!("x\n{{\"seq\":9}}\r\x1b[1A\u{9b}2K\u{202e}\u{2028}{}", "\\\"".repeat(5000));
        let entry = Entry::new(&foreign, "x", &foreign).outcome(&foreign).detail(&foreign);
        let (line, _) = link(&Head::default(), 5, entry).unwrap();
        let text = std::str::from_utf8(&line).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.trim_end().chars().any(printable::is_hidden), "{text}");
        assert!(line.len() < AUDIT_ROW_LEN_MAX, "{}", line.len());
        let record: AuditRecord = serde_json::from_slice(&line).unwrap();
        assert!(record.subject.starts_with(r#"x\n{"seq":9}\r\u{1b}[1A"#), "{}", record.subject);
    }

    #[test]
    fn a_link_names_the_one_before() {
        let entry = || Entry::by_daemon("x", "y");
        let (first, head) = link(&Head::default(), 5, entry()).unwrap();
        let (second, _) = link(&head, 6, entry()).unwrap();
        let record: AuditRecord = serde_json::from_slice(&second).unwrap();
        assert_eq!(record.previous, hash(first.trim_ascii_end()));
        assert_eq!((record.seq, head.len), (2, first.len() as u64));
    }
}
