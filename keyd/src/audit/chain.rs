//! The chain's links. Pure.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use keyd_client::message::{AuditRecord, UnixMillis};

use super::{Entry, Head};
use crate::limits::AUDIT_DETAIL_MAX;

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
        operation: entry.operation.to_owned(),
        subject: entry.subject,
        outcome: entry.outcome,
        detail: shorten(entry.detail),
        previous: head.hash.clone(),
    };
    let mut line = serde_json::to_vec(&record)?;
    let hash = hash(&line);
    line.push(b'\n');
    let len = head.len + line.len() as u64;
    let next = Head { seq: record.seq, hash, segment: head.segment, len };
    Ok((line, next))
}

fn shorten(mut detail: String) -> String {
    let end = (0..=AUDIT_DETAIL_MAX.min(detail.len()))
        .rev()
        .find(|&end| detail.is_char_boundary(end))
        .unwrap_or(0);
    detail.truncate(end);
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256() {
        // FIPS 180-4 example: "abc".
        assert_eq!(
            hash(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_detail_is_cut_between_characters() {
        let long = "ä".repeat(AUDIT_DETAIL_MAX);
        let short = shorten(format!("x{long}"));
        assert!(short.len() <= AUDIT_DETAIL_MAX && short.len() > AUDIT_DETAIL_MAX - 3);
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
