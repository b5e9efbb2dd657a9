//! What the guest gave to the device: which heads, how often, and which of its memory to be written. Followed here
//! without any of the device's judgement: what it refuses is counted as given, too.

use std::collections::{BTreeMap, BTreeSet};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::guest::{AVAIL, DESCRIPTORS, REGIONS, TABLES_END, USED};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const IN_TABLE: u16 = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Oracle {
    /// Each head's places in the avail ring: a ring's life, and the index.
    offered: BTreeMap<u32, BTreeSet<(u32, u16)>>,
    /// How often each came back.
    returned: BTreeMap<u32, usize>,
    writable: Vec<(u64, u64)>,
    lives: u32,
    pub(super) used: u16,
    /// The guest had its ring or tables written by the device, or changed them within a turn: what the device saw
    /// there is not known.
    pub(super) blind: bool,
    /// The guest wrote into the used ring.
    pub(super) lies: bool,
    /// It moved the avail index as no driver does, or offered what there is not.
    pub(super) wild: bool,
    /// The ring is being stopped: the device may put back into it what it cannot answer.
    pub(super) stops: bool,
}

impl Oracle {
    /// A ring starts.
    pub(super) fn begin(&mut self, memory: &GuestMemoryMmap) {
        self.lives += 1;
        self.used = word(memory, USED + 2);
    }

    /// A predecessor may have taken any of these.
    pub(super) fn inherits(&mut self, size: u16) {
        (0..size).for_each(|head| {
            self.offered.entry(u32::from(head)).or_default().insert((0, 0));
        });
        self.see_chains(None, 0..size);
        self.wild = true;
    }

    /// What can be had from the ring as it is now.
    pub(super) fn see(&mut self, memory: &GuestMemoryMmap, size: u16) {
        let index = word(memory, AVAIL + 2);
        let places = (1..=size).map(|back| index.wrapping_sub(back));
        let mut heads = BTreeSet::new();
        for place in places {
            let head = word(memory, AVAIL + 4 + 2 * u64::from(place % size));
            self.offered.entry(u32::from(head)).or_default().insert((self.lives, place));
            heads.insert(head);
        }
        self.wild |= index.wrapping_sub(self.used) > size;
        self.see_chains(Some(memory), heads.into_iter());
    }

    fn see_chains(&mut self, memory: Option<&GuestMemoryMmap>, heads: impl Iterator<Item = u16>) {
        let Some(memory) = memory else {
            self.blind = true;
            return;
        };
        for head in heads {
            let mut found = Vec::new();
            if let Some((table, len)) = follow(memory, DESCRIPTORS, 0x1000, head, &mut found) {
                follow(memory, table, len, 0, &mut found);
            }
            self.blind |= found.iter().any(|&(start, len)| start < TABLES_END && len > 0);
            self.writable.extend(found);
        }
        self.writable.sort_unstable();
        self.writable.dedup();
    }

    /// The guest itself writes there, while the device is at work.
    pub(super) fn written(&mut self, at: u64, len: u64) {
        self.writable.push((at, len));
    }

    /// Takes what came back.
    pub(super) fn collect(&mut self, memory: &GuestMemoryMmap, size: u16) {
        let used = word(memory, USED + 2);
        let count = used.wrapping_sub(self.used);
        if self.blind || self.lies {
            self.used = used;
            return;
        }
        assert!(count <= 2 * size, "{count} came back at once from a ring of {size}");
        for back in (1..=count.min(size)).rev() {
            let slot = u64::from(used.wrapping_sub(back) % size);
            let head: u32 = memory.read_obj(GuestAddress(USED + 4 + 8 * slot)).expect("memory");
            let returned = self.returned.entry(head).or_default();
            *returned += 1;
            let offered = self.offered.get(&head).map_or(0, BTreeSet::len);
            assert!(*returned <= offered, "head {head} came back {returned} times of {offered}");
        }
        self.used = used;
    }

    /// Compares memory before and after the device was at work.
    pub(super) fn compare(&self, before: &[Vec<u8>], after: &[Vec<u8>], size: u16) {
        if self.blind {
            return;
        }
        let used = USED..USED + 4 + 8 * u64::from(size) + 2;
        let entries = AVAIL + 4..AVAIL + 4 + 2 * u64::from(size);
        for ((&(start, _), before), after) in REGIONS.iter().zip(before).zip(after) {
            if before == after {
                continue;
            }
            for (at, _) in before.iter().zip(after).enumerate().filter(|(_, (a, b))| a != b) {
                let at = start + at as u64;
                let given = self
                    .writable
                    .iter()
                    .any(|&(start, len)| at.checked_sub(start).is_some_and(|offset| offset < len));
                let ring = used.contains(&at) || (self.stops && entries.contains(&at));
                assert!(given || ring, "guest memory at {at:#x} was written");
            }
        }
    }
}

/// The device's place to write in one table's chain; gives the indirect table that it ends in.
fn follow(
    memory: &GuestMemoryMmap,
    table: u64,
    len: u64,
    first: u16,
    found: &mut Vec<(u64, u64)>,
) -> Option<(u64, u64)> {
    let mut index = first;
    let mut seen = BTreeSet::new();
    while seen.insert(index) {
        let offset = 16 * u64::from(index);
        let at = table.checked_add(offset).filter(|_| offset < len)?;
        let address: u64 = memory.read_obj(GuestAddress(at)).ok()?;
        let len: u32 = memory.read_obj(GuestAddress(at + 8)).ok()?;
        let flags: u16 = memory.read_obj(GuestAddress(at + 12)).ok()?;
        let next: u16 = memory.read_obj(GuestAddress(at + 14)).ok()?;
        if flags & IN_TABLE != 0 {
            return Some((address, u64::from(len)));
        }
        if flags & WRITE != 0 {
            found.push((address, u64::from(len)));
        }
        if flags & NEXT == 0 {
            return None;
        }
        index = next;
    }
    None
}

fn word(memory: &GuestMemoryMmap, at: u64) -> u16 {
    memory.read_obj(GuestAddress(at)).expect("in memory")
}

/// All of guest memory.
pub(super) fn snapshot(memory: &GuestMemoryMmap) -> Vec<Vec<u8>> {
    let region = |&(start, len): &(u64, usize)| {
        let mut bytes = vec![0; len];
        memory.read_slice(&mut bytes, GuestAddress(start)).expect("in memory");
        bytes
    };
    REGIONS.iter().map(region).collect()
}
