//! One thread that keeps rings full, busy polling or sleeping, and measures.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use crate::{
    figures::{Figures, Latency},
    front_end::{FrontEnd, PATIENCE},
    pattern::Ledger,
    ring::Kind,
    server::{Server, Usage},
};

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Places are drawn at random; else one follows the other.
    pub random: bool,
    /// Of a hundred requests so many read.
    pub reads: u8,
}

/// When it is over.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// Nothing is counted in the first of two times; the second is what is measured.
    Time(Duration, Duration),
    /// After so many requests.
    Requests(u64),
}

/// A load.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// What is asked.
    pub mix: Mix,
    /// Bytes of each request, as the front end was made for.
    pub block: u32,
    /// The first so many bytes of the disk are used.
    pub span: u64,
    /// When it is over.
    pub until: Until,
    /// Sleeps until the device rings; else looks without a pause.
    pub sleep: bool,
    /// For places.
    pub seed: u64,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    kind: Kind,
    block: u64,
}

/// How many turns without an answer pass before the clock is looked at.
const IDLE_TURNS: u32 = 256;

/// Set from outside, for example by a signal: every load ends with an error soon.
pub static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

struct Load<'a> {
    front_end: &'a mut FrontEnd,
    job: &'a Job,
    ledger: Option<&'a mut Ledger>,
    random: fastrand::Rng,
    blocks: u64,
    cursor: u64,
    asked: Vec<Vec<Option<Asked>>>,
    submitted: u64,
    tally: Tally,
    /// Of the reads and writes in the time that is measured.
    latencies: Histogram<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    answers: u64,
    kicks: u64,
    interrupts: u64,
}

/// Runs a load to its end and until every request is answered. With a ledger what is written tells where and when, and
/// what is read is judged.
///
/// # Errors
/// A request fails, is not answered, or reads what was not written.
pub fn run(
    front_end: &mut FrontEnd,
    job: &Job,
    ledger: Option<&mut Ledger>,
    server: Option<Server>,
) -> Result<Figures> {
    let blocks = job.span.min(front_end.capacity) / u64::from(job.block);
    let depth = front_end.queues.iter().map(|queue| usize::from(queue.ring.depth())).sum::<usize>();
    ensure!(blocks > depth as u64, "the span is too small for blocks of {} bytes", job.block);
    let asked = front_end.queues.iter().map(|queue| vec![None; queue.ring.depth().into()]);
    let asked = asked.collect();
    let mut load = Load {
        front_end,
        job,
        ledger,
        random: fastrand::Rng::with_seed(job.seed),
        blocks,
        cursor: 0,
        asked,
        submitted: 0,
        tally: Tally::default(),
        // Two digits: the counters stay in the second-level cache.
        latencies: Histogram::new_with_bounds(1, 60_000_000_000, 2).context("a histogram")?,
    };
    let figures = match job.until {
        Until::Time(warm_up, time) => {
            load.go_on(Instant::now() + warm_up, u64::MAX)?;
            load.latencies.reset();
            load.measure(server, |load| load.go_on(Instant::now() + time, u64::MAX))?
        }
        Until::Requests(count) => load.measure(server, |load| {
            load.go_on(Instant::now() + Duration::from_secs(86_400), count)?;
            load.drain()
        })?,
    };
    load.drain()?;
    Ok(figures)
}

