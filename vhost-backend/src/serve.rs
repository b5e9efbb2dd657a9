//! The life of the process: image, lease, queues, front end, end. Every thread that serves is made and joined here.

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use confine::{calls::Call, manager::Manager};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    backing::{Backing, BackingError},
    config::{Config, EngineWish, FrontEnd},
    device::Device,
    disk::{engine::Kind, ring_maker::RingMaker, way::Way},
    inherit::inherited,
    lease::{Beginning, Duty, Keeper, LeaseError, Refusal, Source, Surveyor},
    limits::{FILES_AT_START, QUEUES_MAX, TAKE_OVER_PAUSE, TAKE_OVER_TIME, files_wanted},
    log,
    mailbox::{Mailbox, mailbox},
    memory::cut,
    queue::{Shared, command::Command},
    queues::{Queues, Rings},
    sandbox::{self, Wishes, syscalls::filter},
    server::{Server, Watch},
    session::Session,
};

/// Serves a disk until SIGTERM, or until the handed-over connection ends; from the first front end on with no other
/// system calls than those `allowed` with what waits for the device.
///
/// # Errors
/// What stands in the way, in one line that says what to do next.
pub fn serve(config: &Config, allowed: impl Fn(EngineWish) -> Vec<Call>) -> Result<()> {
    let manager = Arc::new(Manager::find().context("finding the service manager")?);
    let outcome = run(config, allowed, &manager);
    if let Err(error) = &outcome {
        manager.status(&one_line(error));
    }
    outcome
}

/// The error and its causes, once each: many messages name their cause already.
#[must_use]
pub fn one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| {
        match (line.is_empty(), line.contains(&cause)) {
            (true, _) => cause,
            (false, true) => line,
            (false, false) => format!("{line}: {cause}"),
        }
    })
}

fn run(
    config: &Config,
    allowed: impl Fn(EngineWish) -> Vec<Call>,
    manager: &Arc<Manager>,
) -> Result<()> {
    lift_file_limit()?;
    let (stop, stopper) = stop_signal()?;
    cut::survive().context("watching for the loss of memory")?;
    let count = config.queues.unwrap_or_else(queues_by_files);
    let mut backing = open_image(config, count)?;
    backing.is_disk(config.disk_id)?;
    let server = open_front_end(&config.front_end)?;
    let mut sandbox = sandbox::enter(wishes(config))?;
    // Between: it is in the sandbox, too, and there is one thread.
    let rings = ring_maker(config.engine, backing.way(), count)?;
    let source =
        Source { keyd: config.keyd.clone(), disk: backing.disk(), read_only: config.read_only };
    let beginning = match config.incoming {
        true => Beginning::Elsewhere,
        false => patiently(|| Beginning::ask(&source), LeaseError::is_in_use)?,
    };
    if let Some(terms) = beginning.terms() {
        backing.agree(&terms.record)?;
    }
    let backing = Arc::new(backing);

    let shared = Arc::new(Shared::default());
    let engine = if rings.maker().is_some() { config.engine } else { EngineWish::Threads };
    let (duties, orders) = mailbox()?;
    let _ = shared.keeper.set(duties.clone());
    let queues = Queues::new(config, &backing, &shared, rings);
    let (handles, kind) = queues.handles(count)?;
    let (grown, sizes) = mailbox()?;
    let surveyor = Surveyor::start(backing.clone(), duties.clone())?;
    let mut keeper =
        Keeper::new(source, backing.clone(), handles.clone(), shared.clone(), grown, surveyor);
    let (refusal, refused) = Refusal::new(stopper);
    keeper.begin(beginning, refusal, manager.clone())?;
    let keeper_thread = start_keeper(keeper, orders)?;
    has_files_left(count, &backing)?;
    // Before: it asks the file system.
    let description = backing.description(kind);
    let calls: Vec<Call> = allowed(engine).into_iter().chain(queues.call()).collect();
    sandbox.give_up_calls(&filter(&calls))?;
    log::line(format_args!("sandbox: {sandbox}"));
    log::line(format_args!("serving {description}"));
    manager.ready().context("telling the service manager")?;

    let device = Device::new(backing.abilities(config.discard), count);
    let session = Session::new(device, shared, &handles, config.queue_size, duties.clone());
    let outcome = server.serve(session, &Watch { stop, sizes });

    duties.send(Duty::End);
    let _ = keeper_thread.join();
    handles.iter().for_each(|queue| queue.tell(Command::Exit));
    queues.join();
    // The rings would hold them for some milliseconds more: who comes next must not be told that the image is in use.
    let _ = backing.unlock();
    outcome?;
    refused.try_recv().map_or(Ok(()), |why| Err(why.into()))
}

