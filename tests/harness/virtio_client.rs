//! A front end that others wrote: the crate `virtio-driver`, which libblkio drives vhost-user-blk devices with.
//!
//! It keeps its own rings, adds memory region by region (ADD_MEM_REG), kicks and sleeps as event indices say, and
//! knows five request types. Nothing of the workspace's own idea of a driver is in it.

use std::{fs::File, os::fd::AsRawFd, path::Path, sync::Arc};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, ftruncate, memfd_create},
};
use virtio_driver::{
    EventFd, VhostUser, VirtioBlkConfig, VirtioBlkFeatureFlags, VirtioBlkQueue, VirtioBlkReqBuf,
    VirtioBlkTransport, VirtioFeatureFlags,
};
use vmap::MapMut;

use crate::{
    driver::BlkRequest,
    process::PATIENCE,
    script::{Answer, Player},
};

/// Entries of each ring.
const RING_SIZE: u16 = 128;

/// Buffer space of one request.
const LANE: usize = 512 << 10;

/// How a client is to be.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Rings.
    pub queues: usize,
    /// Requests in flight, for each ring.
    pub depth: usize,
    /// Event indices are accepted.
    pub event_idx: bool,
}

/// A connected client.
pub struct VirtioClient {
    // Dropped before the transport, which owns the memory of the rings.
    queues: Vec<VirtioBlkQueue<'static, usize>>,
    transport: Box<VirtioBlkTransport>,
    memory: MapMut,
    options: ClientOptions,
}

impl VirtioClient {
    /// Connects, adds memory, starts the rings.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn connect(socket: &Path, options: ClientOptions) -> Self {
        let mut features = VirtioFeatureFlags::VERSION_1.bits() | wanted().bits();
        if options.event_idx {
            features |= VirtioFeatureFlags::RING_EVENT_IDX.bits();
        }
        let path = socket.to_str().expect("a path in UTF-8");
        let transport = VhostUser::<VirtioBlkConfig, VirtioBlkReqBuf>::new(path, features);
        let mut transport: Box<VirtioBlkTransport> = Box::new(transport.expect("connects"));
        let memory = share(&mut *transport, LANE * options.depth * options.queues);
        let mut queues = VirtioBlkQueue::setup_queues(&mut *transport, options.queues, RING_SIZE)
            .expect("queues start");
        queues.iter_mut().for_each(|queue| queue.set_used_notif_enabled(true));
        Self { queues, transport, memory, options }
    }

    /// The config space.
    ///
    /// # Panics
    /// If the device does not tell.
    #[must_use]
    pub fn config(&self) -> VirtioBlkConfig {
        self.transport.get_config().expect("config")
    }

    /// Feature bits in force.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.transport.get_features()
    }

    /// Where a request's buffer begins in the shared memory.
    fn lane(&self, queue: usize, number: usize) -> usize {
        assert!(number < self.options.depth, "more requests than there is room for");
        LANE * (queue * self.options.depth + number)
    }

    fn submit(&mut self, queue: usize, number: usize, request: &BlkRequest) {
        let at = request.sector << 9;
        assert_eq!(at >> 9, request.sector, "virtio-driver counts in bytes");
        let len = request.room.max(request.out.len());
        assert!(len <= LANE);
        let lane = self.lane(queue, number);
        let buffer = &mut self.memory[lane..lane + len];
        buffer[..request.out.len()].copy_from_slice(&request.out);
        let queue = &mut self.queues[queue];
        match request.kind {
            0 => queue.read(at, buffer, number),
            1 => queue.write(at, buffer, number),
            4 => queue.flush(number),
            11 | 13 => {
                let (start, sectors, unmap) = range(&request.out);
                let (start, len) = (start << 9, u64::from(sectors) << 9);
                match request.kind {
                    11 => queue.discard(start, len, number),
                    _ => queue.write_zeroes(start, len, unmap, number),
                }
            }
            kind => panic!("virtio-driver has no request of type {kind}"),
        }
        .expect("the request fits the ring");
    }

    fn kick(&mut self, queue: usize) {
        if self.queues[queue].avail_notif_needed() {
            self.transport.get_submission_notifier(queue).notify().expect("a kick");
        }
    }

    /// Takes what has come back on a queue: (number, status).
    fn completions(&mut self, queue: usize) -> Vec<(usize, u8)> {
        let status = |ret: i32| match ret {
            0 => 0,
            ret if ret == -rustix::io::Errno::IO.raw_os_error() => 1,
            ret if ret == -rustix::io::Errno::NOTSUP.raw_os_error() => 2,
            _ => 0xff,
        };
        self.queues[queue].completions().map(|done| (done.context, status(done.ret))).collect()
    }

    /// Sleeps until the device rings for one of the queues: a lost interrupt is a failure, not a delay.
    fn sleep(&self, queues: &[usize]) {
        let bells: Vec<Arc<EventFd>> =
            queues.iter().map(|&queue| self.transport.get_completion_fd(queue)).collect();
        let mut fds: Vec<PollFd<'_>> =
            bells.iter().map(|bell| PollFd::new(&**bell, PollFlags::IN)).collect();
        let time = Timespec::try_from(PATIENCE).expect("a short time");
        assert_ne!(poll(&mut fds, Some(&time)).expect("poll"), 0, "no interrupt in time");
        let rung: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (bell, _) in bells.iter().zip(rung).filter(|(_, rung)| *rung) {
            bell.read().expect("it rang");
        }
    }
}

