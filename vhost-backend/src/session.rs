//! What the front end says over its socket, turned into commands for the queues.
//!
//! Messages are read and checked by the `vhost` crate; the state they build up is here. `vhost-user-backend` is
//! not used: it ties queues to epoll, cannot hand over in-flight requests, and cannot announce a changed config
//! space. No message waits for a key or the disk, but the stop of a ring, which waits for what is at the disk: a
//! front end may ask from a vCPU thread.

mod ring;
mod state;

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::{Arc, atomic::Ordering, mpsc},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vhost::{
    VhostUserMemoryRegionBase,
    vhost_user::{
        Error, GpuBackend, Result, VhostUserBackendReqHandlerMut,
        message::{
            VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags,
            VhostUserInflight, VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures,
            VhostUserShMemConfig, VhostUserSharedMsg, VhostUserSingleMemoryRegion,
            VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
        },
    },
};

use crate::{
    device::Device,
    device_state::StateChannel,
    dirty::Log,
    inflight::{Geometry, Region},
    lease::Duty,
    limits::{MEMORY_REGIONS_MAX, STOP_TIME},
    log,
    mailbox::Slot,
    memory::{Memory, cut},
    patience::Patience,
    queue::{
        Shared,
        command::{Command, RingSetup},
        handle::QueueHandle,
    },
    server::back_channel::BackChannel,
    vring::{Addresses, Vring},
};
use ring::{Ring, stop_all, unanswered};
use state::say_refused;

/// One front end's session.
#[derive(Debug)]
pub struct Session {
    device: Device,
    shared: Arc<Shared>,
    queue_size: u16,
    /// Where it is said whether the VM runs here.
    keeper: Slot<Duty>,
    accepted: u64,
    writeback: bool,
    memory: Memory,
    inflight: Option<Region>,
    log: Option<Log>,
    /// The state of a device that the front end brings here.
    arriving: Option<StateChannel>,
    /// The front end's ear, if it has one.
    back_channel: Option<BackChannel>,
    rings: Vec<Ring>,
}

/// What the device does not do, and does not offer.
const NOT_OFFERED: Error = Error::InvalidOperation("a message of a feature that was not offered");

impl Session {
    /// A session over `queues`.
    #[must_use]
    pub fn new(
        device: Device,
        shared: Arc<Shared>,
        queues: &[QueueHandle],
        queue_size: u16,
        keeper: Slot<Duty>,
    ) -> Self {
        Self {
            device,
            shared,
            queue_size,
            keeper,
            accepted: 0,
            writeback: true,
            memory: Memory::default(),
            inflight: None,
            log: None,
            arriving: None,
            back_channel: None,
            rings: queues.iter().cloned().map(Ring::new).collect(),
        }
    }

    /// The connection is gone: every ring stops, and nothing of the guest's stays mapped but for a ring that does not
    /// stop. Such a one keeps its own map until it does, and is waited for again before it is started.
    pub fn end(&mut self) {
        match self.stop_all() {
            Ok(()) => cut::forget(),
            Err(error) => log::provoked("stopping a ring", error),
        }
        self.rings.iter_mut().for_each(Ring::forget);
        if self.inflight.is_some() && self.memory.is_empty() {
            log::provoked(
                "the front end left when it was to hand over the guest's memory",
                "if its VM hangs, that memory is not shared: its memory backend needs share=on",
            );
        }
        self.memory = Memory::default();
        (self.inflight, self.log) = (None, None);
        (self.arriving, self.back_channel) = (None, None);
        self.accepted = 0;
        self.writeback = true;
        self.apply_cache_mode();
    }

    /// The front end will hear here what it did not ask.
    pub fn set_back_channel(&mut self, channel: BackChannel) {
        self.back_channel = Some(channel);
    }

    /// The disk has `capacity` bytes now: tells the front end, which tells the guest. One without a back channel
    /// (Cloud Hypervisor) has read the config space when its VM was started, and does not read it again.
    pub fn grow(&mut self, capacity: u64) {
        self.device.grow(capacity);
        match &self.back_channel {
            Some(channel) => {
                if let Err(error) = channel.config_changed() {
                    log::line(format_args!(
                        "telling the front end of the disk's new size: {error}"
                    ));
                }
            }
            None if self.rings.iter().any(Ring::is_running) => log::line(
                "this front end cannot be told of the disk's new size (Cloud Hypervisor cannot): its guest sees it when the VM is started anew",
            ),
            None => {}
        }
    }

