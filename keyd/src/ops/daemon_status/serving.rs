//! What `status` says of how disks are served, by the account of their processes: what is slower than it has to be, and
//! what break-glass would not open.

use std::collections::{BTreeMap, BTreeSet};

use keyd_client::{
    DiskId, Printable,
    message::{BREAK_GLASS, Holder},
};

use crate::limits::DISK_WARNINGS_MAX;

/// A line for each reason for which disks have threads in place of io_uring, and one for each disk with a header that
/// stock tools refuse.
pub(super) fn warnings(holders: &[(DiskId, Holder)]) -> Vec<String> {
    let (mut slow, mut faulty) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::new());
    for (disk, holder) in holders {
        let Some(serving) = &holder.serving else { continue };
        if let Some(why) = &serving.no_ring {
            slow.entry(why).or_default().insert(*disk);
        }
        if let Some(fault) = &serving.stock_fault {
            faulty.insert(*disk, fault);
        }
    }
    let slow = slow.iter().map(|(why, disks)| (disks.len(), slow_line(why, disks)));
    let faulty = faulty.iter().map(|(disk, fault)| (1, faulty_line(*disk, fault)));
    bounded(slow).into_iter().chain(bounded(faulty)).collect()
}

fn slow_line(why: &Printable, disks: &BTreeSet<DiskId>) -> String {
    let [of, them] = match (disks.len(), disks.first()) {
        (1, Some(disk)) => [format!("disk {disk} has"), "its process is".to_owned()],
        (count, first) => {
            let first = first.map(|disk| format!(" ({disk} is one)")).unwrap_or_default();
            [format!("{count} disks{first} have"), "their processes are".to_owned()]
        }
    };
    format!(
        "{of} threads in place of io_uring, which is slower: {why}; what is mended counts when {them} started anew"
    )
}

fn faulty_line(disk: DiskId, fault: &Printable) -> String {
    format!("disk {disk}: {fault}; {BREAK_GLASS}")
}

/// So many lines as are read, and of how many disks the others are.
fn bounded(lines: impl Iterator<Item = (usize, String)>) -> Vec<String> {
    let (mut told, mut more) = (Vec::new(), 0);
    for (disks, line) in lines {
        match told.len() < DISK_WARNINGS_MAX {
            true => told.push(line),
            false => more += disks,
        }
    }
    if more > 0 {
        told.push(format!("so it is with {more} more disks: 'keyd disk show' says it of each"));
    }
    told
}

#[cfg(test)]
mod tests {
    use keyd_client::{
        LeaseId,
        message::{DiskState, Phase, Serving},
    };

    use super::*;

    fn holder(no_ring: Option<&str>, stock_fault: Option<&str>) -> (DiskId, Holder) {
        let serving = Serving {
            no_ring: no_ring.map(Printable::from),
            stock_fault: stock_fault.map(Printable::from),
            ..Serving::default()
        };
        let state = DiskState { phase: Phase::Running, since: 0, why: None };
        let lease = LeaseId::random();
        let holder = Holder { lease, pid: 1, uid: 1, attached: 0, state, serving: Some(serving) };
        (DiskId::random(), holder)
    }

    #[test]
    fn disks_that_are_slow_for_one_reason_have_one_line() {
        let mut holders: Vec<_> = (0..40).map(|_| holder(Some("no memory"), None)).collect();
        // Two readers of one disk.
        holders.push(holders[0].clone());
        holders.push(holder(Some("no right"), None));
        holders.push(holder(None, None));
        let told = warnings(&holders);
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(told[0].starts_with("40 disks (") && told[0].contains("no memory"), "{told:#?}");
        let alone = format!("disk {} has threads", holders[41].0);
        assert!(told[1].starts_with(&alone) && told[1].contains("no right"), "{told:#?}");
    }

    #[test]
    fn of_many_disks_some_are_told_and_the_others_counted() {
        let more = DISK_WARNINGS_MAX + 3;
        let holders: Vec<_> = (0..more).map(|_| holder(None, Some("it is odd"))).collect();
        let told = warnings(&holders);
        assert_eq!(told.len(), DISK_WARNINGS_MAX + 1);
        assert!(told[0].contains("it is odd; the disk is served, but a released"), "{}", told[0]);
        assert!(told[DISK_WARNINGS_MAX].contains("3 more disks"), "{told:#?}");
    }
}
