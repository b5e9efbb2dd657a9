//! A vhost-user front end over the `vhost` crate: one guest memory of two regions, any number of rings, each with a
//! [`Driver`].

use std::{
    fs::File,
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::{
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData,
    vhost_user::{
        Frontend, VhostUserFrontend,
        message::{VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures},
    },
};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::{
    driver::{Area, BlkRequest, Completion, Cut, Driver},
    process::PATIENCE,
    tape::Tape,
};

/// Entries of each ring.
pub const RING_SIZE: u16 = 128;

/// Virtio feature bits that a test may take or leave.
pub const EVENT_IDX: u64 = 1 << 29;
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
}

impl Default for Options {
    fn default() -> Self {
        Self { queues: 1, depth: 8, cut: Cut::Plain, without: 0, seed: 0 }
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

/// A connected front end.
pub struct FrontEnd {
    /// The connection.
    pub connection: Frontend,
    /// The rings.
    pub rings: Vec<Ring>,
    memory: Arc<GuestMemoryMmap>,
    features: u64,
}

impl FrontEnd {
    /// Connects, negotiates, shares memory and starts every ring.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn connect(socket: &Path, options: Options) -> Self {
        let stream = UnixStream::connect(socket).expect("connects");
        // A device that does not answer is a failure, not a wait for ever.
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut connection = Frontend::from_stream(stream, options.queues as u64);
        connection.set_owner().expect("owner");
        let features = connection.get_features().expect("features") & !options.without;
        let protocol = connection.get_protocol_features().expect("protocol features");
        connection.set_protocol_features(protocol & supported()).expect("protocol features");
        connection.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        connection.set_features(features).expect("features");
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
        let mut front_end = Self { connection, rings, memory, features };
        front_end.share();
        (0..options.queues).for_each(|queue| front_end.start(queue, 0));
        front_end
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

    /// Plays one tape on each ring, all at the same time, until each has judged `requests` more.
    ///
    /// # Panics
    /// If an answer is wrong or missing.
    pub fn play(&mut self, tapes: &mut [Tape], requests: u64) {
        let goals: Vec<u64> = tapes.iter().map(|tape| tape.judged + requests).collect();
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            let mut busy = false;
            for ((ring, tape), &goal) in self.rings.iter_mut().zip(tapes.iter_mut()).zip(&goals) {
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

fn supported() -> VhostUserProtocolFeatures {
    VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
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
