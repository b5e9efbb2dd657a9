//! A front end that says what it likes, with whatever descriptors: to the server and session of a whole device, whose
//! queues work on the simulated disk. Afterwards nothing is left open, and the next front end is served.

mod device;
mod words;

use std::{
    fs::File,
    io::{PipeReader, PipeWriter, Write},
    net::Shutdown,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    sync::{Mutex, OnceLock, PoisonError},
};

use arbitrary::{Arbitrary, Unstructured};
use rustix::{
    event::{EventfdFlags, eventfd},
    fs::{MemfdFlags, ftruncate, memfd_create},
};
use system_tests::hostile::{HostileGuest, wait_for_close, wait_for_open_files};
use vhost_backend::inflight::{Geometry, Region};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use device::Device;
use words::{Fd, Words};

#[derive(Debug, Arbitrary)]
struct Input {
    words: Vec<Words>,
    /// Bytes of the guest's first pages.
    memory: Vec<(u16, u8)>,
    inflight: [u8; 32],
    good_ring: bool,
}

/// Most messages of one connection.
const WORDS_MAX: usize = 48;

/// Bytes of the files that are memory; the last is as the device gives out for requests in flight.
const FILES: [u64; 3] = [4096, 0x1_0000, 0x4_0000];

/// Runs the target.
///
/// # Panics
/// If an oracle is broken.
pub fn run(bytes: &[u8]) {
    static DEVICE: OnceLock<Mutex<Device>> = OnceLock::new();
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let device = DEVICE.get_or_init(|| Mutex::new(Device::start()));
    let device = device.lock().unwrap_or_else(PoisonError::into_inner);
    speak(&device, &input);
    let mut next = HostileGuest::connect(device.socket());
    next.start();
    let _ = next.good_read();
    drop(next);
    wait_for_open_files(std::process::id(), device.open);
}

/// One connection, from its first word to its last.
fn speak(device: &Device, input: &Input) {
    let stream = UnixStream::connect(device.socket()).expect("connects");
    let fds = Fds::new(input);
    for words in input.words.iter().take(WORDS_MAX) {
        let (message, given) = words.message();
        let raw: Vec<_> = given.iter().filter_map(|fd| fds.get(*fd)).collect();
        let sent = if raw.is_empty() {
            (&stream).write_all(&message).is_ok()
        } else {
            stream.send_with_fds(&[&message[..]], &raw).is_ok()
        };
        if !sent {
            break;
        }
    }
    // What is left unsaid would be waited for: nothing more comes.
    let _ = stream.shutdown(Shutdown::Write);
    wait_for_close(&stream);
}

/// What is handed over.
struct Fds {
    files: Vec<File>,
    event: OwnedFd,
    pipe: (PipeReader, PipeWriter),
    null: File,
    zero: File,
}

impl Fds {
    fn new(input: &Input) -> Self {
        let mut files: Vec<File> = FILES.iter().map(|&len| memory(len)).collect();
        for &(at, byte) in &input.memory {
            files.iter().for_each(|file| {
                let inside = u64::from(at) < FILES[0];
                let _ = inside.then(|| file.write_at(&[byte], u64::from(at)));
            });
        }
        if input.good_ring {
            files.iter().for_each(words::write_ring);
        }
        let geometry = Geometry::new((2, 16), (2, 64)).expect("a geometry");
        let inflight = Region::file(geometry).expect("a region");
        inflight.write_all_at(&input.inflight, 0).expect("written");
        files.push(inflight);
        let flags = EventfdFlags::CLOEXEC;
        // The kick has come already.
        let event = eventfd(1, flags).expect("an eventfd");
        let pipe = std::io::pipe().expect("a pipe");
        let open = |path| File::open(path).expect("a device");
        Self { files, event, pipe, null: open("/dev/null"), zero: open("/dev/zero") }
    }

    fn get(&self, fd: Fd) -> Option<i32> {
        Some(match fd {
            Fd::None => return None,
            Fd::File(number) => self.files[usize::from(number) % self.files.len()].as_raw_fd(),
            Fd::Event => self.event.as_raw_fd(),
            Fd::Pipe(true) => self.pipe.0.as_raw_fd(),
            Fd::Pipe(false) => self.pipe.1.as_raw_fd(),
            Fd::Null => self.null.as_raw_fd(),
            Fd::Zero => self.zero.as_raw_fd(),
        })
    }
}

fn memory(len: u64) -> File {
    let fd = memfd_create("guest", MemfdFlags::CLOEXEC).expect("a memfd");
    ftruncate(&fd, len).expect("a size");
    fd.into()
}
