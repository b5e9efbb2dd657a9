//! The life of the process: image, lease, queues, front end, end. Every thread is made and joined here.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    backing::{Backing, BackingError},
    config::{Config, FrontEnd},
    device::Device,
    disk::{buffer::Pool, engine::Engine, uring::Uring},
    inherit::inherited,
    lease::{self, Keeper, LeaseError, Source},
    limits::{TAKE_OVER_PAUSE, TAKE_OVER_TIME},
    memory::cut,
    queue::{
        Parts, Queue, Shared,
        command::{Command, QueueHandle},
    },
    sandbox::{Sandbox, Wishes, syscalls::Allowed},
    seal::Sealer,
    server::Server,
    session::Session,
};

/// Serves a disk until SIGTERM, or until the handed-over connection ends; from the first front end on with no other
/// system calls than those `allowed`.
///
/// # Errors
/// What stands in the way, in one line that says what to do next.
pub fn serve(config: &Config, allowed: &[Allowed]) -> Result<()> {
    let stop = stop_signal()?;
    cut::survive().context("watching for the loss of memory")?;
    let open = || Backing::open(&config.blk_file, config.read_only, config.cache, config.queues);
    let backing = Arc::new(patiently(open, BackingError::is_in_use)?);
    backing.is_disk(config.disk_id)?;
    let server = open_front_end(&config.front_end)?;
    let sandbox = Sandbox::enter(wishes(config))?;
    let source =
        Source { keyd: config.keyd.clone(), disk: backing.disk(), read_only: config.read_only };
    let attached = patiently(|| lease::attach(&source), LeaseError::is_in_use)?;
    backing.agrees_with(&attached.1.record)?;

    let shared = Arc::new(Shared::default());
    let mut queues = Vec::new();
    let mut threads = Vec::new();
    for number in 0..config.queues {
        let (queue, thread) = start_queue(number, config, &backing, &shared)?;
        queues.push(queue);
        threads.push(thread);
    }
    let keeper = Keeper::new(source, attached, queues.clone())?;
    let (keeper_stop, keeper_thread) = start_keeper(keeper)?;
    // Before: it asks the file system.
    let description = backing.description();
    let sandbox = sandbox.close(allowed)?;
    eprintln!("vhost-backend: sandbox: {sandbox}");
    eprintln!("vhost-backend: serving {description}");

    let device = Device::new(backing.abilities(config.discard), config.queues);
    let session = Session::new(device, shared, &queues, config.queue_size);
    let outcome = server.serve(session, &stop);

    drop(keeper_stop);
    let _ = keeper_thread.join();
    queues.iter().for_each(|queue| queue.tell(Command::Exit));
    threads.into_iter().for_each(|thread| {
        let _ = thread.join();
    });
    // The rings would hold them for some milliseconds more: who comes next must not be told that the image is in use.
    let _ = backing.unlock();
    Ok(outcome?)
}

fn wishes(config: &Config) -> Wishes<'_> {
    let socket = match &config.front_end {
        FrontEnd::Path(path) => Some(path.as_path()),
        FrontEnd::Fd(_) => None,
    };
    Wishes { user: config.user.as_ref(), socket, required: config.require_sandbox }
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

/// Starts a queue's thread and waits until it has its ring: what is missing is an error of the start, not of the first
/// request.
fn start_queue(
    number: u16,
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
        let made = make_queue(number, size, discard, &backing, shared, commands, watched);
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
    number: u16,
    size: u16,
    discard: bool,
    backing: &Backing,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    doorbell: OwnedFd,
) -> Result<Queue<Engine>> {
    let pool = Pool::new().context("mapping I/O buffers")?;
    let way = backing.way();
    let data = backing.data(number);
    let ring = Uring::new([data.as_fd(), backing.lock()], (&pool, way.uses_ring()), doorbell)?;
    if way.uses_ring() && !ring.has_fixed_buffers() {
        eprintln!(
            "vhost-backend: queue {number}: I/O buffers are not registered with the kernel: raise the memory lock limit (LimitMEMLOCK=) for full speed"
        );
    }
    let image = data.try_clone().context("opening the image once more")?;
    let disk = Engine::new(ring, image, way);
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
        eprintln!("vhost-backend: queue {number}: its ring failed: {error}; ending");
        std::process::exit(1);
    }
}

/// Starts the lease thread; dropping the first result ends it. What a thread asks of the system as it begins is
/// behind it when this returns.
fn start_keeper(keeper: Keeper) -> io::Result<(UnixStream, JoinHandle<()>)> {
    let (ours, theirs) = UnixStream::pair()?;
    let stop = OwnedFd::from(theirs);
    let (runs, begun) = mpsc::channel();
    let thread = thread::Builder::new().name("lease".into()).spawn(move || {
        let _ = runs.send(());
        keeper.run(&stop);
    })?;
    let _ = begun.recv();
    Ok((ours, thread))
}
