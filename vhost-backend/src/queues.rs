//! The queues of a disk. The first is made at the start, so that what is missing is seen there; each other when its
//! ring is started for the first time, in a process that has given up most of its system calls by then.
//!
//! Each has a ring of io_uring if there is one to be had, and else threads, whatever its siblings have. The daemon is
//! told which, for who looks there why a disk is slow.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use confine::calls::Call;
use keyd_client::{Printable, message::Serving};
use rustix::event::{EventfdFlags, eventfd};

use crate::{
    backing::Backing,
    config::{Config, EngineWish, Serial},
    disk::{
        Disk,
        buffer::Pool,
        engine::{Engine, Kind},
        ring_maker::RingMaker,
        threads::Threads,
        uring::Uring,
    },
    lease::Duty,
    log,
    queue::{
        Parts, Queue, Shared,
        command::Command,
        handle::{Line, QueueHandle, Wake},
    },
    seal::Sealer,
};

/// Where rings come from.
#[derive(Debug)]
pub(crate) enum Rings {
    /// From here.
    From(RingMaker),
    /// Nobody wants one.
    Unwanted,
    /// There are none, for this reason.
    Missing(String),
}

impl Rings {
    /// Who makes them.
    pub(crate) fn maker(&self) -> Option<&RingMaker> {
        match self {
            Self::From(maker) => Some(maker),
            Self::Unwanted | Self::Missing(_) => None,
        }
    }
}

/// The queues of a disk.
pub(crate) struct Queues {
    backing: Arc<Backing>,
    shared: Arc<Shared>,
    rings: Rings,
    /// There must be no threads instead of a ring.
    needs_rings: bool,
    queue_size: u16,
    discard: bool,
    serial: [u8; 20],
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Why a queue has no ring, or its buffers are not registered: said once, and not by each.
    said: Mutex<Vec<String>>,
    /// What the daemon is told of them.
    account: Mutex<Serving>,
}

impl Queues {
    /// Queues for an image, of which there is none yet. `rings` makes what waits for the device. The keeper hears of
    /// each that is made, if `shared` knows it by then.
    #[must_use]
    pub(crate) fn new(
        config: &Config,
        backing: &Arc<Backing>,
        shared: &Arc<Shared>,
        rings: Rings,
    ) -> Arc<Self> {
        let no_ring = match &rings {
            Rings::Missing(why) if backing.way().waits() => Some(Printable::new(why)),
            _ => None,
        };
        let stock_fault = backing.stock_fault().map(Printable::new);
        let account = Serving { no_ring, stock_fault, ..Serving::default() };
        Arc::new(Self {
            backing: backing.clone(),
            shared: shared.clone(),
            rings,
            needs_rings: config.engine == EngineWish::IoUring,
            queue_size: config.queue_size,
            discard: config.discard,
            serial: config.serial.unwrap_or_else(|| Serial::of(backing.disk())).bytes(),
            threads: Mutex::default(),
            said: Mutex::default(),
            account: Mutex::new(account),
        })
    }