/// Opens the image: as ours, or as another process's that will let go of it.
fn open_image(config: &Config, queues: u16) -> Result<Backing, BackingError> {
    let Config { blk_file, read_only, cache, .. } = config;
    match config.incoming {
        true => Backing::open_unlocked(blk_file, *read_only, *cache, queues),
        false => {
            let open = || Backing::open(blk_file, *read_only, *cache, queues);
            patiently(open, BackingError::is_in_use)
        }
    }
}

fn wishes(config: &Config) -> Wishes<'_> {
    let socket = match &config.front_end {
        FrontEnd::Path(path) => Some(path.as_path()),
        FrontEnd::Fd(_) => None,
    };
    Wishes { user: config.user.as_ref(), socket, required: config.require_sandbox }
}

/// All that may be had by right. (The usual limit is for programs that use select(2).)
fn lift_file_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Queues where nobody says how many: the most, or fewer if so many could not have the descriptors that they may want.
fn queues_by_files() -> u16 {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return QUEUES_MAX };
    let fits = |queues: u16| FILES_AT_START + u64::from(queues) + files_wanted(queues) <= limit;
    (1..=QUEUES_MAX).rev().find(|queues| fits(*queues)).unwrap_or(1)
}

/// Makes sure that descriptors do not run out later. The `vhost` crate takes a message whose descriptors found no place
/// for one that is still to come, and waits for it without an end.
fn has_files_left(queues: u16, backing: &Backing) -> Result<()> {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    // A new one gets the lowest number that is free.
    let next = backing.data(0).try_clone().context("opening the image once more")?;
    let needed = next.as_raw_fd() as u64 + files_wanted(queues);
    ensure!(
        needed <= limit,
        "with {queues} queues {needed} files may have to be open, and the limit is {limit}: raise it (LimitNOFILE=, ulimit -n), or use fewer queues"
    );
    Ok(())
}

/// Tries for a while what a process before this one, killed a moment ago, may still hold: its last I/O has to end, and
/// the daemon has to see that it is gone.
fn patiently<T, E>(
    attempt: impl Fn() -> Result<T, E>,
    is_in_use: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let deadline = Instant::now() + TAKE_OVER_TIME;
    loop {
        match attempt() {
            Err(error) if is_in_use(&error) && Instant::now() < deadline => {
                thread::sleep(TAKE_OVER_PAUSE);
            }
            done => return done,
        }
    }
}

/// A descriptor that becomes readable on SIGTERM and SIGINT, and what else makes it so.
fn stop_signal() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = UnixStream::pair().context("making the signal pipe")?;
    for signal in [SIGTERM, SIGINT] {
        let write = write.try_clone().context("making the signal pipe")?;
        signal_hook::low_level::pipe::register(signal, write).context("watching for signals")?;
    }
    Ok((read.into(), write.into()))
}

fn open_front_end(front_end: &FrontEnd) -> Result<Server> {
    match front_end {
        FrontEnd::Path(path) => Ok(Server::bind(path)?),
        FrontEnd::Fd(number) => {
            let fd = inherited(*number).with_context(|| {
                format!("--fd {number} is not an open descriptor: pass a socket left open for this program")
            })?;
            Ok(Server::from_fd(*number, fd)?)
        }
    }
}

/// The process that makes rings, where rings are wanted and to be had; that there are none is said.
fn ring_maker(wish: EngineWish, way: Way, queues: u16) -> Result<Rings> {
    if wish == EngineWish::Threads {
        return Ok(Rings::Unwanted);
    }
    match RingMaker::start(way, queues) {
        Ok(maker) => Ok(Rings::From(maker)),
        Err(error) if wish == EngineWish::IoUring => Err(error).context("--engine io_uring"),
        Err(error) => {
            log::line(format_args!("{error}; using {} instead, which is slower", Kind::Threads));
            Ok(Rings::Missing(error.to_string()))
        }
    }
}

/// Starts the lease thread. What a thread asks of the system as it begins is behind it when this returns.
fn start_keeper(keeper: Keeper, duties: Mailbox<Duty>) -> io::Result<JoinHandle<()>> {
    let (runs, begun) = mpsc::channel();
    let thread = thread::Builder::new().name("lease".into()).spawn(move || {
        let _ = runs.send(());
        keeper.run(&duties);
    })?;
    let _ = begun.recv();
    Ok(thread)
}
