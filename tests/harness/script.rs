//! A tape that is written before it is played: the same requests, byte for byte, for every device that plays it.
//!
//! A [`crate::tape::Tape`] draws its next request when an answer has come, so what it asks depends on the device's
//! speed. A script is cut into rounds. The requests of one round touch different blocks, on whichever queue they
//! are, and the next round begins when all of them have been answered. So every order of their effects gives the
//! same answers, and two devices must give the same ones.

use std::{
    collections::HashMap,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use crate::{
    driver::{
        BlkRequest, Completion,
        kind::{DISCARD, FLUSH, GET_ID, READ, WRITE, WRITE_ZEROES},
        range,
    },
    front_end::FrontEnd,
    process::PATIENCE,
};

/// Sectors are counted in 512-byte units whatever the block size.
const SECTOR: usize = 512;

/// What a script is about.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// Block size, bytes.
    pub block: usize,
    /// Blocks of the whole disk: the script asks beyond its end, too.
    pub blocks: usize,
    /// Longest read or write, blocks.
    pub longest: usize,
    /// Queues.
    pub queues: usize,
    /// Requests of one queue in one round, at most.
    pub depth: usize,
    /// Types that no driver has a name for occur, and GET_ID. `virtio-driver` cannot send them.
    pub strange: bool,
}

/// A request and what must come of it.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is asked.
    pub request: BlkRequest,
    /// The status byte.
    pub status: u8,
    /// What a read gives. Discarded blocks are zeros here.
    pub data: Option<Vec<u8>>,
    /// Bytes of `data` that were discarded and not written since: the standard leaves them open.
    pub open: Vec<Range<usize>>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status byte.
    pub status: u8,
    /// What a read gave.
    pub data: Vec<u8>,
}

/// Something that can play a script: a front end on a device.
pub trait Player {
    /// Sends every queue its requests, all at once, and gives back the answers in the order of the requests.
    fn play_round(&mut self, round: &[Vec<BlkRequest>]) -> Vec<Vec<Answer>>;
}

/// A script, written as it is read.
pub struct Script {
    scene: Scene,
    oracle: Vec<u8>,
    discarded: Vec<bool>,
    busy: Vec<bool>,
    random: fastrand::Rng,
}

