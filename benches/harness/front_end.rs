//! A vhost-user front end that asks of a device no more than every one offers: one memory table, no memory slots.

use std::{
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use vhost::{
    VhostBackend, VringConfigData,
    vhost_user::{
        Frontend, VhostUserFrontend,
        message::{VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures},
    },
};
use vmm_sys_util::{
    epoll::{ControlOperation, Epoll, EpollEvent, EventSet},
    eventfd::{EFD_NONBLOCK, EventFd},
};

use crate::{
    memory::Memory,
    ring::{Ring, Shape},
};

/// How long a device may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(30);

const FLUSH: u64 = 1 << 9;
const MQ: u64 = 1 << 12;
const INDIRECT: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const PROTOCOL_FEATURES: u64 = 1 << 30;
const VERSION_1: u64 = 1 << 32;

/// How a front end is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Rings.
    pub queues: u16,
    /// Requests at one time, for each ring.
    pub depth: u16,
    /// Bytes of each request's data.
    pub block: u32,
    /// Entries of a ring at least; more if the depth wants it.
    pub entries: u16,
    /// One descriptor of the ring for each request, which names a table of three.
    pub indirect: bool,
    /// Event indices are accepted.
    pub event_idx: bool,
}

impl Default for Options {
    fn default() -> Self {
        let (indirect, event_idx) = (false, true);
        Self { queues: 1, depth: 32, block: 4096, entries: 256, indirect, event_idx }
    }
}

/// One ring with its bells.
pub struct Queue {
    /// The ring.
    pub ring: Ring,
    kick: EventFd,
    call: EventFd,
}

impl Queue {
    /// Rings the device's bell.
    ///
    /// # Errors
    /// The bell is stuck: nobody has heard the last 2^64 rings.
    pub fn kick(&self) -> Result<()> {
        self.kick.write(1).context("a kick")
    }
}

/// A connected front end. The device sees it go when this is dropped.
pub struct FrontEnd {
    /// The rings.
    pub queues: Vec<Queue>,
    /// The memory, which every ring shares.
    pub memory: Arc<Memory>,
    /// Bytes of the disk.
    pub capacity: u64,
    /// Virtio feature bits in force.
    pub features: u64,
    connection: Frontend,
    /// All that the device may ring.
    bells: Epoll,
}

impl FrontEnd {
    /// Connects and starts every ring. The write cache is on: FLUSH is accepted, and the switch left alone.
    ///
    /// # Errors
    /// Nobody listens, or the device refuses.
    pub fn connect(socket: &Path, options: &Options) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Frontend::from_stream(stream, u64::from(options.queues));
        connection.set_owner().context("SET_OWNER")?;
        let (features, offered) = negotiate(&mut connection, options)?;
        if offered.contains(VhostUserProtocolFeatures::MQ) {
            let most = connection.get_queue_num().context("GET_QUEUE_NUM")?;
            ensure!(u64::from(options.queues) <= most, "the device has only {most} queues");
        }
        let space = [0; 8];
        let (_, capacity) = connection
            .get_config(0, 8, VhostUserConfigFlags::WRITABLE, &space)
            .context("GET_CONFIG")?;
        let capacity = capacity.get(..8).and_then(|bytes| bytes.try_into().ok());
        let capacity = 512 * u64::from_le_bytes(capacity.context("a short config space")?);

        let per_request = if options.depth > 85 { options.depth * 3 } else { 0 };
        let entries = options.entries.max(per_request.next_power_of_two());
        let shape = Shape { entries, depth: options.depth, block: options.block };
        let each = shape.len();
        let memory = Arc::new(Memory::new(each * usize::from(options.queues))?);
        connection.set_mem_table(&[memory.region()]).context("SET_MEM_TABLE")?;
        let has = |bit: u64| features & bit != 0;
        let queues = (0..usize::from(options.queues)).map(|number| {
            let (indirect, event_idx) = (has(INDIRECT), has(EVENT_IDX));
            Ok(Queue {
                ring: Ring::new(memory.clone(), number * each, shape, indirect, event_idx),
                kick: EventFd::new(EFD_NONBLOCK)?,
                call: EventFd::new(EFD_NONBLOCK)?,
            })
        });
        let queues = queues.collect::<Result<Vec<Queue>>>()?;
        let bells = Epoll::new()?;
        let mut front_end = Self { queues, memory, capacity, features, connection, bells };
        (0..front_end.queues.len()).try_for_each(|number| front_end.start(number))?;
        Ok(front_end)
    }

    fn start(&mut self, number: usize) -> Result<()> {
        let (queue, connection) = (&self.queues[number], &mut self.connection);
        let parts = queue.ring.parts();
        let [descriptors, avail, used] = parts.map(|at| self.memory.address(at));
        let entries = queue.ring.entries();
        let data = VringConfigData {
            queue_max_size: entries,
            queue_size: entries,
            flags: 0,
            desc_table_addr: descriptors,
            used_ring_addr: used,
            avail_ring_addr: avail,
            log_addr: None,
        };
        let event = EpollEvent::new(EventSet::IN, number as u64);
        self.bells.ctl(ControlOperation::Add, queue.call.as_raw_fd(), event)?;
        connection.set_vring_num(number, entries).context("SET_VRING_NUM")?;
        connection.set_vring_addr(number, &data).context("SET_VRING_ADDR")?;
        connection.set_vring_base(number, 0).context("SET_VRING_BASE")?;
        connection.set_vring_call(number, &queue.call).context("SET_VRING_CALL")?;
        connection.set_vring_kick(number, &queue.kick).context("SET_VRING_KICK")?;
        connection.set_vring_enable(number, true).context("SET_VRING_ENABLE")
    }

    /// Sleeps until the device rings for any queue. Each ring with requests under way must have asked for it.
    ///
    /// # Errors
    /// It does not ring in time.
    pub fn sleep(&self) -> Result<()> {
        let mut events = [EpollEvent::default(); 16];
        let rung = self.bells.wait(PATIENCE.as_millis() as i32, &mut events)?;
        ensure!(rung > 0, "no interrupt within {PATIENCE:?}");
        for event in &events[..rung] {
            self.queues[event.data() as usize].call.read().context("a bell that rang")?;
        }
        Ok(())
    }
}

/// Takes the features that are wanted and on offer: virtio's, and the protocol's on offer.
fn negotiate(
    connection: &mut Frontend,
    options: &Options,
) -> Result<(u64, VhostUserProtocolFeatures)> {
    let offered = connection.get_features().context("GET_FEATURES")?;
    ensure!(offered & VERSION_1 != 0, "the device is older than virtio 1.0");
    ensure!(offered & PROTOCOL_FEATURES != 0, "the device has no config space");
    let mut wanted = VERSION_1 | PROTOCOL_FEATURES | FLUSH | MQ;
    wanted |= if options.indirect { INDIRECT } else { 0 };
    wanted |= if options.event_idx { EVENT_IDX } else { 0 };
    let features = offered & wanted;
    let supported = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK;
    let protocol = connection.get_protocol_features().context("GET_PROTOCOL_FEATURES")?;
    let protocol = protocol & supported;
    connection.set_protocol_features(protocol).context("SET_PROTOCOL_FEATURES")?;
    if protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
        connection.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }
    connection.set_features(features).context("SET_FEATURES")?;
    Ok((features, protocol))
}