    /// The other threads' ends of `count` queues, of which the first is made now. And what waits for the device there.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn handles(self: &Arc<Self>, count: u16) -> Result<(Vec<QueueHandle>, Kind)> {
        let (first, kind) = self.start(0)?;
        let asleep = (1..count).map(|number| QueueHandle::asleep(number, self.clone()));
        Ok((std::iter::once(QueueHandle::awake(first)).chain(asleep).collect(), kind))
    }

    /// A system call that is needed to make more, besides those that are always.
    pub(crate) fn call(&self) -> Option<Call> {
        self.rings.maker().and_then(RingMaker::call)
    }

    /// Waits for the end of every queue that was told to.
    pub(crate) fn join(&self) {
        lock(&self.threads).drain(..).for_each(|thread| {
            let _ = thread.join();
        });
    }

    /// Starts a queue's thread and waits until all of it is there: what is missing is an error of the start, not of the
    /// first request.
    fn start(self: &Arc<Self>, number: u16) -> Result<(Line, Kind)> {
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC).context("making an eventfd")?;
        let watched = doorbell.try_clone().context("making an eventfd")?;
        let (sender, commands) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let this = self.clone();
        let thread = thread::Builder::new()
            .name(format!("queue-{number}"))
            .spawn(move || {
                // Everything is made on the queue's own thread: its ring serves no other.
                match this.make(number, commands, watched) {
                    Ok((queue, kind)) => {
                        let _ = ready.send(Ok(kind));
                        run(number, queue);
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .context("making a thread: raise the limit of threads (TasksMax=, ulimit -u)")?;
        lock(&self.threads).push(thread);
        let kind = started.recv().context("a queue thread ended at its start")??;
        self.tell(kind);
        Ok((Line::new(sender, doorbell), kind))
    }

    fn make(
        &self,
        number: u16,
        commands: mpsc::Receiver<Command>,
        doorbell: OwnedFd,
    ) -> Result<(Queue<Engine>, Kind)> {
        let backing = &self.backing;
        let pool = Pool::new().context("mapping I/O buffers")?;
        let image = backing.data(number).try_clone().context("opening the image once more")?;
        let (waiting, kind) = self.waiting(number, &pool, doorbell)?;
        let disk = Engine::new(waiting, image, backing.way());
        let can = backing.abilities(self.discard);
        let sealer = Sealer::new(backing.holes(), can.block_size as usize)?;
        let (serial, layout) = (self.serial, backing.layout());
        let (shared, size) = (self.shared.clone(), self.queue_size);
        let parts =
            Parts { number, disk, pool, sealer, layout, can, serial, shared, commands, size };
        Ok((Queue::new(parts), kind))
    }

    /// What waits for the device: a ring, or threads where there is none. That it is not what does so best is said.
    fn waiting(
        &self,
        number: u16,
        pool: &Pool,
        doorbell: OwnedFd,
    ) -> Result<(Box<dyn Disk>, Kind)> {
        let watched = doorbell.try_clone().context("making an eventfd")?;
        match self.rings.maker().map(|maker| self.ring(maker, number, pool, doorbell)) {
            Some(Ok(ring)) => {
                let registered = ring.has_fixed_buffers();
                return Ok((Box::new(ring), Kind::IoUring { registered }));
            }
            Some(Err(error)) if self.needs_rings => return Err(error).context("--engine io_uring"),
            Some(Err(error)) => self.do_without(number, &error),
            None => {}
        }
        Ok((Box::new(self.workers(number, watched)?), Kind::Threads))
    }

    fn ring(
        &self,
        maker: &RingMaker,
        number: u16,
        pool: &Pool,
        doorbell: OwnedFd,
    ) -> Result<Uring> {
        let (backing, way) = (&self.backing, self.backing.way());
        let files = [backing.data(number).as_fd(), backing.lock()];
        let ring = Uring::new(maker.ring()?, files, (pool, way, maker.reserve()), doorbell)?;
        if way.waits() && !ring.has_fixed_buffers() {
            self.say_once(
                number,
                "I/O buffers are not registered with the kernel, to leave locked memory to rings: for full speed raise the memory lock limit (LimitMEMLOCK=infinity, or 3 MiB for each queue of all disks of this user, and 8 MiB more)",
            );
        }
        Ok(ring)
    }

    fn workers(&self, number: u16, doorbell: OwnedFd) -> Result<Threads> {
        let image = self.backing.data(number).try_clone().context("opening the image once more")?;
        Threads::new(&format!("queue-{number}"), &Arc::new(image), doorbell).with_context(|| {
            format!(
                "making {}: raise the limits of threads and open files, or use fewer queues",
                Kind::Threads
            )
        })
    }

    fn do_without(&self, number: u16, why: &anyhow::Error) {
        self.say_once(
            number,
            &format!("{why:#}; it has {} instead, which is slower", Kind::Threads),
        );
        if self.backing.way().waits() {
            lock(&self.account)
                .no_ring
                .get_or_insert_with(|| Printable::new(format_args!("{why:#}")));
        }
    }

    /// Counts a queue that was made, and has the daemon told.
    fn tell(&self, kind: Kind) {
        let mut account = lock(&self.account);
        let queues = &mut account.queues;
        let of_kind = match kind {
            _ if !self.backing.way().waits() => &mut queues.calls,
            Kind::IoUring { registered: true } => &mut queues.io_uring,
            Kind::IoUring { registered: false } => &mut queues.io_uring_unregistered,
            Kind::Threads => &mut queues.threads,
        };
        *of_kind += 1;
        if let Some(keeper) = self.shared.keeper.get() {
            // With the lock: the last that it hears counts.
            keeper.send(Duty::Tell(account.clone()));
        }
    }

    fn say_once(&self, number: u16, what: &str) {
        let mut said = lock(&self.said);
        if !said.iter().any(|before| before == what) {
            log::line(format_args!("queue {number}: {what}"));
            said.push(what.to_owned());
        }
    }
}

impl Wake for Queues {
    fn wake(self: Arc<Self>, number: u16) -> io::Result<Line> {
        let started = self.start(number).map_err(|error| io::Error::other(format!("{error:#}")));
        started.map(|(line, _)| line)
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queues({} made)", lock(&self.threads).len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(number: u16, queue: Queue<Engine>) {
    if let Err(error) = queue.run() {
        // A disk with a dead queue looks alive and is not: the supervisor must see it.
        log::line(format_args!("queue {number}: waiting for its disk failed: {error}; ending"));
        std::process::exit(1);
    }
}
