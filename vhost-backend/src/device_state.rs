//! What of the device is neither in guest memory nor on the disk: whether the guest has switched the write cache off.
//! A front end that stores or moves the VM takes it out and puts it in through a pipe (vhost-user, "Migrating back-end
//! state"). A device that forgot it would answer writes before they are durable, to a guest that never flushes.

use std::fs::File;

use rustix::{
    fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat},
    io::{Errno, ReadWriteFlags, preadv2, write},
};
use thiserror::Error;

/// What it begins with, and its version.
const MARK: [u8; 8] = *b"pcdisk-1";

/// Bytes: the mark, and 1 if the cache is on, else 0.
const LEN: usize = MARK.len() + 1;

/// Why a state was not transferred.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// Reading from anything else could wait for ever.
    #[error("a device's state goes through a pipe, and this is none")]
    NoPipe,
    /// Not ours, cut off, or more than ours.
    #[error("this is not the state of such a device, or not all of it")]
    NotOurs,
    /// The system refused; a pipe that is full or empty included.
    #[error("transferring the device's state: {0}")]
    System(#[from] Errno),
}

/// A pipe that nobody waits for.
#[derive(Debug)]
pub struct StatePipe(File);

impl StatePipe {
    /// # Errors
    /// [`StateError::NoPipe`].
    pub fn new(file: File) -> Result<Self, StateError> {
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::Fifo {
            return Err(StateError::NoPipe);
        }
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK)?;
        Ok(Self(file))
    }

    /// Writes the state, and its end.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn save(self, writeback: bool) -> Result<(), StateError> {
        let state = [&MARK[..], &[u8::from(writeback)]].concat();
        match write(&self.0, &state)? {
            LEN => Ok(()),
            _ => Err(StateError::NotOurs),
        }
    }

    /// Reads the state, all of which has been written by now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load(self) -> Result<bool, StateError> {
        let mut state = [0; LEN + 1];
        // From where it stands, as read(2) would, which a process that serves may not call.
        let here = u64::MAX;
        let read = preadv2(
            &self.0,
            &mut [std::io::IoSliceMut::new(&mut state)],
            here,
            ReadWriteFlags::empty(),
        )?;
        match (read, state.strip_prefix(&MARK)) {
            (LEN, Some([writeback @ (0 | 1), _])) => Ok(*writeback == 1),
            _ => Err(StateError::NotOurs),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::pipe::pipe;

    use super::*;

    fn loaded(bytes: &[u8]) -> Result<bool, StateError> {
        let (from, to) = pipe().unwrap();
        File::from(to).write_all(bytes).unwrap();
        StatePipe::new(from.into())?.load()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        for writeback in [true, false] {
            let (from, to) = pipe().unwrap();
            StatePipe::new(to.into()).unwrap().save(writeback).unwrap();
            assert_eq!(StatePipe::new(from.into()).unwrap().load(), Ok(writeback));
        }
    }

    #[test]
    fn another_state_is_refused_and_nothing_waited_for() {
        for wrong in [&b""[..], b"pcdisk-1", b"pcdisk-2\0", b"pcdisk-1\x02", b"pcdisk-1\0\0"] {
            assert_eq!(loaded(wrong), Err(StateError::NotOurs), "{wrong:?}");
        }
        let (from, _open) = pipe().unwrap();
        assert_eq!(
            StatePipe::new(from.into()).unwrap().load(),
            Err(StateError::System(Errno::AGAIN))
        );
        let file = File::open("/proc/self/exe").unwrap();
        assert!(matches!(StatePipe::new(file), Err(StateError::NoPipe)));
    }
}
