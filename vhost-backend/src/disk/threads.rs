//! The disk through a few threads, where io_uring is not to be had: each does one job at a time, by a plain call.
//! Slower: every job goes to another thread and back.
//!
//! A worker has one job or none, so there is no queue to share and no lock: who is idle, and what waits for a worker,
//! only the queue's own thread knows. Completions come by a channel, with an eventfd as the bell. Kick, commands and
//! bell are watched by one epoll, edge-triggered: as with the ring, an eventfd is never read, and each write to it is
//! one event.
//!
//! Of a process that is killed nothing can come later, here too. A thread leaves the kernel, and with it its call and
//! that call's I/O, before it can end; the image's locks are let go when its descriptors are closed, which the last
//! thread does (`exit_files`). Not so where the file system lets go of a killed thread before its I/O has ended, as NFS
//! does with O_DIRECT: io_uring is for such.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::{Errno, ReadWriteFlags, write},
};

use super::{Disk, Event, Job, Operation, Submitted, Wait, call::call};
use crate::limits::{BARE_OPERATIONS_MAX, BUFFERS, WORKERS};

const COMMAND: u64 = 0;
const KICK: u64 = 1;
const BELL: u64 = 2;

/// A job that has ended, and whose it was.
type Ended = (usize, Job, Result<usize, Errno>);

/// One queue's threads.
pub struct Threads {
    workers: Vec<Worker>,
    /// The one that became idle last is taken first.
    idle: Vec<usize>,
    /// Jobs for which no worker is free yet.
    waiting: VecDeque<Job>,
    ended: mpsc::Receiver<Ended>,
    watched: OwnedFd,
    kick: Option<OwnedFd>,
    /// What was seen when it was last looked, and is not taken yet.
    kicked: bool,
    commanded: bool,
    /// Watched as long as it is open. (The bell is the workers'.)
    _command: OwnedFd,
}

struct Worker {
    jobs: mpsc::Sender<Job>,
    thread: JoinHandle<()>,
}

impl Threads {
    /// Threads for the image; each runs when this returns. `command` is the eventfd that announces commands, and `name`
    /// the threads'.
    ///
    /// # Errors
    /// No descriptor or thread is left to be made.
    pub fn new(name: &str, image: &Arc<File>, command: OwnedFd) -> io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let watched = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&watched, &command, COMMAND)?;
        watch(&watched, &bell, BELL)?;
        let (end, ended) = mpsc::channel();
        let workers = (0..WORKERS)
            .map(|number| {
                let name = format!("{name}-io-{number}");
                start(name, number, (image.clone(), bell.clone()), end.clone())
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            workers,
            idle: (0..WORKERS).rev().collect(),
            waiting: VecDeque::with_capacity(BUFFERS + BARE_OPERATIONS_MAX),
            ended,
            watched,
            kick: None,
            kicked: false,
            commanded: false,
            _command: command,
        })
    }

    /// Gives the idle workers what waits for one.
    fn hand_out(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            let Some(worker) = self.idle.pop() else { return self.waiting.push_front(job) };
            // A worker ends when its channel does, and not before.
            let _ = self.workers[worker].jobs.send(job);
        }
    }

    fn take(&mut self, (worker, job, result): Ended) -> Event {
        self.idle.push(worker);
        self.hand_out();
        Event::Done(job, result)
    }
}

fn watch(watched: &OwnedFd, fd: impl AsFd, number: u64) -> io::Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    Ok(epoll::add(watched, fd, epoll::EventData::new_u64(number), flags)?)
}

/// Starts a worker, and waits until it runs: what a thread asks of the system when it begins is behind it then.
fn start(
    name: String,
    number: usize,
    (image, bell): (Arc<File>, Arc<OwnedFd>),
    end: mpsc::Sender<Ended>,
) -> io::Result<Worker> {
    let (jobs, orders) = mpsc::channel::<Job>();
    let (runs, begun) = mpsc::channel();
    let thread = thread::Builder::new().name(name).spawn(move || {
        let _ = runs.send(());
        for mut job in orders {
            let result = perform(&image, &mut job.operation);
            let _ = end.send((number, job, result));
            // A full counter means that the bell has been rung already.
            let _ = write(&bell, &1u64.to_ne_bytes());
        }
    })?;
    let _ = begun.recv();
    Ok(Worker { jobs, thread })
}

fn perform(image: &File, operation: &mut Operation) -> Result<usize, Errno> {
    let durable = matches!(operation, Operation::Write { durable: true, .. });
    let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
    call(image, operation, flags)
}