impl Player for VirtioClient {
    fn play_round(&mut self, round: &[Vec<BlkRequest>]) -> Vec<Vec<Answer>> {
        for (queue, requests) in round.iter().enumerate() {
            for (number, request) in requests.iter().enumerate() {
                self.submit(queue, number, request);
            }
            self.kick(queue);
        }
        let mut statuses: Vec<Vec<Option<u8>>> =
            round.iter().map(|requests| vec![None; requests.len()]).collect();
        loop {
            for (queue, statuses) in statuses.iter_mut().enumerate() {
                for (number, status) in self.completions(queue) {
                    assert_eq!(statuses[number].replace(status), None, "answered twice");
                }
            }
            let waiting = |queue: &usize| statuses[*queue].contains(&None);
            let waiting: Vec<usize> = (0..round.len()).filter(waiting).collect();
            if waiting.is_empty() {
                break;
            }
            self.sleep(&waiting);
        }
        let answer = |queue: usize, number: usize, status: Option<u8>| {
            let (lane, room) = (self.lane(queue, number), round[queue][number].room);
            Answer { status: status.unwrap_or(0xff), data: self.memory[lane..lane + room].to_vec() }
        };
        let answers = |(queue, statuses): (usize, Vec<Option<u8>>)| {
            statuses
                .into_iter()
                .enumerate()
                .map(|(number, status)| answer(queue, number, status))
                .collect()
        };
        statuses.into_iter().enumerate().map(answers).collect()
    }
}

/// Device features that a driver of everything takes.
fn wanted() -> VirtioBlkFeatureFlags {
    VirtioBlkFeatureFlags::SEG_MAX
        | VirtioBlkFeatureFlags::BLK_SIZE
        | VirtioBlkFeatureFlags::TOPOLOGY
        | VirtioBlkFeatureFlags::FLUSH
        | VirtioBlkFeatureFlags::CONFIG_WCE
        | VirtioBlkFeatureFlags::MQ
        | VirtioBlkFeatureFlags::DISCARD
        | VirtioBlkFeatureFlags::WRITE_ZEROES
}

/// Shared memory for buffers, known to the device.
fn share(transport: &mut VirtioBlkTransport, len: usize) -> MapMut {
    let fd = memfd_create("buffers", MemfdFlags::CLOEXEC).expect("a memfd");
    ftruncate(&fd, len as u64).expect("a size");
    let file = File::from(fd);
    let memory = MapMut::with_options().map(&file).expect("mapped");
    let address = memory.as_ptr() as usize;
    let _ = transport.map_mem_region(address, len, file.as_raw_fd(), 0).expect("a region");
    memory
}

/// First sector, sectors and UNMAP of a range as the standard lays it out.
fn range(bytes: &[u8]) -> (u64, u32, bool) {
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    assert_eq!(bytes.len(), 16, "virtio-driver sends one range");
    (u64::from(word(0)) | u64::from(word(4)) << 32, word(8), word(12) & 1 == 1)
}
