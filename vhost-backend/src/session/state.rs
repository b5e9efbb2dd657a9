//! The device's own state, which the front end takes out to store or move the VM, and brings to where that goes on.

use std::{fs::File, os::fd::BorrowedFd};

use vhost::vhost_user::Error;

use super::{Session, refused, ring::Aside};
use crate::{
    device_state::{StateChannel, StateError},
    log,
};

impl Session {
    /// Gives out the state of a device whose rings its front end has stopped for that. If the state is not to be had
    /// the rings are as they were before, running and not: a front end may believe that nothing has happened. (Cloud
    /// Hypervisor does not start them again.)
    pub(super) fn save_state(&mut self, file: File) -> Result<(), StateError> {
        let saved = StateChannel::new(file).and_then(|channel| channel.save(self.writeback));
        for index in 0..self.rings.len() {
            let ring = &mut self.rings[index];
            let (aside, base) = (ring.take_aside(), ring.base());
            let Some(Aside { kick, call }) = aside.filter(|_| saved.is_err()) else { continue };
            ring.call = call;
            match self.start(index as u32, kick) {
                Ok(()) => self.rings[index].has_gone_on(base),
                Err(error) => {
                    log::provoked("a ring does not go on", format_args!("ring {index}: {error}"));
                }
            }
        }
        saved
    }

    /// From now on the state of another device comes here; it is there as a whole when [`Session::load_state`] is
    /// asked for, not before.
    pub(super) fn await_state(&mut self, file: File) -> Result<(), StateError> {
        self.arriving = Some(StateChannel::new(file)?);
        Ok(())
    }

    /// Readable when some of it has come, if one is to come.
    pub fn arriving(&self) -> Option<BorrowedFd<'_>> {
        self.arriving.as_ref().and_then(StateChannel::waiting)
    }

    /// Takes in what has come.
    pub fn take_in_state(&mut self) {
        self.arriving.iter_mut().for_each(StateChannel::take_in);
    }

    /// Takes over the state that has arrived, if one was to.
    pub(super) fn load_state(&mut self) -> Result<(), StateError> {
        if let Some(channel) = self.arriving.take() {
            self.writeback = channel.load()?;
            self.apply_cache_mode();
            self.note_cache_mode();
        }
        Ok(())
    }
}

/// The `vhost` crate tells the front end that it was refused, and nobody else; the connection goes on.
pub(super) fn say_refused(error: StateError) -> Error {
    log::provoked("the device's state is not transferred", &error);
    refused(error)
}