impl Load<'_> {
    fn measure(
        &mut self,
        server: Option<Server>,
        work: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Figures> {
        let usage = |server: Option<Server>| server.map(Server::usage).transpose();
        let before: (Option<Usage>, Tally, Instant) = (usage(server)?, self.tally, Instant::now());
        work(self)?;
        let seconds = before.2.elapsed().as_secs_f64();
        let used = usage(server)?.zip(before.0).map(|(after, before)| after.since(&before));
        let answers = self.tally.answers - before.1.answers;
        Ok(Figures {
            seconds,
            requests: answers,
            iops: answers as f64 / seconds,
            bytes_per_second: answers as f64 * f64::from(self.job.block) / seconds,
            latency: Latency::from(&self.latencies),
            kicks: self.tally.kicks - before.1.kicks,
            interrupts: self.tally.interrupts - before.1.interrupts,
            cpu_us_per_request: used.map(|used| used.cpu_seconds * 1e6 / answers.max(1) as f64),
            server: used,
        })
    }

    /// Keeps the rings full up to a moment, or until so many requests were submitted in all.
    fn go_on(&mut self, end: Instant, count: u64) -> Result<()> {
        let mut now = Instant::now();
        let mut heard = now;
        let mut idle = 0;
        while now < end && self.submitted < count {
            let mut answers = 0;
            for queue in 0..self.front_end.queues.len() {
                answers += self.collect(queue, &mut now)?;
                self.fill(queue, now, count)?;
            }
            if answers > 0 {
                (idle, heard) = (0, now);
                continue;
            }
            if self.job.sleep {
                self.sleep()?;
            }
            idle += 1;
            if idle % IDLE_TURNS == 0 || self.job.sleep {
                now = Instant::now();
                self.check(now, heard)?;
            }
            std::hint::spin_loop();
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let heard = Instant::now();
        let mut now = heard;
        while self.front_end.queues.iter().any(|queue| queue.ring.in_flight() > 0) {
            for queue in 0..self.front_end.queues.len() {
                self.collect(queue, &mut now)?;
            }
            self.check(Instant::now(), heard)?;
        }
        Ok(())
    }

    fn check(&self, now: Instant, heard: Instant) -> Result<()> {
        if now.saturating_duration_since(heard) >= PATIENCE {
            let rings = self.front_end.queues.iter().map(|queue| queue.ring.standing());
            bail!("no answer within {PATIENCE:?}; rings: {}", rings.collect::<Vec<_>>().join("; "));
        }
        if STOP.load(Ordering::Relaxed) {
            bail!("stopped");
        }
        Ok(())
    }

    /// Takes what came back. The clock is read once for all that came at a time.
    #[inline]
    fn collect(&mut self, queue: usize, now: &mut Instant) -> Result<u64> {
        let mut answers = 0;
        while let Some(slot) = self.front_end.queues[queue].ring.complete()? {
            if answers == 0 {
                *now = Instant::now();
            }
            answers += 1;
            let asked = self.asked[queue][usize::from(slot)].take();
            let asked = asked.context("a request was answered twice")?;
            self.latencies.saturating_record((*now - asked.at).as_nanos() as u64);
            if self.ledger.is_some() {
                self.judge(queue, slot, asked)?;
            }
        }
        self.tally.answers += answers;
        Ok(answers)
    }

    fn judge(&mut self, queue: usize, slot: u16, asked: Asked) -> Result<()> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        if asked.kind == Kind::Write {
            ledger.wrote(asked.block);
            return Ok(());
        }
        let data = self.front_end.queues[queue].ring.data(slot);
        ledger.judge(asked.block, &self.front_end.memory.slice(data, self.job.block as usize))
    }

    #[inline]
    fn fill(&mut self, queue: usize, now: Instant, count: u64) -> Result<()> {
        while self.submitted < count {
            let Some(slot) = self.front_end.queues[queue].ring.take() else { break };
            let kind = self.kind();
            let block = self.place();
            let block = self.stamp(queue, slot, kind, block);
            let sector = block * u64::from(self.job.block) / 512;
            self.front_end.queues[queue].ring.submit(slot, kind, sector);
            self.asked[queue][usize::from(slot)] = Some(Asked { at: now, kind, block });
            self.submitted += 1;
        }
        let queue = &mut self.front_end.queues[queue];
        if queue.ring.publish() {
            queue.kick()?;
            self.tally.kicks += 1;
        }
        Ok(())
    }

    #[inline]
    fn kind(&mut self) -> Kind {
        let reads = match self.job.mix.reads {
            0 => false,
            100 => true,
            percent => self.random.u8(0..100) < percent,
        };
        if reads { Kind::Read } else { Kind::Write }
    }

    #[inline]
    fn place(&mut self) -> u64 {
        if self.job.mix.random {
            return self.random.u64(0..self.blocks);
        }
        let place = self.cursor;
        self.cursor = if place + 1 == self.blocks { 0 } else { place + 1 };
        place
    }

    fn stamp(&mut self, queue: usize, slot: u16, kind: Kind, block: u64) -> u64 {
        let Some(ledger) = &mut self.ledger else { return block };
        let block = ledger.take(block);
        if kind == Kind::Write {
            let data = self.front_end.queues[queue].ring.data(slot);
            ledger.write(block, &self.front_end.memory.slice(data, self.job.block as usize));
        }
        block
    }

    /// Waits for an interrupt, unless an answer has come meanwhile.
    fn sleep(&mut self) -> Result<()> {
        let there = |front_end: &FrontEnd| {
            front_end.queues.iter().fold(false, |any, queue| queue.ring.wants_interrupt() | any)
        };
        if !there(self.front_end) {
            self.front_end.sleep()?;
            self.tally.interrupts += 1;
        }
        self.front_end.queues.iter().for_each(|queue| queue.ring.silence());
        Ok(())
    }
}