    fn ring(&mut self, index: u32) -> Result<&mut Ring> {
        self.rings.get_mut(index as usize).ok_or(Error::InvalidParam)
    }

    fn stop_all(&mut self) -> Result<()> {
        stop_all(&mut self.rings, STOP_TIME)
    }

    fn apply_cache_mode(&self) {
        let through = Device::write_through(self.accepted, self.writeback);
        self.shared.write_through.store(through, Ordering::Relaxed);
    }

    /// For the process that takes over, should this one be killed.
    fn note_cache_mode(&self) {
        if let Some(region) = &self.inflight {
            region.note_cache(self.writeback);
        }
    }

    fn inflight_geometry(&self, asked: &VhostUserInflight) -> Result<Geometry> {
        let can = (self.rings.len() as u16, self.queue_size);
        Geometry::new((asked.num_queues, asked.queue_size), can).map_err(refused)
    }

    /// Gives running rings the new map, and returns when none of them uses the old one.
    fn spread_memory(&self) -> Result<()> {
        self.spread(|reply| Command::SetMemory(self.memory.map(), reply))
    }

    /// Where writes to guest memory are to be marked, if the front end wants that now.
    fn log_in_use(&self) -> Option<Log> {
        self.log.clone().filter(|_| Device::logs(self.accepted))
    }

    fn spread_log(&self) -> Result<()> {
        self.spread(|reply| Command::SetLog(self.log_in_use(), reply))
    }

    /// Tells running rings something, and returns when all have it.
    fn spread(&self, command: impl Fn(mpsc::Sender<()>) -> Command) -> Result<()> {
        let (reply, done) = mpsc::channel();
        let running: Vec<&Ring> = self.rings.iter().filter(|ring| ring.is_running()).collect();
        for ring in &running {
            ring.tell(command(reply.clone()));
        }
        let mut patience = Patience::of(STOP_TIME);
        running.iter().try_for_each(|_| patience.answer(&done).map_err(unanswered))
    }

    /// A VM whose memory was being copied has stopped: it goes on elsewhere. Should it go on here, a ring is started
    /// again.
    fn leave_if_it_moves(&self) {
        if self.log_in_use().is_some() && self.rings.iter().all(Ring::is_stopped) {
            self.keeper.send(Duty::LetGo);
        }
    }

    fn start(&mut self, index: u32, kick: OwnedFd) -> Result<()> {
        let event_idx = Device::event_idx(self.accepted);
        let track =
            self.inflight.as_ref().and_then(|region| region.track(u16::try_from(index).ok()?));
        let (memory, log) = (self.memory.map(), self.log_in_use());
        let [descriptors, avail, used] = self.ring(index)?.addresses;
        let translate = |address| self.memory.translate(address).map_err(refused);
        let addresses = Addresses {
            descriptors: translate(descriptors)?,
            avail: translate(avail)?,
            used: translate(used)?,
        };
        let ring = self.ring(index)?;
        // A front end may hand over another kick descriptor without a stop before. What waits goes on with it.
        ring.stop()?;
        let mut vring = Vring::new(&memory, addresses, ring.size, ring.base(), event_idx, track)
            .map_err(refused)?;
        vring.set_log(log);
        let call = ring.call.as_ref().map(OwnedFd::try_clone).transpose().map_err(refused)?;
        let kept = kick.try_clone().map_err(refused)?;
        ring.start(RingSetup { memory, vring, kick, call }, kept)?;
        self.keeper.send(Duty::HaveDisk);
        Ok(())
    }
}

/// Kicks and calls go by eventfds. Anything else is refused here: a queue that writes to a full pipe would hang in it.
/// So it would on an eventfd whose counter is full, unless it does not block; every front end's does not by itself.
fn eventfd(file: File) -> Result<OwnedFd> {
    let link =
        std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(refused)?;
    match link.to_str() {
        Some("anon_inode:[eventfd]") => {
            let flags = fcntl_getfl(&file).map_err(refused)?;
            fcntl_setfl(&file, flags | OFlags::NONBLOCK).map_err(refused)?;
            Ok(file.into())
        }
        _ => Err(Error::InvalidOperation("a kick or call descriptor that is no eventfd")),
    }
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::ReqHandlerError(io::Error::other(error))
}

