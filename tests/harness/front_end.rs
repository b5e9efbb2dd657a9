//! A vhost-user front end over the `vhost` crate: one guest memory of two regions, any number of rings, each with a
//! [`Driver`].

mod moving;
mod snapshot;

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::{
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData,
    vhost_user::{
        Frontend, VhostUserFrontend,
        message::{
            VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserInflight, VhostUserProtocolFeatures,
        },
    },
};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::{
    driver::{Area, BlkRequest, Completion, Cut, Driver},
    process::PATIENCE,
    tape::Tape,
};

pub use snapshot::Stored;

/// Entries of each ring.
pub const RING_SIZE: u16 = 128;

/// Virtio feature bits that a test may take or leave.
pub const EVENT_IDX: u64 = 1 << 29;
/// Writes to guest memory are to be marked in the log.
const LOG_ALL: u64 = 1 << 26;
/// The guest may switch the write cache.
pub const CONFIG_WCE: u64 = 1 << 11;

/// How a front end is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Rings.
    pub queues: usize,
    /// Requests in flight, for each ring.
    pub depth: u64,
    /// How requests are cut.
    pub cut: Cut,
    /// Feature bits that are not accepted though offered.
    pub without: u64,
    /// For cuts and tapes.
    pub seed: u64,
    /// Keeps track of what is with the device, and so can lose it and find another.
    pub tracked: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { queues: 1, depth: 8, cut: Cut::Plain, without: 0, seed: 0, tracked: false }
    }
}

/// One ring with its descriptors.
pub struct Ring {
    /// The guest's side.
    pub driver: Driver,
    /// Kicks the device.
    pub kick: EventFd,
    /// Is rung by the device.
    pub call: EventFd,
    area: Area,
}

/// Where a front end that lost its device tells the next one to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// At the used index, as QEMU.
    Used,
    /// At the avail index, as Cloud Hypervisor.
    Avail,
}

/// A connected front end.
pub struct FrontEnd {
    /// The connection.
    pub connection: Frontend,
    /// The rings.
    pub rings: Vec<Ring>,
    memory: Arc<GuestMemoryMmap>,
    features: u64,
    socket: PathBuf,
    inflight: Option<(VhostUserInflight, File)>,
}

