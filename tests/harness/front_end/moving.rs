//! What a front end does that moves its VM, or hears that the disk has changed.

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use vhost::{
    VhostBackend, VhostUserDirtyLogRegion,
    vhost_user::{
        VhostUserFrontend,
        message::{VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags},
    },
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::{FrontEnd, LOG_ALL};
use crate::process::PATIENCE;

impl FrontEnd {
    /// Has writes to its memory marked from now on, as before a copy of it elsewhere: one bit for 4096 bytes.
    ///
    /// # Panics
    /// If the device refuses.
    #[must_use]
    pub fn log(&mut self) -> File {
        let pages = self.memory.last_addr().0 / 4096 + 1;
        self.try_log(pages.div_ceil(8)).expect("a log")
    }

    /// The same, in a log of `len` bytes.
    ///
    /// # Errors
    /// The device refuses the log.
    ///
    /// # Panics
    /// If it refuses what comes after.
    pub fn try_log(&mut self, len: u64) -> vhost::Result<File> {
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        self.try_log_with(len, seals)
    }

    /// The same, in a log that is sealed so.
    ///
    /// # Errors
    /// The device refuses the log.
    ///
    /// # Panics
    /// If it refuses what comes after.
    pub fn try_log_with(&mut self, len: u64, seals: SealFlags) -> vhost::Result<File> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let log = memfd_create("log", flags).expect("a memfd");
        ftruncate(&log, len).expect("a size");
        fcntl_add_seals(&log, seals).expect("seals");
        let region = VhostUserDirtyLogRegion {
            mmap_size: len,
            mmap_offset: 0,
            mmap_handle: log.as_raw_fd(),
        };
        self.connection.set_log_base(0, Some(region))?;
        self.features |= LOG_ALL;
        self.connection.set_features(self.features).expect("logging");
        Ok(log.into())
    }

    /// A socket on which the device says what it was not asked.
    ///
    /// # Panics
    /// If the device refuses.
    #[must_use]
    pub fn back_channel(&mut self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        ours.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        self.connection.set_backend_request_fd(&theirs).expect("taken");
        ours
    }

    /// All of its memory as it is now, from address zero on.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn memory_as_it_is(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.memory.last_addr().0 as usize + 1];
        self.memory.read_slice(&mut bytes, GuestAddress(0)).expect("read");
        bytes
    }

    /// Switches the write cache as a guest does: 1 is on, 0 is off.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn switch_cache(&mut self, on: u8) {
        let flags = VhostUserConfigFlags::WRITABLE;
        self.connection.set_config(32, flags, &[on]).expect("the config space is written");
    }

    /// The device's own state goes through a pipe (SET_DEVICE_STATE_FD): out of it, or into it.
    ///
    /// # Errors
    /// The device refuses it, or says afterwards that it did not work.
    pub fn transfer(
        &mut self,
        direction: VhostTransferStateDirection,
        pipe: OwnedFd,
    ) -> vhost::Result<()> {
        let stopped = VhostTransferStatePhase::STOPPED;
        let _ = self.connection.set_device_state_fd(direction, stopped, pipe)?;
        self.connection.check_device_state()
    }
}
