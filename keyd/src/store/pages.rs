//! Reads the rows of a database file that redb refuses, as far as they are there.
//!
//! redb has one answer to a page whose checksum is wrong: the file is corrupt, or its newest commit never was. A
//! record's tag can tell more. So here a file is read without its checksums, by redb's published format (version 3):
//! two commit slots, each the root of a tree of tables; each table a B+tree whose leaves hold keys and values.
//! Whatever a file holds, reading it ends: no page is visited twice, and no offset is believed.

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

/// The rows of the newest state in a file that proves to be one, not older than an audit row.
pub(super) fn newest(
    file: &dyn FileAt,
    seal: &Seal,
    seq: u64,
) -> std::io::Result<Option<Vec<Row>>> {
    let states = rows(file, seal)?.into_iter().filter_map(|rows| {
        let head = tables::provable(&rows, seal)?;
        (head.seq >= seq).then_some((head.seq, rows))
    });
    Ok(states.max_by_key(|(seq, _)| *seq).map(|(_, rows)| rows))
}

/// The rows under each commit slot.
fn rows(file: &dyn FileAt, seal: &Seal) -> std::io::Result<[Vec<Row>; 2]> {
    let header = read_range(file, 0, PAGE)?;
    let end = file.end()?;
    Ok(SLOTS.map(|slot| {
        let mut reader = Reader { file, seal, end, seen: HashSet::new() };
        let slot = header.get(slot..slot + SLOT_LEN).unwrap_or_default();
        reader.state(slot).unwrap_or_default()
    }))
}

struct Reader<'a> {
    file: &'a dyn FileAt,
    seal: &'a Seal,
    end: u64,
    seen: HashSet<u64>,
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

impl Reader<'_> {
    fn state(&mut self, slot: &[u8]) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        for (name, definition) in self.tree(root(slot, ROOT_AT)?, None) {
            let name = tables::known(&name);
            let Some(root) = root(&definition, TABLE_ROOT_AT) else { continue };
            let pairs = self.tree(root, Some(&name));
            rows.extend(pairs.into_iter().map(|(key, value)| Row {
                table: name.clone(),
                key,
                value,
            }));
        }
        Some(rows)
    }

    /// All pairs below a page, in order. Those of a table of ours are known by their tags.
    fn tree(&mut self, page: u64, table: Option<&str>) -> Vec<Pair> {
        let Some(bytes) = self.page(page) else {
            return Vec::new();
        };
        match bytes.first() {
            Some(&BRANCH) => {
                let children = children(&bytes);
                children.into_iter().flat_map(|child| self.tree(child, table)).collect()
            }
            // What it is does not depend on a byte that may be damaged.
            _ => self.leaf(bytes, table),
        }
    }

    fn page(&mut self, number: u64) -> Option<Vec<u8>> {
        let order = number >> 59;
        let index = number & (0xf_ffff >> order.min(20));
        let region = (number >> 20) & 0xf_ffff;
        if order > ORDER_MAX || !self.seen.insert(number) {
            return None;
        }
        let len = PAGE << order;
        let start = PAGE + region * REGION_PAGES * PAGE + index * len;
        (start + len <= self.end).then(|| read_range(self.file, start, start + len).ok())?
    }

    /// The pairs of a leaf. Where a single bit of its offsets is wrong, it is found by trying: with the right one
    /// more rows have the tags that are theirs.
    fn leaf(&self, mut bytes: Vec<u8>, table: Option<&str>) -> Vec<Pair> {
        let found = pairs(&bytes);
        let Some(table) = table else {
            return found;
        };
        let sound = |pairs: &[Pair]| {
            pairs.iter().filter(|(key, value)| self.seal.open(table, key, value).is_some()).count()
        };
        let count = usize::from(u16_at(&bytes, 2).unwrap_or_default());
        let mut best = (sound(&found), found);
        if best.0 == count {
            return best.1;
        }
        let head = (4 + 8 * count).min(bytes.len()).min(PAGE as usize);
        for bit in 2 * 8..head * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let tried = pairs(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let sound = sound(&tried);
            if sound > best.0 {
                best = (sound, tried);
            }
        }
        best.1
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

/// Number of pairs; where each key ends; where each value ends; keys; values. Ends count from the page's beginning. A
/// pair whose ends make no sense is left out.
fn pairs(bytes: &[u8]) -> Vec<Pair> {
    let count = usize::from(u16_at(bytes, 2).unwrap_or_default());
    let key_end = |n: usize| u32_at(bytes, 4 + 4 * n);
    let value_end = |n: usize| u32_at(bytes, 4 + 4 * count + 4 * n);
    let pair = |n: usize| {
        let key = match n {
            0 => 4 + 8 * count,
            _ => key_end(n - 1)?,
        };
        let value = match n {
            0 => key_end(count - 1)?,
            _ => value_end(n - 1)?,
        };
        let key = bytes.get(key..key_end(n)?)?;
        let value = bytes.get(value..value_end(n)?)?;
        Some((key.to_vec(), value.to_vec()))
    };
    (0..count).filter_map(pair).collect()
}
