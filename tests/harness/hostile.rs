//! A front end and a guest that mean harm: raw bytes on the socket, memory that is not there, rings and chains
//! that no driver makes.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::{
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData,
    vhost_user::{
        Frontend, VhostUserFrontend,
        message::{VhostUserHeaderFlag, VhostUserProtocolFeatures},
    },
};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::{
    eventfd::{EFD_NONBLOCK, EventFd},
    sock_ctrl_msg::ScmSocket,
};

use crate::{
    driver::{self, BlkRequest},
    front_end::{FrontEnd, Options},
    process::{PATIENCE, eventually},
};

/// Entries of the ring.
pub const SIZE: u16 = 16;
/// Bytes of guest memory, from address 0.
pub const MEMORY: u64 = 1 << 20;
/// Where the ring's descriptors lie.
pub const DESCRIPTORS: u64 = 0x1000;
/// Where an indirect table may lie.
pub const TABLE: u64 = 0x8000;
/// Where buffers may lie.
pub const BUFFERS: u64 = 0x1_0000;
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;

/// A message of the protocol: request code, flags, length of the body as told, body as sent.
#[must_use]
pub fn message(request: u32, flags: u32, told: u32, body: &[u8]) -> Vec<u8> {
    [&request.to_le_bytes()[..], &flags.to_le_bytes(), &told.to_le_bytes(), body].concat()
}

/// Sends bytes with descriptors to a device's socket, on a connection of their own.
///
/// # Panics
/// If there is no connection.
#[must_use]
pub fn send_raw(socket: &Path, bytes: &[u8], fds: &[RawFd]) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("connects");
    // It may be closed before all is sent.
    let _ = stream.send_with_fds(&[bytes], fds);
    stream
}

/// Waits until the other side closes, and throws away what it says before.
///
/// # Panics
/// If it does not in time.
pub fn wait_for_close(mut stream: &UnixStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
            // A fuzzer has a clock, whose signal comes at any time.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("the connection is not closed: {error}"),
        }
    }
}

