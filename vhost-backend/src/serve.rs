//! The life of the process: image, lease, queues, front end, end. Every thread that serves is made and joined here.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use confine::calls::Call;
use rustix::{
    event::{EventfdFlags, eventfd},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    backing::{Backing, BackingError},
    config::{Config, EngineWish, FrontEnd},
    device::Device,
    disk::{
        Disk,
        buffer::Pool,
        engine::{Engine, Kind},
        threads::Threads,
        uring::{self, Uring},
    },
    inherit::inherited,
    lease::{self, Duty, Keeper, LeaseError, Source, Surveyor},
    limits::{TAKE_OVER_PAUSE, TAKE_OVER_TIME, files_wanted},
    mailbox::{Mailbox, mailbox},
    memory::cut,
    queue::{
        Parts, Queue, Shared,
        command::{Command, QueueHandle},
    },
    sandbox::{self, Wishes, syscalls::filter},
    seal::Sealer,
    server::{Server, Watch},
    session::Session,
};

/// Serves a disk until SIGTERM, or until the handed-over connection ends; from the first front end on with no other
/// system calls than those `allowed` with what waits for the device.
///
/// # Errors
/// What stands in the way, in one line that says what to do next.
pub fn serve(config: &Config, allowed: impl Fn(Kind) -> Vec<Call>) -> Result<()> {
    lift_file_limit()?;
    let stop = stop_signal()?;
    cut::survive().context("watching for the loss of memory")?;
    let mut backing = open_image(config)?;
    backing.is_disk(config.disk_id)?;
    let server = open_front_end(&config.front_end)?;
    let mut sandbox = sandbox::enter(wishes(config))?;
    let source =
        Source { keyd: config.keyd.clone(), disk: backing.disk(), read_only: config.read_only };
    let attached = match config.incoming {
        true => None,
        false => Some(patiently(|| lease::attach(&source), LeaseError::is_in_use)?),
    };
    if let Some((_, terms, _)) = &attached {
        backing.agree(&terms.record)?;
    }
    let backing = Arc::new(backing);

    let kind = choose(config.engine)?;
    let shared = Arc::new(Shared::default());
    let mut queues = Vec::new();
    let mut threads = Vec::new();
    for number in 0..config.queues {
        let (queue, thread) = start_queue((number, kind), config, &backing, &shared)?;
        queues.push(queue);
        threads.push(thread);
    }
    let (grown, sizes) = mailbox()?;
    let (duties, orders) = mailbox()?;
    let _ = shared.keeper.set(duties.clone());
    let surveyor = Surveyor::start(backing.clone(), duties.clone())?;
    let mut keeper =
        Keeper::new(source, backing.clone(), queues.clone(), shared.clone(), grown, surveyor);
    if let Some(attached) = attached {
        keeper.hold(attached)?;
    }
    let keeper_thread = start_keeper(keeper, orders)?;
    has_files_left(config.queues, &backing)?;
    // Before: it asks the file system.
    let description = backing.description(kind);
    sandbox.give_up_calls(&filter(&allowed(kind)))?;
    eprintln!("vhost-backend: sandbox: {sandbox}");
    eprintln!("vhost-backend: serving {description}");

    let device = Device::new(backing.abilities(config.discard), config.queues);
    let session = Session::new(device, shared, &queues, config.queue_size, duties.clone());
    let outcome = server.serve(session, &Watch { stop, sizes });

    duties.send(Duty::End);
    let _ = keeper_thread.join();
    queues.iter().for_each(|queue| queue.tell(Command::Exit));
    threads.into_iter().for_each(|thread| {
        let _ = thread.join();
    });
    // The rings would hold them for some milliseconds more: who comes next must not be told that the image is in use.
    let _ = backing.unlock();
    Ok(outcome?)
}

