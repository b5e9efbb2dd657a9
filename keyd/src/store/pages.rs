//! Reads the rows of a database file that redb refuses, as far as they are there.
//!
//! redb has one answer to a page whose checksum is wrong: the file is corrupt, or its newest commit never was. A
//! record's tag can tell more. So here a file is read without its checksums, by redb's published format (version 3):
//! two commit slots, each the root of a tree of tables; each table a B+tree whose leaves hold keys and values.
//! Whatever a file holds, reading it ends, soon and in memory of a few times its length: no page is visited twice, no
//! tree is deep, no offset is believed, and no pair is longer than its page has room for.

use std::collections::HashSet;

use super::{tables, whole::Row};
use crate::{
    files::{FileAt, read_range},
    seal::Seal,
};

const PAGE: u64 = 4096;
/// Pages of a region; no region has a header.
const REGION_PAGES: u64 = 1 << 20;
const SLOTS: [usize; 2] = [64, 192];
const SLOT_LEN: usize = 128;
/// In a slot, and in a table's definition: whether there is a root, and where it is.
const ROOT_AT: (usize, usize) = (1, 8);
const TABLE_ROOT_AT: (usize, usize) = (9, 10);
const BRANCH: u8 = 2;
/// Longest page that is read: redb's largest order that a row of ours needs many times over.
const ORDER_MAX: u64 = 14;
/// Deepest tree: pages that are half full would need more disks than there are.
const DEPTH_MAX: usize = 32;
/// Pairs lie side by side; one end that is wrong makes two or three of them as long as the page.
const OVERLAP_MAX: usize = 4;
/// Bytes that are looked at in all, to find bits that are wrong: seconds.
const TRIES_MAX: u64 = 1 << 30;
/// And for one leaf, in its own lengths: all that one wrong bit of its ends can take.
const TRIES_OF_LEAF: u64 = 4096;
/// What a look costs at least, bytes.
const TRY_LEN: u64 = 256;

/// The rows of the newest state in a file that proves to be one, not older than an audit row.
///
/// # Errors
/// The system's.
pub fn newest(file: &dyn FileAt, seal: &Seal, seq: u64) -> std::io::Result<Option<Vec<Row>>> {
    let states = rows(file, seal)?.into_iter().filter_map(|rows| {
        let head = tables::provable(&rows, seal)?;
        (head.seq >= seq).then_some((head.seq, rows))
    });
    Ok(states.max_by_key(|(seq, _)| *seq).map(|(_, mut rows)| {
        tables::with_format(&mut rows);
        rows
    }))
}

/// The rows under each commit slot.
fn rows(file: &dyn FileAt, seal: &Seal) -> std::io::Result<[Vec<Row>; 2]> {
    let header = read_range(file, 0, PAGE)?;
    let end = file.end()?;
    Ok(SLOTS.map(|slot| {
        let mut reader = Reader { file, seal, end, seen: HashSet::new(), tries: TRIES_MAX };
        let slot = header.get(slot..slot + SLOT_LEN).unwrap_or_default();
        reader.state(slot).unwrap_or_default()
    }))
}

struct Reader<'a> {
    file: &'a dyn FileAt,
    seal: &'a Seal,
    end: u64,
    /// Pages by their beginning and their length.
    seen: HashSet<(u64, u64)>,
    /// Bytes that may still be looked at for bits that are wrong.
    tries: u64,
}

/// A key and its value.
type Pair<T = Vec<u8>> = (T, T);

