//! What every sector of a disk may hold, told from what was asked and answered, on however many queues, and however
//! requests overlap. Shares nothing with the device but the standard.
//!
//! A change is *over* when a later one, begun after the first had ended, has ended well. What a read finds is a change
//! that was not over when the read began. What a power cut leaves is a change that is not over by a *durable* one: one
//! that ended well before a flush began which ended well, or, with the cache off, that ended well.

mod author;
mod stamp;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

pub use author::{Author, Scene};
pub use stamp::{Stamp, Value};

use crate::driver::{
    BlkRequest, Completion,
    kind::{DISCARD, FLUSH, READ, WRITE, WRITE_ZEROES},
};

/// Sectors are counted in 512-byte units, whatever the block size: a disk takes no less.
pub const SECTOR: usize = 512;

/// A request: its queue, and its token there.
pub type Id = (usize, u64);

/// A sector's history, or what is left of it to know.
#[derive(Debug, Clone)]
struct Change {
    by: Option<Id>,
    value: Value,
    began: u64,
    ended: Option<u64>,
    well: bool,
    durable: bool,
}

impl Change {
    fn is_over(&self, later: &Self) -> bool {
        later.well && self.ended.is_some_and(|ended| ended <= later.began)
    }
}

#[derive(Debug)]
struct Open {
    kind: u32,
    began: u64,
    first: usize,
    sectors: usize,
}

/// A sector that holds what it may not.
#[derive(Debug)]
pub struct Fault {
    sector: usize,
    found: Option<Value>,
    allowed: Vec<Value>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sector, found, allowed } = self;
        write!(f, "sector {sector} holds {found:?}; it may hold {allowed:?}")
    }
}

/// The history of a disk.
#[derive(Debug)]
pub struct History {
    sectors: Vec<Vec<Change>>,
    open: HashMap<Id, Open>,
    /// Sectors with a change that no flush has covered.
    unflushed: BTreeSet<usize>,
    now: u64,
    write_through: bool,
}

impl History {
    /// A disk whose sectors are known, and durable. `write_through`: its cache is off.
    #[must_use]
    pub fn new(values: &[Value], write_through: bool) -> Self {
        let first = |&value: &Value| {
            let (began, ended) = (0, Some(1));
            vec![Change { by: None, value, began, ended, well: true, durable: true }]
        };
        Self {
            sectors: values.iter().map(first).collect(),
            open: HashMap::new(),
            unflushed: BTreeSet::new(),
            now: 1,
            write_through,
        }
    }

    /// A request is under way.
    ///
    /// # Panics
    /// If it writes what no author has written.
    pub fn asked(&mut self, id: Id, request: &BlkRequest) {
        self.now += 1;
        let began = self.now;
        let (first, sectors) = extent(request);
        if matches!(request.kind, WRITE | DISCARD | WRITE_ZEROES) {
            for sector in first..first + sectors {
                let value = if request.kind == WRITE {
                    let bytes = &request.out[(sector - first) * SECTOR..][..SECTOR];
                    Value::read(bytes).expect("an author's sector")
                } else {
                    Value::Zeros
                };
                let (by, ended) = (Some(id), None);
                let change = Change { by, value, began, ended, well: false, durable: false };
                self.sectors[sector].push(change);
            }
        }
        self.open.insert(id, Open { kind: request.kind, began, first, sectors });
    }

    /// A request was answered; what a read found is judged.
    ///
    /// # Errors
    /// The first sector that could not be read so.
    ///
    /// # Panics
    /// If it was not asked.
    pub fn answered(&mut self, queue: usize, completion: &Completion) -> Result<(), Fault> {
        self.now += 1;
        let id = (queue, completion.token);
        let open = self.open.remove(&id).expect("it was asked");
        let well = completion.status == 0;
        match open.kind {
            READ if well => return self.judge_read(&open, &completion.data),
            FLUSH if well => self.flushed(open.began),
            WRITE | DISCARD | WRITE_ZEROES => self.changed(id, &open, well),
            _ => {}
        }
        Ok(())
    }

    /// Judges what a power cut has left of a sector.
    ///
    /// # Errors
    /// It is neither what was last made durable nor anything that was asked for since.
    pub fn judge_cut(&self, sector: usize, found: Option<Value>) -> Result<(), Fault> {
        self.judge(sector, found, |change| change.durable)
    }

    fn judge_read(&self, open: &Open, data: &[u8]) -> Result<(), Fault> {
        let before = |change: &Change| change.ended.is_some_and(|ended| ended <= open.began);
        (open.first..open.first + open.sectors)
            .zip(data.chunks(SECTOR))
            .try_for_each(|(sector, bytes)| self.judge(sector, Value::read(bytes), before))
    }

    /// What is found must be a change that none of those which `count` has put an end to.
    fn judge(
        &self,
        sector: usize,
        found: Option<Value>,
        count: impl Fn(&Change) -> bool,
    ) -> Result<(), Fault> {
        let changes = &self.sectors[sector];
        let stands = |change: &&Change| !changes.iter().any(|d| count(d) && change.is_over(d));
        let mut allowed = changes.iter().filter(stands).map(|change| change.value);
        if allowed.by_ref().any(|value| Some(value) == found) {
            return Ok(());
        }
        let allowed = changes.iter().filter(stands).map(|change| change.value).collect();
        Err(Fault { sector, found, allowed })
    }

    fn changed(&mut self, id: Id, open: &Open, well: bool) {
        for sector in open.first..open.first + open.sectors {
            let change = self.sectors[sector].iter_mut().find(|change| change.by == Some(id));
            let change = change.expect("a change that has not ended is kept");
            (change.ended, change.well) = (Some(self.now), well);
            change.durable = well && self.write_through;
            self.unflushed.insert(sector);
        }
        if self.write_through {
            self.forget();
        }
    }

    fn flushed(&mut self, began: u64) {
        for &sector in &self.unflushed {
            for change in &mut self.sectors[sector] {
                change.durable |= change.well && change.ended.is_some_and(|ended| ended <= began);
            }
        }
        self.forget();
    }

    /// Drops changes that neither a power cut nor a read can bring to light any more.
    fn forget(&mut self) {
        let horizon = self.open.values().map(|open| open.began).min().unwrap_or(self.now);
        self.unflushed.retain(|&sector| {
            let changes = &mut self.sectors[sector];
            let settled = |d: &Change| d.durable && d.ended.is_some_and(|ended| ended <= horizon);
            let ends: Vec<Change> = changes.iter().filter(|d| settled(d)).cloned().collect();
            changes.retain(|change| !ends.iter().any(|d| change.is_over(d)));
            changes.len() > 1
        });
    }
}

/// The sectors that a request is about: the first, and how many.
fn extent(request: &BlkRequest) -> (usize, usize) {
    match request.kind {
        WRITE => (request.sector as usize, request.out.len() / SECTOR),
        READ => (request.sector as usize, request.room / SECTOR),
        DISCARD | WRITE_ZEROES => {
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
            (number(&request.out[..8]), number(&request.out[8..12]))
        }
        _ => (0, 0),
    }
}