/// Opens the image: as ours, or as another process's that will let go of it.
fn open_image(config: &Config) -> Result<Backing, BackingError> {
    let Config { blk_file, read_only, cache, queues, .. } = config;
    match config.incoming {
        true => Backing::open_unlocked(blk_file, *read_only, *cache, *queues),
        false => {
            let open = || Backing::open(blk_file, *read_only, *cache, *queues);
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

/// A descriptor that becomes readable on SIGTERM and SIGINT.
fn stop_signal() -> Result<OwnedFd> {
    let (read, write) = UnixStream::pair().context("making the signal pipe")?;
    for signal in [SIGTERM, SIGINT] {
        let write = write.try_clone().context("making the signal pipe")?;
        signal_hook::low_level::pipe::register(signal, write).context("watching for signals")?;
    }
    Ok(read.into())
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

/// What is to wait for the device. That it is not what does so best is said.
fn choose(wish: EngineWish) -> Result<Kind> {
    if wish == EngineWish::Threads {
        return Ok(Kind::Threads);
    }
    match uring::probe() {
        Ok(()) => Ok(Kind::IoUring),
        Err(error) if wish == EngineWish::IoUring => Err(error).context("--engine io_uring"),
        Err(error) => {
            eprintln!("vhost-backend: {error}; using {} instead, which is slower", Kind::Threads);
            Ok(Kind::Threads)
        }
    }
}

/// Starts a queue's thread and waits until it has its ring: what is missing is an error of the start, not of the first
/// request.
fn start_queue(
    (number, kind): (u16, Kind),
    config: &Config,
    backing: &Arc<Backing>,
    shared: &Arc<Shared>,
) -> Result<(QueueHandle, JoinHandle<()>)> {
    let doorbell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("making an eventfd")?);
    let (sender, commands) = mpsc::channel();
    let (ready, started) = mpsc::channel();
    let watched = doorbell.try_clone().context("making an eventfd")?;
    let (backing, shared) = (backing.clone(), shared.clone());
    let (size, discard) = (config.queue_size, config.discard);
    let thread = thread::Builder::new().name(format!("queue-{number}")).spawn(move || {
        // Everything is made on the queue's own thread: its ring serves no other.
        let made = make_queue((number, kind), size, discard, &backing, shared, commands, watched);
        match made {
            Ok(queue) => {
                let _ = ready.send(Ok(()));
                run_queue(number, queue);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    started.recv().context("a queue thread ended at its start")??;
    Ok((QueueHandle::new(sender, doorbell), thread))
}

fn make_queue(
    (number, kind): (u16, Kind),
    size: u16,
    discard: bool,
    backing: &Backing,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    doorbell: OwnedFd,
) -> Result<Queue<Engine>> {
    let pool = Pool::new().context("mapping I/O buffers")?;
    let image = backing.data(number).try_clone().context("opening the image once more")?;
    let waiting: Box<dyn Disk> = match kind {
        Kind::IoUring => Box::new(make_ring(number, backing, &pool, doorbell)?),
        Kind::Threads => Box::new(make_threads(number, backing, doorbell)?),
    };
    let disk = Engine::new(waiting, image, backing.way());
    let can = backing.abilities(discard);
    let sealer = Sealer::new(backing.holes(), can.block_size as usize)?;
    let serial = serial(backing);
    let layout = backing.layout();
    Ok(Queue::new(Parts {
        number,
        disk,
        pool,
        sealer,
        layout,
        can,
        serial,
        shared,
        commands,
        size,
    }))
}

fn make_ring(number: u16, backing: &Backing, pool: &Pool, doorbell: OwnedFd) -> Result<Uring> {
    let way = backing.way();
    let ring = Uring::new([backing.data(number).as_fd(), backing.lock()], (pool, way), doorbell)?;
    if way.waits() && !ring.has_fixed_buffers() {
        eprintln!(
            "vhost-backend: queue {number}: I/O buffers are not registered with the kernel: raise the memory lock limit (LimitMEMLOCK=) for full speed"
        );
    }
    Ok(ring)
}

fn make_threads(number: u16, backing: &Backing, doorbell: OwnedFd) -> Result<Threads> {
    let image = Arc::new(backing.data(number).try_clone().context("opening the image once more")?);
    Threads::new(&format!("queue-{number}"), &image, doorbell).with_context(|| {
        format!(
            "making {}: raise the limits of threads and open files, or use fewer queues",
            Kind::Threads
        )
    })
}

/// Answer to GET_ID: the first 20 characters of the disk's id, as virtio has no room for more.
fn serial(backing: &Backing) -> [u8; 20] {
    let id = backing.disk().0.simple().to_string();
    let mut serial = [0; 20];
    serial.copy_from_slice(&id.as_bytes()[..20]);
    serial
}

fn run_queue(number: u16, queue: Queue<Engine>) {
    if let Err(error) = queue.run() {
        // A disk with a dead queue looks alive and is not: the supervisor must see it.
        eprintln!("vhost-backend: queue {number}: waiting for its disk failed: {error}; ending");
        std::process::exit(1);
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
