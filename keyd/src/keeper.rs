//! The threads that do what is due by the clock: see [`crate::ops::due`]. They also end a daemon whose store cannot be
//! written any more: it can neither hand out a key nor take one away, and another may find the disk well again.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use crate::{
    core::Core,
    error::Failure,
    limits::TICK,
    log,
    ops::{due, state_keep},
};

struct Duty {
    work: fn(&Core) -> Result<(), Failure>,
    /// Whether it is done beside a broken audit log too: what only takes keys away is.
    beside_break: bool,
}

/// What must not wait for anything.
const PROMPT: &[Duty] = &[
    Duty { work: due::look, beside_break: true },
    Duty { work: due::rotate_copies, beside_break: true },
    Duty { work: due::enforce, beside_break: true },
    Duty { work: due::purge, beside_break: false },
    Duty { work: due::tell_refusals, beside_break: false },
];

/// What may take minutes: wrapping ten thousand DEKs anew must not keep a grace from its end.
const LONG: &[Duty] = &[
    Duty { work: due::rotate, beside_break: false },
    Duty { work: due::catch_up, beside_break: false },
    Duty { work: due::check, beside_break: true },
    Duty { work: state_keep::run, beside_break: false },
];

/// The running keeper; it ends when this is dropped.
#[derive(Debug)]
pub struct Keeper(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    /// Dropped to stop it.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it. A byte on `end` asks for the daemon's end.
    #[must_use]
    pub fn start(core: &Arc<Core>, end: &Arc<UnixStream>) -> Self {
        let start = |duties: &'static [Duty]| {
            let (stop, stopped) = mpsc::channel();
            let (core, end) = (core.clone(), end.clone());
            let thread = thread::spawn(move || run(&core, duties, &stopped, &end));
            Worker { stop: Some(stop), thread: Some(thread) }
        };
        Self([PROMPT, LONG].into_iter().map(start).collect())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|worker| drop(worker.stop.take()));
        for thread in self.0.iter_mut().filter_map(|worker| worker.thread.take()) {
            // It fails only after a panic, which ends the process as it is built for use.
            let _ = thread.join();
        }
    }
}

/// One duty after the other, until it is told to stop; what fails is told once, not every second.
fn run(core: &Core, duties: &[Duty], stopped: &mpsc::Receiver<()>, mut end: &UnixStream) {
    let mut before = None;
    while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
        let failed = duties
            .iter()
            .filter(|duty| !core.stopping() && (duty.beside_break || core.store.writable().is_ok()))
            .find_map(|duty| (duty.work)(core).err())
            .map(|failure| log::chain(&failure));
        if failed != before
            && let Some(failed) = &failed
        {
            log::line(format_args!("what is due by the clock failed: {failed}"));
        }
        before = failed;
        log::tell();
        if let Err(fault) = core.store.well() {
            log::line(format_args!("keyd ends, no key can be taken away any more: {fault}"));
            // It fails only if the daemon is ending already.
            let _ = end.write_all(b"!");
            return;
        }
    }
}