impl Script {
    /// A script for a disk of zeros.
    #[must_use]
    pub fn new(scene: Scene, seed: u64) -> Self {
        Self {
            scene,
            oracle: vec![0; scene.blocks * scene.block],
            discarded: vec![false; scene.blocks],
            busy: vec![false; scene.blocks],
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// What the disk holds after the rounds so far.
    #[must_use]
    pub fn oracle(&self) -> &[u8] {
        &self.oracle
    }

    /// The next round: steps by queue.
    pub fn round(&mut self) -> Vec<Vec<Step>> {
        self.busy.fill(false);
        let Scene { queues, depth, .. } = self.scene;
        (0..queues)
            .map(|_| (0..self.random.usize(1..=depth)).map(|_| self.step()).collect())
            .collect()
    }

    /// Reads of the whole disk, on the first queue, in pieces of a length that every front end has room for.
    #[must_use]
    pub fn read_back(&self) -> Vec<Vec<Vec<Step>>> {
        let piece = self.scene.longest;
        let read = |at| {
            let mut queues = vec![Vec::new(); self.scene.queues];
            queues[0].push(self.read(at, piece.min(self.scene.blocks - at)));
            queues
        };
        (0..self.scene.blocks).step_by(piece).map(read).collect()
    }

    fn step(&mut self) -> Step {
        loop {
            let drawn = match self.random.u8(0..100) {
                0..32 => self.write(),
                32..62 => self.free_blocks(self.scene.longest).map(|(at, count)| {
                    self.busy[at..at + count].fill(true);
                    self.read(at, count)
                }),
                62..70 => Some(told(FLUSH, 0, vec![], 0, 0)),
                70..78 => self.range(DISCARD),
                78..88 => self.range(WRITE_ZEROES),
                88..90 if self.scene.strange => Some(told(GET_ID, 0, vec![], 20, 0)),
                90..92 if self.scene.strange => Some(told(0x4711, 0, vec![], 0, 2)),
                _ => Some(self.refused()),
            };
            if let Some(step) = drawn {
                return step;
            }
        }
    }

    fn write(&mut self) -> Option<Step> {
        let (at, count) = self.free_blocks(self.scene.longest)?;
        let mut out = vec![0; count * self.scene.block];
        self.random.fill(&mut out);
        self.change(at, count, false).copy_from_slice(&out);
        Some(told(WRITE, self.sector(at), out, 0, 0))
    }

    fn range(&mut self, kind: u32) -> Option<Step> {
        let (at, count) = self.free_blocks(self.scene.longest * 3)?;
        self.change(at, count, kind == DISCARD).fill(0);
        let unmap = kind == WRITE_ZEROES && self.random.bool();
        Some(told(kind, 0, self.range_bytes(self.sector(at), count, unmap), 0, 0))
    }

    fn read(&self, at: usize, count: usize) -> Step {
        let block = self.scene.block;
        let data = self.oracle[at * block..][..count * block].to_vec();
        let open = (0..count)
            .filter(|&n| self.discarded[at + n])
            .map(|n| n * block..(n + 1) * block)
            .collect();
        let request = BlkRequest::read(self.sector(at), data.len());
        Step { request, status: 0, data: Some(data), open }
    }

    /// What every device must refuse, with an I/O error, and leave the disk as it is: beyond the end, across it, at
    /// numbers that wrap, off the blocks, in parts of sectors.
    fn refused(&mut self) -> Step {
        let block = self.scene.block;
        let end = self.sector(self.scene.blocks);
        let over = self.random.usize(1..=self.scene.longest.min(4));
        let sector = match self.random.u8(0..5) {
            0 => end,
            1 => end - (block / SECTOR) as u64 * (over as u64 - 1),
            2 => 1 << 40,
            // The last that still has a byte address in 64 bits.
            3 => (u64::MAX / SECTOR as u64) & !7,
            _ if block > SECTOR => self.random.u64(0..end) | 1,
            _ => end + self.random.u64(0..1 << 30),
        };
        match self.random.u8(0..8) {
            0..3 => told(READ, sector, vec![], over * block, 1),
            3..5 => told(WRITE, sector, vec![0xee; over * block], 0, 1),
            5 => told(DISCARD, 0, self.range_bytes(sector, over, false), 0, 1),
            6 => told(WRITE_ZEROES, 0, self.range_bytes(sector, over, true), 0, 1),
            _ => told(READ, 0, vec![], SECTOR * over - self.random.usize(1..SECTOR), 1),
        }
    }

    fn range_bytes(&self, sector: u64, blocks: usize, unmap: bool) -> Vec<u8> {
        let sectors = (blocks * self.scene.block / SECTOR) as u32;
        range(sector, sectors, unmap)
    }

    /// The bytes of blocks that a step of this round changes.
    fn change(&mut self, at: usize, count: usize, discarded: bool) -> &mut [u8] {
        self.busy[at..at + count].fill(true);
        self.discarded[at..at + count].fill(discarded);
        &mut self.oracle[at * self.scene.block..][..count * self.scene.block]
    }

    fn sector(&self, at: usize) -> u64 {
        (at * self.scene.block / SECTOR) as u64
    }

    fn free_blocks(&mut self, longest: usize) -> Option<(usize, usize)> {
        let longest = if self.random.u8(0..4) > 0 { longest.min(8) } else { longest };
        let count = self.random.usize(1..=longest.min(self.scene.blocks));
        let at = self.random.usize(0..=self.scene.blocks - count);
        self.busy[at..at + count].iter().all(|busy| !busy).then_some((at, count))
    }
}

fn told(kind: u32, sector: u64, out: Vec<u8>, room: usize, status: u8) -> Step {
    Step { request: BlkRequest { kind, sector, out, room }, status, data: None, open: vec![] }
}

/// A device that plays a script.
pub struct Part<'p> {
    /// For messages.
    pub name: &'p str,
    /// Its front end.
    pub player: &'p mut dyn Player,
    /// It promises that discarded blocks read as zeros.
    pub discard_zeroes: bool,
}

/// Plays a round on every device; each must answer as the script says, and all alike. Gives the number of requests.
///
/// # Panics
/// If one does not.
pub fn play_round(parts: &mut [Part<'_>], round: &[Vec<Step>]) -> u64 {
    let requests: Vec<Vec<BlkRequest>> =
        round.iter().map(|steps| steps.iter().map(|step| step.request.clone()).collect()).collect();
    let mut first: Option<Vec<Vec<Answer>>> = None;
    for part in parts {
        let mut answers = part.player.play_round(&requests);
        for (step, answer) in pairs(round, &mut answers) {
            judge(part.name, part.discard_zeroes, step, answer);
            // What is open may differ, and what is no read has no data.
            step.open.iter().for_each(|open| answer.data[open.clone()].fill(0));
            if step.data.is_none() {
                answer.data.clear();
            }
        }
        match &first {
            None => first = Some(answers),
            Some(first) => {
                assert!(*first == answers, "{} answers otherwise than the first device", part.name)
            }
        }
    }
    requests.iter().map(|queue| queue.len() as u64).sum()
}

fn pairs<'s>(
    round: &'s [Vec<Step>],
    answers: &'s mut [Vec<Answer>],
) -> impl Iterator<Item = (&'s Step, &'s mut Answer)> {
    round.iter().zip(answers).flat_map(|(steps, answers)| steps.iter().zip(answers))
}

fn judge(name: &str, discard_zeroes: bool, step: &Step, answer: &Answer) {
    let BlkRequest { kind, sector, out, room } = &step.request;
    let what =
        format!("{name}: type {kind} at sector {sector}, {} bytes out, {room} in", out.len());
    assert_eq!(answer.status, step.status, "status of {what}");
    let Some(data) = &step.data else { return };
    assert_eq!(answer.data.len(), data.len(), "{what}");
    let is_open = |at: &usize| !discard_zeroes && step.open.iter().any(|open| open.contains(at));
    let wrong = (0..data.len()).find(|at| answer.data[*at] != data[*at] && !is_open(at));
    assert_eq!(wrong, None, "first wrong byte of {what}");
}

impl Player for FrontEnd {
    fn play_round(&mut self, round: &[Vec<BlkRequest>]) -> Vec<Vec<Answer>> {
        let mut open = HashMap::new();
        for ((ring, requests), queue) in self.rings.iter_mut().zip(round).zip(0..) {
            for (number, request) in requests.iter().enumerate() {
                assert!(ring.driver.has_room(), "a round is no longer than the ring");
                open.insert((queue, ring.driver.submit(request)), number);
            }
            ring.kick.write(1).expect("a kick");
        }
        let nothing = || Answer { status: 0xff, data: vec![] };
        let mut answers: Vec<Vec<Answer>> =
            round.iter().map(|requests| requests.iter().map(|_| nothing()).collect()).collect();
        let deadline = Instant::now() + PATIENCE;
        while !open.is_empty() {
            for (queue, ring) in self.rings.iter_mut().enumerate() {
                for Completion { token, status, data, .. } in ring.driver.completions() {
                    let number = open.remove(&(queue, token)).expect("asked");
                    answers[queue][number] = Answer { status, data };
                }
            }
            assert!(Instant::now() < deadline, "{} requests are not answered", open.len());
            thread::sleep(Duration::from_micros(20));
        }
        answers
    }
}
