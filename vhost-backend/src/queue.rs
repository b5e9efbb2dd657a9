//! START READING HERE. One virtqueue: its thread, its loop, and the way of a request through it.
//!
//! ```text
//! kick ─► fetch ─► guest+request: judge ─► flight: steps ─► seal ─► disk ─┐
//!                                                                        │ completion
//! interrupt ◄─ publish ◄─ answer ◄─ guest: scatter ◄─ seal: open ◄─ settle ◄┘
//! ```
//!
//! The queue owns all of its state; nothing here takes a lock or, once warm, allocates. Each turn of the loop takes
//! events, then restores what must hold: requests are fetched while there is a key, a buffer and a free slot;
//! completed ones are published together; a fence or stop whose condition is met is confirmed; what found no space
//! below is tried again when it is time.

mod allowance;
pub mod command;
mod commit;
pub mod gate;
pub mod handle;
mod serve;
pub mod space;
pub mod spin;

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Instant, SystemTime},
};

use images::Layout;
use vm_memory::GuestMemoryMmap;

use crate::{
    disk::{Disk, Event, Operation, Wait, buffer::Pool},
    flight::Flight,
    lease::Duty,
    log,
    mailbox::Slot,
    memory::{cut, is_blank},
    request::Abilities,
    seal::Sealer,
    vring::{RingError, Vring},
};
use allowance::Allowance;
use command::{Command, RingSetup};
use commit::Commit;
use gate::Gate;
use space::Space;
use spin::Spin;

/// What the queues of a disk share: two switches, read without a lock, and whom to tell.
#[derive(Debug, Default)]
pub struct Shared {
    /// Writes must be durable before they are answered.
    pub write_through: AtomicBool,
    /// A flush, or a write that was to be durable, has failed: the kernel may have dropped what it could not write, so
    /// no later write or flush can be trusted until the image is opened again.
    pub poisoned: AtomicBool,
    /// Who tells the daemon how the disk is; set before a ring is started, if anybody does.
    pub keeper: OnceLock<Slot<Duty>>,
}

/// What a queue is made of.
#[derive(Debug)]
pub struct Parts<D> {
    /// Its number, for messages.
    pub number: u16,
    /// Its way to the disk. Dropped before the pool, whose buffers it may have.
    pub disk: D,
    /// Its buffers.
    pub pool: Pool,
    /// Its share of the key.
    pub sealer: Sealer,
    /// Where sectors lie.
    pub layout: Layout,
    /// What the device can do.
    pub can: Abilities,
    /// Answer to GET_ID.
    pub serial: [u8; 20],
    /// What it shares with its siblings.
    pub shared: Arc<Shared>,
    /// What it is told.
    pub commands: mpsc::Receiver<Command>,
    /// Longest ring: the most requests it can have in progress.
    pub size: u16,
}

/// A ring that was started.
#[derive(Debug)]
struct Ring {
    memory: Arc<GuestMemoryMmap>,
    vring: Vring,
    call: Option<OwnedFd>,
    /// It was seen that it lies in the guest's memory.
    is_shared: bool,
}

/// One virtqueue.
#[derive(Debug)]
pub struct Queue<D> {
    parts: Parts<D>,
    ring: Option<Ring>,
    /// The ring was given up; it is touched no more until another is started.
    broken: bool,
    enabled: bool,
    gate: Gate,
    /// Where it is said that the ring has stopped, and where it stands.
    stop: Option<mpsc::Sender<u16>>,
    flights: Vec<Flight>,
    free: Vec<u16>,
    /// Requests with a step that could not be taken yet, oldest first.
    stalled: Vec<u16>,
    /// Those that are tried just now; its memory is kept.
    retried: Vec<u16>,
    /// Requests that are to be made durable together.
    commit: Commit,
    /// What may still be done in this turn.
    allowance: Allowance,
    space: Space,
    last_io: Option<SystemTime>,
    spin: Spin,
    exit: bool,
}

impl<D: Disk> Queue<D> {
    /// A queue without a ring and without a key.
    #[must_use]
    pub fn new(parts: Parts<D>) -> Self {
        let size = parts.size;
        Self {
            parts,
            ring: None,
            broken: false,
            enabled: false,
            gate: Gate::default(),
            stop: None,
            flights: std::iter::repeat_with(Flight::default).take(usize::from(size)).collect(),
            free: (0..size).rev().collect(),
            stalled: Vec::with_capacity(usize::from(size)),
            retried: Vec::with_capacity(usize::from(size)),
            commit: Commit::new(size),
            allowance: Allowance::default(),
            space: Space::default(),
            last_io: None,
            spin: Spin::new(),
            exit: false,
        }
    }

