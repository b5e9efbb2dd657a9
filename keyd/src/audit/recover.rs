//! What a crash may leave behind the committed head, and what is done about it.
//!
//! A record is written and synced, then the head is committed with the change. A crash between the two leaves one whole
//! record whose change never happened; a crash inside the write leaves a torn line. A crash while *that* is being
//! written down leaves further recovery records. Anything else was not written by this daemon.

use std::io;

use super::{
    Damage, Finding, Head, chain, lines,
    segments::{Segment, Segments},
};

/// The verb of records that a recovery writes.
pub const OPERATION: &str = "audit-recover";

/// What to do with the log before the next record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The head to go on from: the committed one, or that of whole records behind it.
    pub head: Head,
    /// Numbers of kept records that had no effect, from and to.
    pub without_effect: Option<(u64, u64)>,
    /// Bytes of a torn line, to be cut.
    pub torn: u64,
}

impl Plan {
    /// What it does, in words; none if there is nothing to do.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let torn = (self.torn > 0).then(|| format!("a torn line of {} bytes was cut", self.torn));
        let without_effect = self
            .without_effect
            .map(|(from, to)| format!("not committed: seq {from} to {to} had no effect"));
        let told: Vec<String> = [torn, without_effect].into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// Judges what lies behind the committed head, which is in the current segment or ends the one before it
/// ([`Head::in_new_segment`]).
///
/// # Errors
/// Reading it failed.
pub fn plan(segments: &Segments, committed: &Head) -> io::Result<Result<Plan, Finding>> {
    let current = Segment { first: committed.segment, current: true };
    let place = format!("in {}", current.name());
    let mut head = committed.clone();
    let mut torn = 0;
    let surplus = |head: &Head| {
        Ok(Err(Finding { row: head.seq + 1, what: Damage::Surplus, place: place.clone() }))
    };
    if let Some(mut lines) = segments.lines(current, committed.len)? {
        while let Some(line) = lines.read()? {
            match follow(&head, &line, head.seq > committed.seq) {
                Some(next) if torn == 0 => head = next,
                Some(_) => return surplus(&head),
                // Only the last line can be torn.
                None if torn == 0 && !line.ends_with(b"\n") => torn = line.len() as u64,
                None => return surplus(&head),
            }
        }
    }
    let without_effect = (head.seq > committed.seq).then_some((committed.seq + 1, head.seq));
    Ok(Ok(Plan { head, without_effect, torn }))
}

/// The head after a line, if it is a record that follows. After the first only recovery records may come.
fn follow(head: &Head, line: &[u8], recovery_only: bool) -> Option<Head> {
    let (record, body) = lines::parse(line)?;
    let follows = record.seq == head.seq + 1
        && record.previous == head.hash
        && (!recovery_only || record.operation == OPERATION);
    follows.then(|| Head {
        seq: record.seq,
        hash: chain::hash(body),
        segment: head.segment,
        len: head.len + line.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{
        Entry,
        verify::tests::{in_one, written},
    };

    fn planned(bytes: &[u8], committed: &Head) -> Result<Plan, Finding> {
        plan(&in_one(bytes), committed).unwrap()
    }

    #[test]
    fn any_cut_inside_the_next_record_is_a_torn_line() {
        let (lines, _) = written(3);
        let (before, committed) = written(2);
        let last = &lines[2];
        for cut in 0..last.len() {
            let bytes = [before.concat(), last[..cut].to_vec()].concat();
            let plan = planned(&bytes, &committed).unwrap();
            assert_eq!((plan.torn, &plan.head), (cut as u64, &committed));
            assert_eq!(plan.without_effect, None);
        }
    }

    #[test]
    fn one_whole_record_is_kept_and_known_to_have_had_no_effect() {
        let (lines, head) = written(3);
        let (_, committed) = written(2);
        let plan = planned(&lines.concat(), &committed).unwrap();
        assert_eq!((plan.head, plan.without_effect, plan.torn), (head, Some((3, 3)), 0));
    }

    #[test]
    fn two_ordinary_records_are_not_ours() {
        let (lines, _) = written(4);
        let (_, committed) = written(2);
        let finding = planned(&lines.concat(), &committed).unwrap_err();
        assert_eq!((finding.row, finding.what), (4, Damage::Surplus));
    }

    #[test]
    fn a_recovery_that_crashed_itself_is_recovered() {
        let (mut lines, head) = written(3);
        let (_, committed) = written(2);
        let (recovery, last) = chain::link(&head, 9, Entry::by_daemon(OPERATION, "x")).unwrap();
        lines.push(recovery);
        let plan = planned(&lines.concat(), &committed).unwrap();
        assert_eq!((plan.head, plan.without_effect), (last, Some((3, 4))));
    }

    #[test]
    fn a_forged_line_behind_the_head_is_found() {
        let (mut lines, committed) = written(2);
        lines.push(b"{}\n".to_vec());
        assert!(planned(&lines.concat(), &committed).is_err());
    }
}