impl FrontEnd {
    /// Connects, negotiates, shares memory and starts every ring.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn connect(socket: &Path, options: Options) -> Self {
        let mut connection = open(socket, options.queues as u64).expect("connects");
        let features = connection.get_features().expect("features") & !options.without & !LOG_ALL;
        let protocol = connection.get_protocol_features().expect("protocol features");
        negotiate(&mut connection, features, protocol & supported());
        let (memory, areas) = share_memory(&options);
        let rings = areas.iter().zip(0..).map(|(&area, number)| Ring {
            driver: Driver::new(
                memory.clone(),
                area,
                options.depth,
                options.cut,
                options.seed * 64 + number,
            ),
            kick: EventFd::new(EFD_NONBLOCK).expect("an eventfd"),
            call: EventFd::new(EFD_NONBLOCK).expect("an eventfd"),
            area,
        });
        let rings = rings.collect();
        let socket = socket.to_owned();
        let mut front_end = Self { connection, rings, memory, features, socket, inflight: None };
        front_end.share();
        if options.tracked {
            front_end.track();
        }
        (0..options.queues).for_each(|queue| front_end.start(queue, 0));
        front_end
    }

    /// The device was lost: connects to the next one on the same socket, tells it what it must know, and hands over the
    /// rings as they are, as front ends do under a running guest.
    ///
    /// # Panics
    /// If none comes in time, or it refuses.
    pub fn reconnect(&mut self, base: Base) {
        let deadline = Instant::now() + PATIENCE;
        let queues = self.rings.len();
        let features = loop {
            // One that is at its end may take a connection yet, and never answer.
            match open(&self.socket, queues as u64).map(|connection| self.connection = connection) {
                Ok(()) if !self.is_lost() => {
                    break self.connection.get_features().expect("features");
                }
                found => assert!(Instant::now() < deadline, "no device comes back: {found:?}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(features & self.features, self.features, "the guest was not told of less");
        // Neither asked anew nor told to the guest: what the first device offered.
        negotiate(&mut self.connection, self.features, supported());
        self.share();
        self.give_inflight();
        for queue in 0..queues {
            let driver = &self.rings[queue].driver;
            let base = match base {
                Base::Used => driver.used_index(),
                Base::Avail => driver.avail_index(),
            };
            self.start(queue, base);
        }
    }

    /// Whether the device has gone.
    pub fn is_lost(&self) -> bool {
        self.connection.get_features().is_err()
    }

    /// Asks for memory to keep track in, and gives it back.
    fn track(&mut self) {
        let asked = VhostUserInflight::new(0, 0, self.rings.len() as u16, RING_SIZE);
        let given = self.connection.get_inflight_fd(&asked).expect("in-flight memory");
        assert_eq!((given.0.num_queues, given.0.queue_size), (asked.num_queues, RING_SIZE));
        self.inflight = Some(given);
        self.give_inflight();
    }

    fn give_inflight(&mut self) {
        if let Some((about, file)) = &self.inflight {
            let given = self.connection.set_inflight_fd(about, file.as_raw_fd());
            given.expect("in-flight memory is taken");
        }
    }

    /// Cuts off the file of its memory. Nothing of it may be touched here afterwards.
    ///
    /// # Panics
    /// If the file cannot be cut.
    pub fn cut_memory(&self, len: u64) {
        let file = self.memory.iter().find_map(|region| region.file_offset());
        file.expect("a file").file().set_len(len).expect("cut");
    }

    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<GuestMemoryMmap> {
        &self.memory
    }

    /// Where a ring lies in it.
    #[must_use]
    pub fn area(&self, queue: usize) -> Area {
        self.rings[queue].area
    }

    /// Starts a stopped ring as a driver does that was loaded anew: all of it zeros, one request at a time.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn renew(&mut self, queue: usize) {
        let area = self.area(queue);
        self.rings[queue].driver = Driver::new(self.memory.clone(), area, 1, Cut::Plain, 0);
        self.start(queue, 0);
    }

    /// The memory in which it keeps track.
    #[must_use]
    pub fn inflight(&self) -> Option<&(VhostUserInflight, File)> {
        self.inflight.as_ref()
    }

    /// Feature bits in force.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Tells the device where the memory is (SET_MEM_TABLE).
    ///
    /// # Panics
    /// If it refuses.
    pub fn share(&mut self) {
        let regions: Vec<VhostUserMemoryRegionInfo> = self
            .memory
            .iter()
            .map(|region| {
                VhostUserMemoryRegionInfo::from_guest_region(region).expect("a file region")
            })
            .collect();
        self.connection.set_mem_table(&regions).expect("a memory table");
    }

    /// Starts a ring at `base`.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn start(&mut self, queue: usize, base: u16) {
        self.try_start(queue, base).expect("a ring is started");
    }

    /// The same.
    ///
    /// # Errors
    /// The device refuses the ring.
    ///
    /// # Panics
    /// If it refuses what it is told before.
    pub fn try_start(&mut self, queue: usize, base: u16) -> vhost::Result<()> {
        let ring = &self.rings[queue];
        let address = |guest: u64| {
            self.memory.get_host_address(GuestAddress(guest)).expect("in memory") as u64
        };
        let data = VringConfigData {
            queue_max_size: RING_SIZE,
            queue_size: RING_SIZE,
            flags: 0,
            desc_table_addr: address(ring.area.descriptors()),
            used_ring_addr: address(ring.area.used()),
            avail_ring_addr: address(ring.area.avail()),
            log_addr: None,
        };
        self.connection.set_vring_num(queue, RING_SIZE).expect("a size");
        self.connection.set_vring_addr(queue, &data).expect("addresses");
        self.connection.set_vring_base(queue, base).expect("a base");
        self.connection.set_vring_call(queue, &ring.call).expect("a call descriptor");
        self.connection.set_vring_kick(queue, &ring.kick)?;
        self.connection.set_vring_enable(queue, true)
    }

    /// Kicks a running ring by another descriptor from now on.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn change_kick(&mut self, queue: usize) {
        let ring = &mut self.rings[queue];
        ring.kick = EventFd::new(EFD_NONBLOCK).expect("an eventfd");
        self.connection.set_vring_kick(queue, &ring.kick).expect("a kick descriptor");
        self.connection.set_vring_enable(queue, true).expect("enabled");
    }

    /// Stops a ring; tells where it stood.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn stop(&mut self, queue: usize) -> u16 {
        let base = self.connection.get_vring_base(queue).expect("a base");
        u16::try_from(base).expect("16 bits")
    }

    /// Bytes of the config space.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn config(&mut self, offset: u32, len: usize) -> Vec<u8> {
        let space = vec![0; len];
        let flags = VhostUserConfigFlags::WRITABLE;
        let (_, bytes) =
            self.connection.get_config(offset, len as u32, flags, &space).expect("config");
        bytes
    }

    /// Asks one thing of a ring and waits for the answer.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn ask(&mut self, queue: usize, request: &BlkRequest) -> Completion {
        let ring = &mut self.rings[queue];
        ring.driver.submit(request);
        ring.kick.write(1).expect("a kick");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(completion) = ring.driver.completions().pop() {
                return completion;
            }
            assert!(
                Instant::now() < deadline,
                "no answer to {} at {}",
                request.kind,
                request.sector
            );
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Keeps every ring full from its tape until it is over.
    ///
    /// # Panics
    /// If an answer is wrong.
    pub fn load(&mut self, tapes: &mut [Tape], mut is_over: impl FnMut() -> bool) {
        while !is_over() {
            for (ring, tape) in self.rings.iter_mut().zip(tapes.iter_mut()) {
                step(ring, tape, u64::MAX);
            }
            thread::sleep(Duration::from_micros(20));
        }
    }

    /// Plays one tape on each ring, all at the same time, until each has judged `requests` more.
    ///
    /// # Panics
    /// If an answer is wrong or missing.
    pub fn play(&mut self, tapes: &mut [Tape], requests: u64) {
        self.play_from(0, tapes, requests);
    }

    /// The same on the rings from `first` on; the others are left alone.
    ///
    /// # Panics
    /// If an answer is wrong or missing.
    pub fn play_from(&mut self, first: usize, tapes: &mut [Tape], requests: u64) {
        let goals: Vec<u64> = tapes.iter().map(|tape| tape.judged + requests).collect();
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            let mut busy = false;
            let rings = self.rings[first..].iter_mut();
            for ((ring, tape), &goal) in rings.zip(tapes.iter_mut()).zip(&goals) {
                let before = tape.judged;
                step(ring, tape, goal);
                busy |= tape.judged < goal;
                if tape.judged > before {
                    deadline = Instant::now() + PATIENCE;
                }
            }
            if !busy {
                return;
            }
            assert!(Instant::now() < deadline, "requests are not answered");
            thread::sleep(Duration::from_micros(20));
        }
    }
}