impl Disk for Threads {
    fn submit(&mut self, job: Job) -> Submitted {
        if self.in_flight() >= BUFFERS + BARE_OPERATIONS_MAX {
            return Submitted::Full(job);
        }
        self.waiting.push_back(job);
        self.hand_out();
        Submitted::Queued
    }

    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        let time = match wait {
            Wait::No => Some(Timespec::default()),
            // A time that does not fit is for ever.
            Wait::Sleep(time) => time.and_then(|time| time.try_into().ok()),
        };
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; 3];
        let (seen, _) = match epoll::wait(&self.watched, &mut events, time.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            seen => seen?,
        };
        for event in seen {
            match event.data.u64() {
                COMMAND => self.commanded = true,
                KICK => self.kicked = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.commanded) {
            return Some(Event::Command);
        }
        if std::mem::take(&mut self.kicked) {
            return Some(Event::Kick);
        }
        let ended = self.ended.try_recv().ok()?;
        Some(self.take(ended))
    }

    fn watch_kicks(&mut self, kick: Option<OwnedFd>) {
        // Closing it would not do: the front end has it, too.
        if let Some(old) = self.kick.take() {
            let _ = epoll::delete(&self.watched, old);
        }
        self.kicked = false;
        // One that cannot be watched is none, as with the ring.
        self.kick = kick.filter(|kick| watch(&self.watched, kick, KICK).is_ok());
    }

    fn has_durable_writes(&self) -> bool {
        true
    }

    fn in_flight(&self) -> usize {
        self.workers.len() - self.idle.len() + self.waiting.len()
    }
}