impl Reader<'_> {
    fn state(&mut self, slot: &[u8]) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        let tables = self.tree(root(slot, ROOT_AT)?, None, DEPTH_MAX);
        let (above, mut begun) = (self.seen.clone(), HashSet::new());
        for (name, definition) in tables {
            let name = tables::known(&name);
            let Some(root) = root(&definition, TABLE_ROOT_AT) else { continue };
            // One that leads to another's pages takes none of them from it. There are so many tables of ours.
            if tables::is_ours(name.as_bytes()) && begun.insert(name.clone()) {
                self.seen.clone_from(&above);
            }
            let pairs = self.tree(root, Some(&name), DEPTH_MAX);
            rows.extend(pairs.into_iter().map(|(key, value)| Row {
                table: name.clone(),
                key,
                value,
            }));
        }
        Some(rows)
    }

    /// All pairs below a page, in order. Those of a table of ours are known by their tags.
    fn tree(&mut self, page: u64, table: Option<&str>, depth: usize) -> Vec<Pair> {
        let Some(bytes) = self.page(page).filter(|_| depth > 0) else {
            return Vec::new();
        };
        match bytes.first() {
            Some(&BRANCH) => {
                let children = children(&bytes);
                children.into_iter().flat_map(|child| self.tree(child, table, depth - 1)).collect()
            }
            // What it is does not depend on a byte that may be damaged.
            _ => self.leaf(bytes, table),
        }
    }

    /// A number has bits without a meaning: a page is known by where it lies.
    fn page(&mut self, number: u64) -> Option<Vec<u8>> {
        let order = number >> 59;
        let index = number & (0xf_ffff >> order.min(20));
        let region = (number >> 20) & 0xf_ffff;
        if order > ORDER_MAX {
            return None;
        }
        let len = PAGE << order;
        let start = PAGE + region * REGION_PAGES * PAGE + index * len;
        let is_new = start + len <= self.end && self.seen.insert((start, len));
        is_new.then(|| read_range(self.file, start, start + len).ok())?
    }

    /// The pairs of a leaf.
    fn leaf(&mut self, mut bytes: Vec<u8>, table: Option<&str>) -> Vec<Pair> {
        let seal = self.seal;
        let wrong = match table {
            Some(table) => self.wrong_bit(&mut bytes, |(key, value)| {
                tables::is_bare(table, key) || seal.open(table, key, value).is_some()
            }),
            // Definitions have no tags, and one length, as all keys and values are bytes.
            None => {
                let lengths = pairs(&bytes).into_iter().flatten().map(|(_, value)| value.len());
                let lengths: Vec<usize> = lengths.collect();
                let times = |len: &usize| lengths.iter().filter(|other| *other == len).count();
                let usual = lengths.iter().copied().max_by_key(times);
                self.wrong_bit(&mut bytes, |(name, definition)| {
                    tables::is_ours(name) && Some(definition.len()) == usual
                })
            }
        };
        if let Some(bit) = wrong {
            flip(&mut bytes, bit);
        }
        let found = pairs(&bytes).into_iter().flatten();
        found.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    /// The bit of a leaf's numbers that is wrong, if there is one: without it more pairs are what they should be. It is
    /// found by trying.
    fn wrong_bit(
        &mut self,
        bytes: &mut [u8],
        judge: impl Fn(Pair<&[u8]>) -> bool,
    ) -> Option<usize> {
        let is_sound = |pair: Option<Pair<&[u8]>>| pair.is_some_and(&judge);
        let len = |(key, value): &Pair<&[u8]>| (key.len() + value.len()) as u64 + TRY_LEN;
        let sound: Vec<bool> = pairs(bytes).into_iter().map(is_sound).collect();
        let wrong = sound.iter().filter(|sound| !**sound).count();
        if wrong == 0 {
            return None;
        }
        let count = sound.len();
        let mut tries = self.tries.min(TRIES_OF_LEAF * bytes.len() as u64);
        let before = tries;
        let (mut best, mut most) = (None, 0);
        for bit in bits_of_numbers(&sound) {
            if most == wrong || tries == 0 {
                break;
            }
            flip(bytes, bit);
            let (gained, looked) = match touched(bit, count) {
                // Where each pair lies follows from their number.
                None => {
                    let pairs = pairs(bytes);
                    let looked = pairs.iter().flatten().map(len).sum::<u64>() + pairs.len() as u64;
                    let now = pairs.into_iter().filter(|pair| is_sound(*pair)).count();
                    ((now + wrong).saturating_sub(count), looked)
                }
                Some(touched) => {
                    let of = |n: &usize| pair(bytes, count, *n);
                    let looked = touched.iter().filter_map(of).map(|pair| len(&pair)).sum::<u64>();
                    let now = touched.iter().filter(|n| is_sound(of(n))).count();
                    let was = touched.iter().filter(|n| sound[**n]).count();
                    (now.saturating_sub(was), looked + TRY_LEN)
                }
            };
            flip(bytes, bit);
            tries = tries.saturating_sub(looked);
            if gained > most {
                (best, most) = (Some(bit), gained);
            }
        }
        self.tries -= before - tries;
        best
    }
}

/// Bits of a leaf's numbers that can be the wrong one: those of how many pairs there are, and of ends between which a
/// pair is not sound.
fn bits_of_numbers(sound: &[bool]) -> impl Iterator<Item = usize> + '_ {
    let count = sound.len();
    let of_count = 2 * 8..4 * 8;
    let of_ends = (4 * 8..(4 + 8 * count) * 8).filter(move |bit| {
        touched(*bit, count).is_some_and(|touched| touched.iter().any(|n| !sound[*n]))
    });
    of_count.chain(of_ends)
}

/// The pairs that lie elsewhere if a bit of a leaf's ends is another; none if it is all of them.
fn touched(bit: usize, count: usize) -> Option<Vec<usize>> {
    let end = (bit / 8).checked_sub(4)? / 4;
    let n = end % count;
    // Values begin where the last key ends.
    let first = (end == count - 1).then_some(0);
    let mut touched: Vec<usize> = first.into_iter().chain(n..(n + 2).min(count)).collect();
    touched.dedup();
    Some(touched)
}

fn flip(bytes: &mut [u8], bit: usize) {
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
    usize::try_from(number).ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn root(bytes: &[u8], (there, at): (usize, usize)) -> Option<u64> {
    (*bytes.get(there)? != 0).then(|| u64_at(bytes, at))?
}

fn children(bytes: &[u8]) -> Vec<u64> {
    let count = usize::from(u16_at(bytes, 2).unwrap_or_default()) + 1;
    let numbers = 8 + 16 * count;
    (0..count).map_while(|child| u64_at(bytes, numbers + 8 * child)).collect()
}

/// The pairs of a leaf, in their order. One whose ends make no sense is none, nor are those for which there is no room
/// beside the others.
fn pairs(bytes: &[u8]) -> Vec<Option<Pair<&[u8]>>> {
    let count = usize::from(u16_at(bytes, 2).unwrap_or_default());
    let mut room = OVERLAP_MAX * bytes.len();
    let fitting = |n| {
        let (key, value) = pair(bytes, count, n)?;
        room = room.checked_sub(key.len() + value.len())?;
        Some((key, value))
    };
    (0..count).map(fitting).collect()
}

/// Number of pairs; where each key ends; where each value ends; keys; values. Ends count from the page's beginning.
fn pair(bytes: &[u8], count: usize, n: usize) -> Option<Pair<&[u8]>> {
    let key_end = |n: usize| u32_at(bytes, 4 + 4 * n);
    let value_end = |n: usize| u32_at(bytes, 4 + 4 * count + 4 * n);
    let key = match n {
        0 => 4 + 8 * count,
        _ => key_end(n - 1)?,
    };
    let value = match n {
        0 => key_end(count - 1)?,
        _ => value_end(n - 1)?,
    };
    Some((bytes.get(key..key_end(n)?)?, bytes.get(value..value_end(n)?)?))
}

#[cfg(test)]
mod tests;
