//! A whole device but for its image and its key's daemon: server, session, and two queues on the simulated disk.

use std::{
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use images::{Layout, SectorSize};
use keyd_client::message::Holes;
use rustix::event::{EventfdFlags, eventfd};
use system_tests::hostile::{HostileGuest, open_files};
use vhost_backend::{
    device::Device as Features,
    disk::{
        buffer::Pool,
        sim::{Faults, SimDisk},
    },
    mailbox::{Slot, mailbox},
    queue::{
        Parts, Queue, Shared,
        command::Command,
        handle::{Line, QueueHandle},
    },
    request::Abilities,
    seal::Sealer,
    server::{Server, Watch},
    session::Session,
};

use crate::{disk::GuardedDisk, key};

const OFFSET: u64 = 16 << 10;
const SIZE: u64 = 1 << 20;
const QUEUES: u16 = 2;
const QUEUE_SIZE: u16 = 64;

const CAN: Abilities = Abilities { capacity: SIZE, block_size: 512, read_only: false, punch: true };

/// See the module.
pub(super) struct Device {
    dir: tempfile::TempDir,
    /// Descriptors that this process has open while nobody is connected.
    pub(super) open: usize,
    _stop: UnixStream,
    _grown: Slot<u64>,
}

impl Device {
    /// Starts it for the rest of the process.
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = Arc::new(Shared::default());
        let queues: Vec<QueueHandle> = (0..QUEUES).map(|number| queue(number, &shared)).collect();
        // Nobody keeps a key here: what is said of the disk as a whole is not heard.
        let (keeper, _) = mailbox().expect("a mailbox");
        let (grown, sizes) = mailbox().expect("a mailbox");
        let features = Features::new(CAN, QUEUES);
        let session = Session::new(features, shared, &queues, QUEUE_SIZE, keeper);
        let listener = UnixListener::bind(dir.path().join("s")).expect("listens");
        let (stop, stopped) = UnixStream::pair().expect("a pair");
        let watch = Watch { stop: stopped.into(), sizes };
        thread::spawn(move || Server::Listener(listener, None).serve(session, &watch));
        let mut device = Self { dir, open: 0, _stop: stop, _grown: grown };
        // Once as it should be: what is opened for good is open then.
        let mut guest = HostileGuest::connect(device.socket());
        guest.start();
        let _ = guest.good_read();
        let before = open_files(std::process::id());
        drop(guest);
        // The guest's own five, at least, are closed with it.
        system_tests::hostile::wait_for_open_files(std::process::id(), before - 5);
        device.open = before - 5;
        device
    }

    pub(super) fn socket(&self) -> &Path {
        static PATH: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
        PATH.get_or_init(|| self.dir.path().join("s"))
    }
}

/// A queue with a key, in a thread of its own.
fn queue(number: u16, shared: &Arc<Shared>) -> QueueHandle {
    let (commands, receiver) = mpsc::channel();
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
    let ours = bell.as_fd().try_clone_to_owned().expect("a second handle");
    let sim = SimDisk::new(vec![0; (OFFSET + SIZE) as usize], Faults::default(), 1);
    let unit = SectorSize::B512;
    let queue = Queue::new(Parts {
        number,
        disk: GuardedDisk::new(sim, OFFSET..OFFSET + SIZE, Some(ours)),
        pool: Pool::new().expect("buffers"),
        sealer: Sealer::new(Holes::Zeros, 512).expect("a page"),
        layout: Layout::new(unit, OFFSET, SIZE).expect("a layout"),
        can: CAN,
        serial: *b"0123456789abcdefghij",
        shared: shared.clone(),
        commands: receiver,
        size: QUEUE_SIZE,
    });
    thread::spawn(move || queue.run());
    let handle = QueueHandle::awake(Line::new(commands, bell));
    handle.tell(Command::Resume(key::cipher(unit)));
    handle
}
