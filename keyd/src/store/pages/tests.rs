//! Files that nobody's disk has made: what is read of them ends. The pages are written here by redb's published format.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{files::Found, store::testing};

/// A file of so many pages behind the header, which counts the bytes that are read of it.
struct File {
    bytes: Vec<u8>,
    read: AtomicU64,
}

impl File {
    fn new(pages: usize) -> Self {
        let mut bytes = vec![0; PAGE as usize * (1 + pages)];
        // In the first slot: a root, and where.
        bytes[SLOTS[0] + ROOT_AT.0] = 1;
        Self { bytes, read: AtomicU64::default() }
    }

    fn page(&mut self, n: usize) -> &mut [u8] {
        &mut self.bytes[PAGE as usize * (1 + n)..]
    }

    /// A page with these children.
    fn branch(&mut self, n: usize, children: &[u64]) {
        let page = self.page(n);
        page[0] = BRANCH;
        let count = children.len() - 1;
        page[2..4].copy_from_slice(&(count as u16).to_le_bytes());
        for (child, number) in children.iter().enumerate() {
            let at = 8 + 16 * (count + 1) + 8 * child;
            page[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
    }

    fn reader<'a>(&'a self, seal: &'a Seal) -> Reader<'a> {
        let end = self.bytes.len() as u64;
        Reader { file: self, seal, end, seen: HashSet::new(), tries: TRIES_MAX }
    }
}

impl FileAt for File {
    fn end(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let len = out.len().min(rest.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }

    fn look(&self) -> io::Result<Found> {
        unimplemented!("it is only read")
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        unimplemented!("it is only read")
    }

    fn resize(&self, _: u64) -> io::Result<()> {
        unimplemented!("it is only read")
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        unimplemented!("it is only read")
    }

    fn sync(&self) -> io::Result<()> {
        unimplemented!("it is only read")
    }

    fn forget_cached(&self) -> io::Result<()> {
        unimplemented!("it is only read")
    }
}

#[test]
fn a_tree_without_an_end_is_left() {
    let mut file = File::new(20_000);
    (0..20_000).for_each(|n| file.branch(n, &[n as u64 + 1]));
    // As little stack as a connection has.
    let small = thread::Builder::new().stack_size(crate::limits::THREAD_STACK_LEN);
    let read = small.spawn(move || newest(&file, &testing::seal(), 0).unwrap().is_none());
    assert!(read.unwrap().join().unwrap());
}

/// A number has 19 bits without a meaning.
#[test]
fn a_page_with_many_names_is_read_once() {
    let mut file = File::new(1 << 8);
    let names: Vec<u64> = (0..160).map(|name| (8 << 59) | (name << 40)).collect();
    file.branch(0, &names);
    assert_eq!(newest(&file, &testing::seal(), 0).unwrap(), None);
    let read = file.read.load(Ordering::Relaxed);
    // The header, the page, and the one that begins with it and is as long as the file.
    assert!(read <= 2 * file.bytes.len() as u64, "{read}");
}

/// Every pair of it is as long as the page, or nothing.
#[test]
fn pairs_that_lie_over_each_other_take_no_more_room_than_a_few_pages() {
    let pages = 1 << 8;
    let mut file = File::new(pages);
    let len = pages * PAGE as usize;
    let count = 0xfffe_usize;
    let page = file.page(0);
    page[2..4].copy_from_slice(&(count as u16).to_le_bytes());
    for end in 0..2 * count {
        let to = if end % 2 == 0 { len as u32 } else { 4 + 8 * count as u32 };
        page[4 + 4 * end..8 + 4 * end].copy_from_slice(&to.to_le_bytes());
    }
    let seal = testing::seal();
    let began = Instant::now();
    let found = file.reader(&seal).tree(8 << 59, Some("keys"), DEPTH_MAX);
    let room: usize = found.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(room > len && room <= OVERLAP_MAX * len, "{room}");
    // A build without optimisation, on a machine that others use: it would be days.
    assert!(began.elapsed() < Duration::from_secs(300));
}

/// A leaf of these pairs.
fn leaf(rows: &[Pair]) -> Vec<u8> {
    let count = rows.len();
    let (mut numbers, mut bytes) = (vec![1, 0], Vec::new());
    numbers.extend((count as u16).to_le_bytes());
    let keys = rows.iter().map(|(key, _)| key);
    for part in keys.chain(rows.iter().map(|(_, value)| value)) {
        bytes.extend(part);
        numbers.extend((4 + 8 * count as u32 + bytes.len() as u32).to_le_bytes());
    }
    let mut page = [numbers, bytes].concat();
    page.resize(PAGE as usize, 0);
    page
}

#[test]
fn one_wrong_bit_of_a_leafs_numbers_loses_no_pair_and_one_elsewhere_only_its_own() {
    let seal = testing::seal();
    let row = |n: u8| {
        let key = vec![b'a' + n; 3 + usize::from(n)];
        let value = seal.seal("keys", &key, &[n; 20]);
        (key, value)
    };
    let rows: Vec<Pair> = (0..12).map(row).collect();
    let (page, file) = (leaf(&rows), File::new(0));
    let used = 4 + 8 * rows.len() + rows.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    for bit in 16..used * 8 {
        let mut rotten = page.clone();
        flip(&mut rotten, bit);
        let found = file.reader(&seal).leaf(rotten, Some("keys"));
        let kept = rows.iter().filter(|row| found.contains(row)).count();
        let numbers = bit < (4 + 8 * rows.len()) * 8;
        assert_eq!(kept, rows.len() - usize::from(!numbers), "bit {bit}");
    }
}