impl VhostUserBackendReqHandlerMut for Session {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        self.stop_all()?;
        self.rings.iter_mut().for_each(|ring| ring.enable(false));
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.device.features())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !self.device.features() != 0 {
            return Err(Error::FeatureMismatch);
        }
        let logged = self.log_in_use().is_some();
        self.accepted = features;
        self.apply_cache_mode();
        if logged != self.log_in_use().is_some() {
            self.spread_log()?;
        }
        // Without protocol features there is no SET_VRING_ENABLE: rings are enabled from the start.
        if features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
            self.rings.iter_mut().for_each(|ring| ring.enable(true));
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        table: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        self.memory.set(table, files).map_err(refused)?;
        self.spread_memory().map(|()| None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num)
            .ok()
            .filter(|size| size.is_power_of_two() && *size <= self.queue_size);
        self.ring(index)?.size = size.ok_or_else(|| refused(crate::vring::RingError::Size(num)))?;
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        self.ring(index)?.addresses = [descriptor, available, used];
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.ring(index)?.set_base(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let ring = self.ring(index)?;
        ring.stop()?;
        ring.set_aside();
        let base = u32::from(ring.base());
        self.leave_if_it_moves();
        Ok(VhostUserVringState::new(index, base))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let kick =
            fd.ok_or(Error::InvalidOperation("a ring without a kick descriptor is not served"))?;
        self.start(u32::from(index), eventfd(kick)?)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let call = fd.map(eventfd).transpose()?;
        let ring = self.ring(u32::from(index))?;
        ring.call = call;
        if ring.is_running() {
            let call = ring.call.as_ref().map(OwnedFd::try_clone).transpose().map_err(refused)?;
            ring.tell(Command::SetCall(call));
        }
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        self.ring(u32::from(index)).map(|_| ())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(self.device.protocol_features())
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        match features & !self.device.protocol_features().bits() {
            0 => Ok(()),
            _ => Err(Error::FeatureMismatch),
        }
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.rings.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.ring(index)?.enable(enable);
        Ok(())
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _flags: VhostUserConfigFlags,
    ) -> Result<Vec<u8>> {
        Ok(self.device.config(offset, size, self.writeback))
    }

    fn set_config(&mut self, offset: u32, buf: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        // A guest may write anything anywhere here; what is no cache switch has no effect, and ends nothing.
        if let Some(writeback) = Device::written_writeback(offset, buf) {
            self.writeback = writeback;
            self.apply_cache_mode();
            self.note_cache_mode();
        }
        Ok(())
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MEMORY_REGIONS_MAX as u64)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        fd: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        self.memory.add(region, fd).map_err(refused)?;
        self.spread_memory().map(|()| None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        self.memory.remove(region).map_err(refused)?;
        self.spread_memory()
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        Err(NOT_OFFERED)
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        Err(NOT_OFFERED)
    }

    fn get_inflight_fd(&mut self, asked: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        let geometry = self.inflight_geometry(asked)?;
        let file = Region::file(geometry).map_err(refused)?;
        // The counts go back as they came: Cloud Hypervisor takes a zero there for an error.
        let len = geometry.region_len() as u64;
        Ok((VhostUserInflight::new(len, 0, asked.num_queues, asked.queue_size), file))
    }

    fn set_inflight_fd(&mut self, given: &VhostUserInflight, file: File) -> Result<()> {
        let geometry = self.inflight_geometry(given)?;
        let place = (given.mmap_offset, given.mmap_size);
        let region = Region::map(file, place, geometry).map_err(refused)?;
        self.writeback &= !region.cache_is_off();
        self.inflight = Some(region);
        self.apply_cache_mode();
        self.note_cache_mode();
        Ok(())
    }

    fn set_device_state_fd(
        &mut self,
        direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        file: File,
    ) -> Result<Option<File>> {
        match direction {
            VhostTransferStateDirection::SAVE => self.save_state(file),
            VhostTransferStateDirection::LOAD => self.await_state(file),
        }
        .map_err(say_refused)?;
        Ok(None)
    }

    fn check_device_state(&mut self) -> Result<()> {
        self.load_state().map_err(say_refused)
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Err(NOT_OFFERED)
    }

    fn set_log_base(&mut self, given: &VhostUserLog, file: File) -> Result<()> {
        let place = (given.mmap_offset, given.mmap_size);
        self.log = Some(Log::map(file, place, &self.memory.map()).map_err(refused)?);
        self.spread_log()
    }
}
