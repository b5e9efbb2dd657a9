//! Random requests and the oracle that knows what must come of them: a `Vec<u8>`.
//!
//! Requests in flight at one time touch different blocks, so that every order of their effects gives the same answer.

use std::collections::HashMap;

use crate::driver::{
    BlkRequest, Completion,
    kind::{DISCARD, FLUSH, GET_ID, READ, WRITE_ZEROES},
    range,
};

/// Status of a request that failed (VIRTIO_BLK_S_IOERR).
pub const IO_ERROR: u8 = 1;

/// What kinds of requests a tape has.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Block size, bytes.
    pub block: usize,
    /// Blocks of the disk that the tape uses: from `first` on, so that several queues can work side by side.
    pub first: usize,
    /// How many.
    pub blocks: usize,
    /// Longest read or write, blocks.
    pub longest: usize,
    /// DISCARD occurs, and reads as zeros afterwards.
    pub discard: bool,
}

/// What must come of a request.
#[derive(Debug, Clone)]
struct Expected {
    request: BlkRequest,
    status: u8,
    data: Option<Vec<u8>>,
    blocks: Vec<usize>,
}

/// A tape and its oracle.
pub struct Tape {
    mix: Mix,
    oracle: Vec<u8>,
    busy: Vec<bool>,
    /// Blocks that a write which failed may have reached or not: they are not compared until written again.
    torn: Vec<bool>,
    expected: HashMap<u64, Expected>,
    next: Option<Expected>,
    random: fastrand::Rng,
    /// Requests judged so far.
    pub judged: u64,
}

impl Tape {
    /// A tape on a disk of zeros.
    #[must_use]
    pub fn new(mix: Mix, seed: u64) -> Self {
        Self {
            mix,
            oracle: vec![0; mix.blocks * mix.block],
            busy: vec![false; mix.blocks],
            torn: vec![false; mix.blocks],
            expected: HashMap::new(),
            next: None,
            random: fastrand::Rng::with_seed(seed),
            judged: 0,
        }
    }

    /// What the disk must hold now, from the tape's first block on.
    #[must_use]
    pub fn oracle(&self) -> &[u8] {
        &self.oracle
    }

    /// The first byte of the disk, counted from the tape's first block, in which what was read from byte `at` on is not
    /// what it must be.
    #[must_use]
    pub fn first_difference(&self, at: usize, read: &[u8]) -> Option<usize> {
        let wrong = |byte: &usize| {
            !self.torn[byte / self.mix.block] && self.oracle[*byte] != read[byte - at]
        };
        (at..at + read.len()).find(wrong)
    }

    /// The next request. The caller submits it and calls [`Tape::submitted`].
    pub fn request(&mut self) -> BlkRequest {
        let expected = loop {
            if let Some(expected) = self.draw() {
                break expected;
            }
        };
        let request = expected.request.clone();
        self.next = Some(expected);
        request
    }

    /// The request that was last drawn is under way as `token`.
    ///
    /// # Panics
    /// If none was drawn.
    pub fn submitted(&mut self, token: u64) {
        let expected = self.next.take().expect("a request was drawn");
        for &block in &expected.blocks {
            self.busy[block] = true;
        }
        self.expected.insert(token, expected);
    }

    /// Compares what came back with what had to.
    ///
    /// # Panics
    /// If it differs.
    pub fn judge(&mut self, completion: &Completion) {
        let expected = self.expected.remove(&completion.token).expect("was under way");
        let request = &expected.request;
        let what = format!("type {} at sector {}", request.kind, request.sector);
        assert_eq!(completion.status, expected.status, "status of {what}");
        if let Some(data) = &expected.data {
            let wrong = completion.data.iter().zip(data).position(|(a, b)| a != b);
            assert_eq!(wrong, None, "first wrong byte of {what}, {} bytes", data.len());
        }
        self.settle(&expected, false);
    }

    /// Takes an I/O error in answer to anything; any other answer is judged. Tells whether it was an error.
    ///
    /// # Panics
    /// As [`Tape::judge`].
    pub fn judge_or_fail(&mut self, completion: &Completion) -> bool {
        if completion.status != IO_ERROR {
            self.judge(completion);
            return false;
        }
        let expected = self.expected.remove(&completion.token).expect("was under way");
        self.settle(&expected, true);
        true
    }