/// Open descriptors of a process.
///
/// # Panics
/// If it is gone.
#[must_use]
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// The most memory that a process ever had, KiB.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Waits until a process has no more descriptors open than it should.
///
/// # Panics
/// If it keeps more.
pub fn wait_for_open_files(pid: u32, most: usize) {
    let deadline = Instant::now() + PATIENCE;
    while open_files(pid) > most {
        assert!(Instant::now() < deadline, "{} descriptors are open, not {most}", open_files(pid));
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a backend of two queues has open when both are there and nobody is connected.
///
/// # Panics
/// If it does not serve.
#[must_use]
pub fn open_at_rest(socket: &Path, pid: u32) -> usize {
    let mut front_end = FrontEnd::connect(socket, Options { queues: 2, ..Options::default() });
    (0..2).for_each(|queue| assert_eq!(front_end.ask(queue, &BlkRequest::read(0, 512)).status, 0));
    let connected = open_files(pid);
    drop(front_end);
    // Its connection, its memory, kicks and calls.
    wait_for_open_files(pid, connected - 6);
    eventually("rest", || {
        let now = open_files(pid);
        thread::sleep(Duration::from_millis(20));
        (open_files(pid) == now).then_some(now)
    })
}

/// A connection past its handshake, with memory that the device does not know yet.
pub struct HostileGuest {
    /// The connection; every message asks for an acknowledgement.
    pub connection: Frontend,
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
    /// Its file.
    pub file: Arc<File>,
    /// Kicks the device.
    pub kick: EventFd,
    /// Rung by the device.
    pub call: EventFd,
    avail: u16,
}

impl HostileGuest {
    /// Connects and negotiates.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut connection = Frontend::from_stream(stream, 64);
        connection.set_owner().expect("owner");
        let features = connection.get_features().expect("features");
        let protocol = connection.get_protocol_features().expect("protocol features");
        let wanted = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
        connection.set_protocol_features(protocol & wanted).expect("protocol features");
        connection.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        connection.set_features(features & !crate::front_end::EVENT_IDX).expect("features");
        let fd = memfd_create("hostile", MemfdFlags::CLOEXEC).expect("a memfd");
        ftruncate(&fd, MEMORY).expect("a size");
        let file = Arc::new(File::from(fd));
        let range = (GuestAddress(0), MEMORY as usize, Some(FileOffset::from_arc(file.clone(), 0)));
        let memory = GuestMemoryMmap::from_ranges_with_files([range]).expect("mapped");
        let bell = || EventFd::new(EFD_NONBLOCK).expect("an eventfd");
        Self { connection, memory, file, kick: bell(), call: bell(), avail: 0 }
    }

    /// Where guest address 0 lies in this process.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn host(&self) -> u64 {
        self.memory.get_host_address(GuestAddress(0)).expect("in memory") as u64
    }

    /// The memory as it is.
    #[must_use]
    pub fn region(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: MEMORY,
            userspace_addr: self.host(),
            mmap_offset: 0,
            mmap_handle: self.file.as_raw_fd(),
        }
    }

    /// Where the ring lies if it lies well.
    #[must_use]
    pub fn ring(&self) -> VringConfigData {
        VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: self.host() + DESCRIPTORS,
            used_ring_addr: self.host() + USED,
            avail_ring_addr: self.host() + AVAIL,
            log_addr: None,
        }
    }

    /// Shares the memory and starts ring 0, all as it should be.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn start(&mut self) {
        self.connection.set_mem_table(&[self.region()]).expect("memory");
        self.connection.set_vring_num(0, SIZE).expect("a size");
        self.connection.set_vring_addr(0, &self.ring()).expect("addresses");
        self.connection.set_vring_base(0, 0).expect("a base");
        self.connection.set_vring_call(0, &self.call).expect("a call descriptor");
        self.connection.set_vring_kick(0, &self.kick).expect("a kick descriptor");
        self.connection.set_vring_enable(0, true).expect("enabled");
    }

    /// Writes a descriptor into a table.
    ///
    /// # Panics
    /// If the table is not in memory.
    pub fn descriptor(
        &self,
        table: u64,
        index: u16,
        address: u64,
        len: u32,
        flags: u16,
        next: u16,
    ) {
        let bytes = driver::descriptor(address, len, flags, next);
        self.write(table + 16 * u64::from(index), &bytes);
    }

    /// Writes into the guest's memory.
    ///
    /// # Panics
    /// If it is not in memory.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).expect("in memory");
    }

    /// Reads the guest's memory.
    ///
    /// # Panics
    /// If it is not in memory.
    #[must_use]
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).expect("in memory");
        bytes
    }

    /// Makes a head available and kicks.
    pub fn offer(&mut self, head: u16) {
        self.write(AVAIL + 4 + 2 * u64::from(self.avail % SIZE), &head.to_le_bytes());
        self.jump(1);
    }

    /// Moves the avail index by any number, and kicks.
    ///
    /// # Panics
    /// If the kick fails.
    pub fn jump(&mut self, by: u16) {
        self.avail = self.avail.wrapping_add(by);
        let index = GuestAddress(AVAIL + 2);
        self.memory.store(self.avail, index, Ordering::Release).expect("in memory");
        self.kick.write(1).expect("a kick");
    }

    /// The used index.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn used(&self) -> u16 {
        self.memory.load(GuestAddress(USED + 2), Ordering::Acquire).expect("in memory")
    }

    /// The newest used element: head and length.
    #[must_use]
    pub fn last_used(&self) -> (u32, u32) {
        let at = USED + 4 + 8 * u64::from(self.used().wrapping_sub(1) % SIZE);
        let word = |at| u32::from_le_bytes(self.read(at, 4).try_into().expect("four bytes"));
        (word(at), word(at + 4))
    }

    /// Whether everything offered so far comes back within `time`.
    #[must_use]
    pub fn comes_back_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.used() != self.avail {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_micros(100));
        }
        true
    }

    /// A read of the disk's first block on this ring, done as it should be; gives the block.
    ///
    /// # Panics
    /// If it is not answered well.
    pub fn good_read(&mut self) -> Vec<u8> {
        const AT: u64 = 0x8_0000;
        self.write(AT, &[0; 16 + 4096]);
        self.write(AT + 16 + 4096, &[0xff]);
        self.descriptor(DESCRIPTORS, 13, AT, 16, 1, 14);
        self.descriptor(DESCRIPTORS, 14, AT + 16, 4096, 1 | 2, 15);
        self.descriptor(DESCRIPTORS, 15, AT + 16 + 4096, 1, 2, 0);
        self.offer(13);
        assert!(self.comes_back_within(PATIENCE), "the ring is dead");
        assert_eq!(self.last_used(), (13, 4097));
        assert_eq!(self.read(AT + 16 + 4096, 1), [0]);
        self.read(AT + 16, 4096)
    }
}

/// Bytes to a key daemon, on a connection of their own.
///
/// # Panics
/// If there is no connection.
#[must_use]
pub fn say(socket: &Path, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("connects");
    // It may be closed before all is sent.
    let _ = stream.write_all(bytes);
    stream
}
