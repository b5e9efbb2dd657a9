//! What Cloud Hypervisor does to store a VM and to go on with it (`virtio-devices/src/vhost_user`): in this order, and
//! no more. What it does not do counts, too: after a snapshot that failed it starts no ring again.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    thread,
    time::Instant,
};

use vhost::{
    VhostBackend, VringConfigData,
    vhost_user::{
        VhostUserFrontend,
        message::{VhostTransferStateDirection, VhostTransferStatePhase, VhostUserHeaderFlag},
    },
};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{FrontEnd, RING_SIZE, open, supported};
use crate::process::{PATIENCE, eventually};

/// What Cloud Hypervisor stores of a device, beside the guest's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The backend's own.
    pub state: Vec<u8>,
    /// Where each ring stood.
    pub bases: Vec<u16>,
}

impl FrontEnd {
    /// vm.pause, with which every snapshot begins.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn pause(&mut self) {
        (0..self.rings.len()).for_each(|ring| self.enable(ring, false));
    }

    fn enable(&mut self, ring: usize, enabled: bool) {
        self.connection.set_vring_enable(ring, enabled).expect("switched");
    }

    /// vm.snapshot of a VM that is paused.
    ///
    /// # Errors
    /// The device does not give out its state.
    ///
    /// # Panics
    /// If it refuses something else, or gives no end.
    pub fn snapshot(&mut self) -> vhost::Result<Stored> {
        let (local, remote) = UnixStream::pair().expect("a pair of sockets");
        local.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        self.snapshot_through(local.into(), remote.into())
    }

    /// The same through another pair of descriptors: what is read from, and what the device gets.
    ///
    /// # Errors
    /// As [`FrontEnd::snapshot`].
    ///
    /// # Panics
    /// As [`FrontEnd::snapshot`].
    pub fn snapshot_through(&mut self, local: OwnedFd, remote: OwnedFd) -> vhost::Result<Stored> {
        let bases = (0..self.rings.len()).map(|ring| self.stop(ring)).collect();
        let (out, stopped) = (VhostTransferStateDirection::SAVE, VhostTransferStatePhase::STOPPED);
        let returned = self.connection.set_device_state_fd(out, stopped, remote)?;
        let mut state = Vec::new();
        let mut from = returned.unwrap_or_else(|| File::from(local));
        let _ = from.read_to_end(&mut state).expect("the state, and its end");
        self.connection.check_device_state()?;
        Ok(Stored { state, bases })
    }

    /// vm.resume of a VM of which a snapshot was made.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn resume(&mut self, stored: &Stored) {
        self.activate(&stored.bases);
    }

    /// vm.resume of a VM of which none was made: also of one whose snapshot failed.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn unpause(&mut self) {
        (0..self.rings.len()).for_each(|ring| self.enable(ring, true));
    }

    /// vm.restore, and vm.resume, in another process: its guest's memory is as it was stored. Keeps track in new
    /// memory, if it did before.
    ///
    /// # Panics
    /// If there is no device, or it refuses.
    pub fn restore(&mut self, socket: &Path, stored: &Stored) {
        let deadline = Instant::now() + PATIENCE;
        self.socket = socket.to_owned();
        loop {
            match open(&self.socket, self.rings.len() as u64) {
                Ok(connection) => break self.connection = connection,
                Err(error) => assert!(Instant::now() < deadline, "no device: {error}"),
            }
        }
        self.connection.set_owner().expect("owner");
        let offered = self.connection.get_features().expect("features");
        assert_eq!(offered & self.features, self.features, "the guest was not told of less");
        self.connection.set_protocol_features(supported()).expect("protocol features");
        self.connection.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        self.load_state(&stored.state).expect("the state is taken");
        if self.inflight.take().is_some() {
            self.connection.set_features(self.features).expect("features");
            self.track();
        }
        self.activate(&stored.bases);
    }

    /// Brings a state.
    ///
    /// # Errors
    /// The device does not take it.
    ///
    /// # Panics
    /// If the write does not end.
    pub fn load_state(&mut self, state: &[u8]) -> vhost::Result<()> {
        let (local, remote) = UnixStream::pair().expect("a pair of sockets");
        self.load_state_through(local.into(), remote.into(), state)
    }

    /// The same through another pair of descriptors: what is written to, and what the device gets.
    ///
    /// # Errors
    /// As [`FrontEnd::load_state`].
    ///
    /// # Panics
    /// If the write does not end.
    pub fn load_state_through(
        &mut self,
        local: OwnedFd,
        remote: OwnedFd,
        state: &[u8],
    ) -> vhost::Result<()> {
        let (into, stopped) = (VhostTransferStateDirection::LOAD, VhostTransferStatePhase::STOPPED);
        let returned = self.connection.set_device_state_fd(into, stopped, remote)?;
        let mut to = returned.unwrap_or_else(|| File::from(local));
        let state = state.to_vec();
        // The end is signalled by closing. A device that takes no more of it says why when it is asked.
        let writing = thread::spawn(move || drop(to.write_all(&state)));
        eventually("end of the write", || writing.is_finished().then_some(()));
        self.connection.check_device_state()
    }

    /// What makes the rings run, with a device that was just found or has run before.
    fn activate(&mut self, bases: &[u16]) {
        self.connection.set_features(self.features).expect("features");
        self.share();
        for ring in 0..self.rings.len() {
            self.connection.set_vring_num(ring, RING_SIZE).expect("a size");
        }
        self.give_inflight();
        for (number, &base) in bases.iter().enumerate() {
            let ring = &self.rings[number];
            let address = |guest: u64| {
                let found = self.memory.get_host_address(GuestAddress(guest));
                found.expect("in memory") as u64
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
            self.connection.set_vring_addr(number, &data).expect("addresses");
            self.connection.set_vring_base(number, base).expect("a base");
            self.connection.set_vring_call(number, &ring.call).expect("a call descriptor");
            self.connection.set_vring_kick(number, &ring.kick).expect("a kick descriptor");
        }
        self.unpause();
    }
}