    /// Serves until told to exit.
    ///
    /// # Errors
    /// Waiting for the disk failed; nothing more can be done without it.
    pub fn run(mut self) -> io::Result<()> {
        while !self.exit || self.parts.disk.in_flight() > 0 {
            if self.turn() {
                self.spin.worked();
                self.parts.disk.wait(Wait::No)?;
            } else {
                self.rest()?;
            }
        }
        Ok(())
    }

    /// One turn of the loop, without a wait; `false` if there was nothing to do.
    pub fn turn(&mut self) -> bool {
        let unfinished = std::mem::take(&mut self.allowance).is_used_up();
        let events = self.take_events();
        if unfinished {
            self.drive_stalled();
        }
        let requests = self.fetch();
        self.try_starved();
        let commits = self.commit();
        if cut::was_cut() {
            // What was read there since is zeros, and what was written is nowhere.
            self.with_ring::<()>(|_| Err(RingError::MemoryCut));
        }
        self.publish();
        self.settle();
        unfinished || events || requests || commits || self.allowance.is_used_up()
    }

    /// The disk below: a test gives its twin orders through this.
    pub fn disk(&mut self) -> &mut D {
        &mut self.parts.disk
    }

    /// Takes every event that has come; `false` if there was none.
    fn take_events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.parts.disk.next() {
            any = true;
            match event {
                // The ring is looked at in every turn; a kick only ends a sleep.
                Event::Kick => self.expect_shared_memory(),
                Event::Command => self.take_commands(),
                Event::Done(job, result) if matches!(job.operation, Operation::Sync) => {
                    self.complete_commit(job, result);
                }
                Event::Done(job, result) => self.complete(job, result),
            }
        }
        any
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.parts.commands.try_recv() {
            match command {
                Command::Start(setup) => self.start(*setup),
                Command::Stop(reply) => self.stop = Some(reply),
                Command::Enable(enabled) => self.enabled = enabled,
                Command::SetCall(call) => {
                    if let Some(ring) = &mut self.ring {
                        ring.call = call;
                    }
                }
                Command::SetMemory(memory, reply) => {
                    if let Some(ring) = &mut self.ring {
                        ring.memory = memory;
                    }
                    let _ = reply.send(());
                }
                Command::SetLog(log, reply) => {
                    if let Some(ring) = &mut self.ring {
                        ring.vring.set_log(log);
                    }
                    let _ = reply.send(());
                }
                Command::SetCapacity(capacity, reply) => {
                    self.parts.can.capacity = capacity;
                    let _ = reply.send(());
                }
                Command::Fence(reaction, reply) => self.gate.close(reaction, reply),
                Command::Resume(key) => {
                    self.parts.sealer.set_key(key);
                    self.gate.open();
                    self.drive_stalled();
                }
                Command::Exit => self.exit = true,
            }
        }
    }

    fn start(&mut self, setup: RingSetup) {
        let RingSetup { memory, vring, kick, call } = setup;
        self.parts.disk.watch_kicks(Some(kick));
        self.ring = Some(Ring { memory, vring, call, is_shared: false });
        self.broken = false;
        self.with_ring(|ring| ring.vring.ask_for_kicks(&ring.memory, false));
    }

    /// A kick says that there is a request. If there is none, and nothing else in the guest's memory, that is not what
    /// is mapped here. (A front end may kick by itself as well, but for a guest that has been running.)
    fn expect_shared_memory(&mut self) {
        if self.ring.as_ref().is_some_and(|ring| ring.is_shared) {
            return;
        }
        self.with_ring(|ring| {
            ring.is_shared |= !ring.vring.is_untouched(&ring.memory)?
                || !is_blank(&ring.memory, ring.vring.used_place());
            // Of memory that was cut off zeros are read, too.
            let is_blank = !ring.is_shared && !cut::was_cut();
            if is_blank { Err(RingError::NotShared) } else { Ok(()) }
        });
    }

    /// Restores what must hold at the end of a turn: fences and stops are confirmed as soon as they are complete.
    fn settle(&mut self) {
        if self.gate.is_draining()
            && (self.is_at_rest() || self.gate.drain_time_is_up(Instant::now()))
        {
            self.parts.sealer.drop_key();
            let held = self.held();
            self.gate.confirm(self.last_io, held, self.parts.disk.in_flight() == 0);
        }
        if self.gate.is_failing() {
            self.fail_waiting();
            // A sleep may follow.
            self.publish();
        }
        if self.stop.is_some() && self.is_at_rest() {
            self.stop_ring();
        }
    }

    fn stop_ring(&mut self) {
        self.publish();
        self.put_back_waiting();
        let stands = self.ring.take().map_or(0, |ring| ring.vring.next_avail());
        self.parts.disk.watch_kicks(None);
        if let Some(reply) = self.stop.take() {
            let _ = reply.send(stands);
        }
    }

    /// Nothing to do: look again for a moment, then sleep until an event.
    fn rest(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.serves() && self.spin.may_look_again(now) {
            std::hint::spin_loop();
            return self.parts.disk.wait(Wait::No);
        }
        if self.may_fetch() && self.wants_no_sleep() {
            return Ok(());
        }
        let next_try = self.space.time_left(now).filter(|_| self.gate.is_open());
        self.parts.disk.wait(Wait::Sleep(self.gate.drain_time_left(now).or(next_try)))?;
        self.spin.slept(now.elapsed());
        self.with_ring(|ring| ring.vring.ask_for_kicks(&ring.memory, false));
        Ok(())
    }

    /// Asks for kicks, then looks once more: what came before the driver saw the wish brings no kick.
    fn wants_no_sleep(&mut self) -> bool {
        self.with_ring(|ring| {
            ring.vring.ask_for_kicks(&ring.memory, true)?;
            ring.vring.pending(&ring.memory)
        })
        .is_some_and(|pending| pending > 0)
    }

    /// Does something with the ring; a broken ring is given up, with the reason said, and the other queues live on.
    fn with_ring<T>(&mut self, act: impl FnOnce(&mut Ring) -> Result<T, RingError>) -> Option<T> {
        if self.broken {
            return None;
        }
        match act(self.ring.as_mut()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.broken = true;
                let number = self.parts.number;
                log::provoked(
                    "a queue has stopped",
                    format_args!("queue {number}: {error}; the guest must reset the device"),
                );
                None
            }
        }
    }

    fn serves(&self) -> bool {
        self.ring.is_some()
            && !self.broken
            && self.enabled
            && !self.exit
            && self.stop.is_none()
            && self.gate.lets_requests_in()
    }

    fn may_fetch(&self) -> bool {
        self.serves()
            && !self.allowance.is_used_up()
            && !self.free.is_empty()
            && self.stalled.is_empty()
            && (!self.gate.is_open() || self.parts.pool.has_free())
    }

    /// Whether nothing that was taken is on its way. What waits is not: it may have to for days.
    fn is_at_rest(&self) -> bool {
        let taken = self.flights.len() - self.free.len();
        taken == 0 || taken == (0..self.parts.size).filter(|&slot| self.waits(slot)).count()
    }

    /// Whether a request that was taken waits for space, or without a key for it, and nothing of it is at the disk.
    fn waits(&self, slot: u16) -> bool {
        let flight = &self.flights[usize::from(slot)];
        let held = !self.may_begin_steps() && self.stalled.contains(&slot);
        flight.is_at_rest() && (flight.is_starved() || held)
    }

    /// Without a key there is nothing that can be done. A stop waits for what is at the disk, and for no more: one
    /// request may be gigabytes of zeros.
    fn may_begin_steps(&self) -> bool {
        self.parts.sealer.has_key() && self.stop.is_none()
    }

    /// Requests that wait for the key, whatever else they wait for: in the ring, or taken and unanswered.
    fn held(&mut self) -> u64 {
        let taken = self.flights.len() - self.free.len();
        let waiting = self.with_ring(|ring| ring.vring.pending(&ring.memory)).unwrap_or(0);
        taken as u64 + u64::from(waiting)
    }

    fn write_through(&self) -> bool {
        self.parts.shared.write_through.load(Ordering::Relaxed)
    }

    fn has_durable_writes(&self) -> bool {
        self.parts.disk.has_durable_writes()
    }

    fn say(&self, what: &str) {
        log::line(format_args!("queue {}: {what}", self.parts.number));
    }
}