    fn settle(&mut self, expected: &Expected, failed: bool) {
        let reads = expected.request.kind == READ;
        for &block in &expected.blocks {
            self.busy[block] = false;
            if !reads {
                self.torn[block] = failed;
            }
        }
        self.judged += 1;
    }

    fn draw(&mut self) -> Option<Expected> {
        match self.random.u8(0..100) {
            0..35 => self.draw_write(),
            35..70 => self.draw_read(),
            70..78 => Some(plain(FLUSH, 0, 0, 0, None)),
            78..83 if self.mix.discard => self.draw_ranges(DISCARD),
            83..90 => self.draw_ranges(WRITE_ZEROES),
            90..92 => Some(plain(GET_ID, 0, 20, 0, None)),
            92..100 => Some(self.draw_refused()),
            _ => None,
        }
    }

    fn draw_write(&mut self) -> Option<Expected> {
        let (at, count) = self.free_blocks(self.mix.longest)?;
        let block = self.mix.block;
        let mut out = vec![0; count * block];
        self.random.fill(&mut out);
        self.oracle[at * block..][..out.len()].copy_from_slice(&out);
        let request = BlkRequest::write(self.sector(at), out);
        Some(Expected { request, status: 0, data: None, blocks: (at..at + count).collect() })
    }

    fn draw_read(&mut self) -> Option<Expected> {
        let (at, count) = self.free_blocks(self.mix.longest)?;
        let block = self.mix.block;
        let data = self.oracle[at * block..][..count * block].to_vec();
        let request = BlkRequest::read(self.sector(at), data.len());
        let whole = self.torn[at..at + count].iter().all(|torn| !torn);
        let blocks = (at..at + count).collect();
        Some(Expected { request, status: 0, data: whole.then_some(data), blocks })
    }

    fn draw_ranges(&mut self, kind: u32) -> Option<Expected> {
        let mut out = Vec::new();
        let mut blocks = Vec::new();
        for _ in 0..self.random.usize(1..=4) {
            let (at, count) = self.free_blocks(self.mix.longest * 3)?;
            if blocks.contains(&at) || blocks.contains(&(at + count - 1)) {
                return None;
            }
            blocks.extend(at..at + count);
            let sectors = (count * self.mix.block / 512) as u32;
            let unmap = kind == WRITE_ZEROES && self.random.bool();
            out.extend(range(self.sector(at), sectors, unmap));
        }
        let block = self.mix.block;
        blocks.iter().for_each(|&at| self.oracle[at * block..][..block].fill(0));
        let request = BlkRequest::ranges(kind, out);
        Some(Expected { request, status: 0, data: None, blocks })
    }

    /// What a device must refuse: beyond the end, wrapping, in parts of blocks, of no known type.
    fn draw_refused(&mut self) -> Expected {
        let block = self.mix.block;
        let outside = u64::MAX / 512 - 7;
        match self.random.u8(0..4) {
            0 => plain(READ, 1 << 40, block, 1, None),
            1 => plain(READ, outside, block, 1, None),
            2 => plain(0x4711, 0, 0, 2, None),
            _ => plain(READ, u64::MAX, block, 1, None),
        }
    }

    fn sector(&self, at: usize) -> u64 {
        ((self.mix.first + at) * self.mix.block / 512) as u64
    }

    fn free_blocks(&mut self, longest: usize) -> Option<(usize, usize)> {
        let count = if self.random.u8(0..4) > 0 {
            self.random.usize(1..=longest.min(8))
        } else {
            self.random.usize(1..=longest)
        };
        let at = self.random.usize(0..=self.mix.blocks.checked_sub(count)?);
        let free = self.busy[at..at + count].iter().all(|busy| !busy);
        free.then_some((at, count))
    }
}

fn plain(kind: u32, sector: u64, room: usize, status: u8, data: Option<Vec<u8>>) -> Expected {
    let request = BlkRequest { kind, sector, out: vec![], room };
    Expected { request, status, data, blocks: vec![] }
}