impl Drop for Threads {
    /// Waits for what is in flight, so that nothing is done to the image behind this.
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            let Ok(ended) = self.ended.recv() else { break };
            self.take(ended);
        }
        for Worker { jobs, thread } in self.workers.drain(..) {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({} in flight)", self.in_flight())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::FileExt,
        time::{Duration, Instant},
    };

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter,
    };

    use super::*;
    use crate::disk::{Piece, buffer::Pool};

    const LEN: u64 = 4096;

    /// Threads over an image of zeros, what they ring their queue's doorbell by, and buffers.
    fn threads(blocks: u64) -> (Threads, Arc<File>, OwnedFd, Pool) {
        let image = memfd_create("image", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&image, blocks * LEN).unwrap();
        let image = Arc::new(File::from(image));
        let command = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let threads = Threads::new("test", &image, command.try_clone().unwrap()).unwrap();
        (threads, image, command, Pool::new().unwrap())
    }

    fn job(number: u64, operation: Operation) -> Job {
        let piece = Piece { flight: number as u16, data_at: 0, disk_at: 0, len: LEN };
        Job { piece, attempts: 0, operation }
    }

    fn write_job(pool: &mut Pool, number: u64) -> Job {
        let mut blank = pool.take(LEN as usize).unwrap();
        blank.bytes_mut()[..LEN as usize].fill(number as u8 + 1);
        let from = blank.into_ciphertext(LEN as usize);
        let durable = number.is_multiple_of(2);
        job(number, Operation::Write { from, at: number * LEN, done: 0, durable })
    }

    fn ring(bell: &OwnedFd) {
        write(bell, &1u64.to_ne_bytes()).unwrap();
    }

    fn sleep(threads: &mut Threads, ms: u64) -> Duration {
        let since = Instant::now();
        threads.wait(Wait::Sleep(Some(Duration::from_millis(ms)))).unwrap();
        since.elapsed()
    }

    /// The next jobs that end.
    fn ended(threads: &mut Threads, count: usize) -> Vec<(Job, Result<usize, Errno>)> {
        let mut all = Vec::new();
        while all.len() < count {
            match threads.next() {
                Some(Event::Done(job, result)) => all.push((job, result)),
                Some(event) => panic!("{event:?}"),
                None => assert!(sleep(threads, 30_000) < Duration::from_secs(20)),
            }
        }
        assert!(threads.next().is_none());
        all
    }

    #[test]
    fn many_jobs_are_done_by_few_threads_and_each_comes_back() {
        let count = BUFFERS as u64;
        let (mut threads, image, _command, mut pool) = threads(count);
        for number in 0..count {
            assert!(matches!(threads.submit(write_job(&mut pool, number)), Submitted::Queued));
        }
        assert!(ended(&mut threads, BUFFERS).iter().all(|(_, result)| *result == Ok(4096)));
        assert_eq!(threads.in_flight(), 0);
        let mut byte = [0];
        for number in 0..count {
            image.read_exact_at(&mut byte, (number + 1) * LEN - 1).unwrap();
            assert_eq!(byte[0], number as u8 + 1);
        }
    }

    #[test]
    fn every_operation_is_what_it_is() {
        let (mut threads, image, _command, mut pool) = threads(4);
        image.write_all_at(&[7; 3 * LEN as usize], 0).unwrap();
        let into = pool.take(LEN as usize).unwrap();
        let read = Operation::Read { into, at: 1, len: LEN as usize, done: 96 };
        let _ = threads.submit(job(0, read));
        let (job_done, result) = ended(&mut threads, 1).remove(0);
        let Operation::Read { mut into, .. } = job_done.operation else { panic!() };
        assert_eq!((result, &into.bytes_mut()[95..98]), (Ok(4000), &[0, 7, 7][..]));
        let _ = threads.submit(job(0, Operation::Punch { at: LEN, len: LEN }));
        assert_eq!(ended(&mut threads, 1)[0].1, Ok(0));
        let mut bytes = [1; 3 * LEN as usize];
        image.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!([bytes[4095], bytes[4096], bytes[8191], bytes[8192]], [7, 0, 0, 7]);
        let _ = threads.submit(job(0, Operation::Sync));
        assert_eq!(ended(&mut threads, 1)[0].1, Ok(0));
        let _ = threads.submit(job(0, Operation::Punch { at: 0, len: 0 }));
        assert_eq!(ended(&mut threads, 1)[0].1, Err(Errno::INVAL));
    }

    /// From here on a call that writes durably is not permitted to this thread and those that it makes.
    fn forbid_durable_writes() {
        let durably = ReadWriteFlags::DSYNC.bits().into();
        let how = SeccompCmpOp::MaskedEq(durably);
        let flags = SeccompCondition::new(5, SeccompCmpArgLen::Dword, how, durably).unwrap();
        let rule = SeccompRule::new(vec![flags]).unwrap();
        let refused = SeccompAction::Errno(Errno::PERM.raw_os_error() as u32);
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let rules = [(libc::SYS_pwritev2, vec![rule])].into();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    }

    #[test]
    fn a_durable_write_is_one_to_the_kernel_and_another_is_not() {
        forbid_durable_writes();
        let (mut threads, _image, _command, mut pool) = threads(2);
        let _ = threads.submit(write_job(&mut pool, 0));
        assert_eq!(ended(&mut threads, 1)[0].1, Err(Errno::PERM));
        let _ = threads.submit(write_job(&mut pool, 1));
        assert_eq!(ended(&mut threads, 1)[0].1, Ok(4096));
    }

    #[test]
    fn kicks_and_commands_end_a_sleep_once_each_and_need_not_be_read() {
        let (mut threads, _image, command, _pool) = threads(1);
        let kick = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        ring(&kick);
        threads.watch_kicks(Some(kick.try_clone().unwrap()));
        for _ in 0..3 {
            sleep(&mut threads, 30_000);
            assert!(matches!(threads.next(), Some(Event::Kick)), "also one before it was watched");
            assert!(threads.next().is_none());
            assert!(sleep(&mut threads, 20) >= Duration::from_millis(20));
            ring(&kick);
        }
        ring(&command);
        threads.wait(Wait::No).unwrap();
        assert!(matches!(threads.next(), Some(Event::Command)));
        assert!(matches!(threads.next(), Some(Event::Kick)));
        assert!(threads.next().is_none());
    }

    #[test]
    fn a_kick_descriptor_that_was_replaced_is_not_heard() {
        let (mut threads, _image, _command, _pool) = threads(1);
        let (old, new) = (eventfd(0, EventfdFlags::CLOEXEC), eventfd(0, EventfdFlags::CLOEXEC));
        let (old, new) = (old.unwrap(), new.unwrap());
        threads.watch_kicks(Some(old.try_clone().unwrap()));
        threads.watch_kicks(Some(new.try_clone().unwrap()));
        ring(&old);
        threads.wait(Wait::No).unwrap();
        assert!(threads.next().is_none());
        ring(&new);
        threads.wait(Wait::No).unwrap();
        assert!(matches!(threads.next(), Some(Event::Kick)));
        threads.watch_kicks(None);
        ring(&new);
        threads.wait(Wait::No).unwrap();
        assert!(threads.next().is_none());
    }

    #[test]
    fn there_is_an_end_to_what_it_takes_and_what_it_took_is_done_before_it_is_gone() {
        let (mut threads, image, _command, mut pool) = threads(BUFFERS as u64);
        for number in 0..BUFFERS as u64 {
            let _ = threads.submit(write_job(&mut pool, number));
        }
        for _ in 0..BARE_OPERATIONS_MAX {
            assert!(matches!(threads.submit(job(0, Operation::Sync)), Submitted::Queued));
        }
        assert!(matches!(threads.submit(job(0, Operation::Sync)), Submitted::Full(_)));
        drop(threads);
        let mut byte = [0];
        for number in 0..BUFFERS as u64 {
            image.read_exact_at(&mut byte, number * LEN).unwrap();
            assert_eq!(byte[0], number as u8 + 1);
        }
    }
}