/// Fills a ring from its tape and judges what came back.
fn step(ring: &mut Ring, tape: &mut Tape, goal: u64) {
    let mut submitted = false;
    while tape.judged + (ring.driver.in_flight() as u64) < goal && ring.driver.has_room() {
        let token = ring.driver.submit(&tape.request());
        tape.submitted(token);
        submitted = true;
    }
    if submitted {
        ring.kick.write(1).expect("a kick");
    }
    ring.driver.completions().iter().for_each(|completion| tape.judge(completion));
}

fn open(socket: &Path, queues: u64) -> std::io::Result<Frontend> {
    let stream = UnixStream::connect(socket)?;
    // A device that does not answer is a failure, not a wait for ever.
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Frontend::from_stream(stream, queues))
}

fn negotiate(connection: &mut Frontend, features: u64, protocol: VhostUserProtocolFeatures) {
    connection.set_owner().expect("owner");
    connection.set_protocol_features(protocol).expect("protocol features");
    connection.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    connection.set_features(features).expect("features");
}

fn supported() -> VhostUserProtocolFeatures {
    VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::INFLIGHT_SHMFD
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures::LOG_SHMFD
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::DEVICE_STATE
}

/// Two regions of one memfd, the seam between them in the middle of the first queue's buffers.
fn share_memory(options: &Options) -> (Arc<GuestMemoryMmap>, Vec<Area>) {
    let each = Area { start: 0, size: RING_SIZE }.len(options.depth).next_multiple_of(0x1_0000);
    let areas: Vec<Area> = (0..options.queues as u64)
        .map(|queue| Area { start: 0x1_0000 + queue * each, size: RING_SIZE })
        .collect();
    let len = 0x1_0000 + each * options.queues as u64;
    let fd = memfd_create("guest", MemfdFlags::CLOEXEC).expect("a memfd");
    ftruncate(&fd, len).expect("a size");
    let file = Arc::new(File::from(fd));
    let seam = 0x10_0000.min(len / 2);
    let ranges = [(0, seam), (seam, len - seam)].map(|(start, len)| {
        (GuestAddress(start), len as usize, Some(FileOffset::from_arc(file.clone(), start)))
    });
    let memory = GuestMemoryMmap::from_ranges_with_files(ranges).expect("mapped");
    (Arc::new(memory), areas)
}
