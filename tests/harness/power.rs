//! A disk with a volatile write cache, and what is left of it when the power goes.
//!
//! Model: 512-byte sectors arrive whole, in any order. A sync makes durable what had ended before the sync began, and
//! nothing else; one that fails loses some of it for good and forgets that it did, as page caches do. A durable write
//! is durable by itself. At a power cut any part of the rest is there, that of operations under way included.

use std::collections::{BTreeMap, BTreeSet};

use vhost_backend::disk::sim::{Change, Happening};

use crate::history::SECTOR;

/// Prefixes of the lost sectors that are tried at a power cut, at most.
const PREFIXES: usize = 6;

/// Random subsets of them that are tried.
const SUBSETS: usize = 3;

/// A sector on its way to the medium.
#[derive(Debug, Clone)]
struct Piece {
    number: u64,
    at: usize,
    bytes: Vec<u8>,
}

/// What a power cut may leave.
#[derive(Debug)]
pub struct Survivor {
    /// The disk.
    pub image: Vec<u8>,
    /// Where sectors of it were not yet durable, and arrived all the same. The rest is [`PoweredDisk::medium`].
    pub arrived: BTreeSet<usize>,
}

/// A disk and its cache.
#[derive(Debug)]
pub struct PoweredDisk {
    medium: Vec<u8>,
    current: Vec<u8>,
    cache: Vec<Piece>,
    /// Operations that have begun, and how much the cache had taken by then.
    open: BTreeMap<u64, (Change, u64)>,
    taken: u64,
}

impl PoweredDisk {
    /// A disk that holds `image`, all of it durable.
    #[must_use]
    pub fn new(image: Vec<u8>) -> Self {
        let current = image.clone();
        Self { medium: image, current, cache: Vec::new(), open: BTreeMap::new(), taken: 0 }
    }

    /// What is durable.
    #[must_use]
    pub fn medium(&self) -> &[u8] {
        &self.medium
    }

    /// What a reader finds.
    #[must_use]
    pub fn current(&self) -> &[u8] {
        &self.current
    }

    /// Follows what happened to a disk.
    ///
    /// # Panics
    /// If an operation ends that did not begin.
    pub fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Began(number, change) => {
                self.open.insert(number, (change, self.taken));
            }
            Happening::Ended(number, moved) => match self.open.remove(&number).expect("it began") {
                (Change::Write { at, bytes, durable }, _) => {
                    self.write(at, &bytes[..moved], durable);
                }
                (Change::Punch { at, len }, _) => self.write(at, &vec![0; len], false),
                (Change::Sync, taken) => self.sync(taken, |_| true),
            },
            Happening::Again(number) => {
                self.open.remove(&number).expect("it began");
            }
            Happening::Failed(number) => {
                if let (Change::Sync, taken) = self.open.remove(&number).expect("it began") {
                    self.sync(taken, |piece| piece.number % 2 == 0);
                }
            }
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8], durable: bool) {
        self.current[at..at + bytes.len()].copy_from_slice(bytes);
        let end = (at + bytes.len()).next_multiple_of(SECTOR);
        for at in (at / SECTOR * SECTOR..end).step_by(SECTOR) {
            let bytes = &self.current[at..at + SECTOR];
            if durable {
                self.medium[at..at + SECTOR].copy_from_slice(bytes);
                self.cache.retain(|piece| piece.at != at);
            } else {
                self.taken += 1;
                self.cache.push(Piece { number: self.taken, at, bytes: bytes.to_vec() });
            }
        }
    }

    /// Empties the cache of what it had taken by then. What does not `arrive` is lost.
    fn sync(&mut self, taken: u64, arrives: impl Fn(&Piece) -> bool) {
        let (old, new): (Vec<Piece>, Vec<Piece>) =
            std::mem::take(&mut self.cache).into_iter().partition(|piece| piece.number <= taken);
        old.iter().filter(|piece| arrives(piece)).for_each(|piece| put(&mut self.medium, piece));
        self.cache = new;
    }

    /// Sectors that a power cut may take, oldest first.
    fn at_risk(&self) -> Vec<Piece> {
        let under_way = self.open.values().flat_map(|(change, _)| match change {
            Change::Write { at, bytes, .. } => sectors(*at, bytes),
            Change::Punch { at, len } => sectors(*at, &vec![0; *len]),
            Change::Sync => vec![],
        });
        self.cache.iter().cloned().chain(under_way).collect()
    }

    /// What a power cut now may leave beside the [`PoweredDisk::medium`] alone: all of what is at risk, some prefixes,
    /// one sector more or less, random subsets.
    #[must_use]
    pub fn survivors(&self, random: &mut fastrand::Rng) -> Vec<Survivor> {
        let risk = self.at_risk();
        let survivor = |subset: Vec<bool>| self.with(&risk, &subset);
        subsets(risk.len(), random).into_iter().map(survivor).collect()
    }

    /// What a power cut now may leave: one of all that may be, the medium alone among them.
    #[must_use]
    pub fn survivor(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let risk = self.at_risk();
        let mut subsets = subsets(risk.len(), random);
        subsets.push(vec![false; risk.len()]);
        self.with(&risk, &subsets[random.usize(0..subsets.len())]).image
    }

    fn with(&self, risk: &[Piece], arrived: &[bool]) -> Survivor {
        let mut image = self.medium.clone();
        let pieces = risk.iter().zip(arrived).filter_map(|(piece, here)| here.then_some(piece));
        let arrived =
            pieces.inspect(|piece| put(&mut image, piece)).map(|piece| piece.at).collect();
        Survivor { image, arrived }
    }
}

/// Which of so many sectors arrived: not none.
fn subsets(count: usize, random: &mut fastrand::Rng) -> Vec<Vec<bool>> {
    if count == 0 {
        return vec![];
    }
    let step = count.div_ceil(PREFIXES);
    let one = random.usize(0..count);
    let prefix = |cut: usize| (0..count).map(|piece| piece < cut).collect();
    let mut subsets: Vec<Vec<bool>> = (step..=count).step_by(step).map(prefix).collect();
    subsets.push((0..count).map(|piece| piece == one).collect());
    subsets.push((0..count).map(|piece| piece != one).collect());
    subsets.extend((0..SUBSETS).map(|_| (0..count).map(|_| random.bool()).collect()));
    subsets.push(vec![true; count]);
    subsets
}

fn put(image: &mut [u8], piece: &Piece) {
    image[piece.at..piece.at + piece.bytes.len()].copy_from_slice(&piece.bytes);
}

/// The whole sectors of what is being written: a cut takes or leaves each.
fn sectors(at: usize, bytes: &[u8]) -> Vec<Piece> {
    let piece = |(number, bytes): (usize, &[u8])| Piece {
        number: u64::MAX,
        at: at + number * SECTOR,
        bytes: bytes.to_vec(),
    };
    bytes.chunks(SECTOR).enumerate().map(piece).collect()
}
