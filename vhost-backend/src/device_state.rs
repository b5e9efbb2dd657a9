//! What of the device is neither in guest memory nor on the disk: whether the guest has switched the write cache off.
//! A front end that stores or moves the VM takes it out and puts it in through a channel of its choice (vhost-user,
//! "Migrating back-end state"). A device that forgot it would answer writes before they are durable, to a guest that
//! never flushes.
//!
//! The specification leaves open what the channel is, as long as all of the state goes through it in order and its end
//! can be seen. QEMU takes a pipe, Cloud Hypervisor one end of a pair of sockets; a file is one, too. A datagram socket
//! has no end, and what else there is (an eventfd, a device, a directory) no order.

use std::{fs::File, io::IoSliceMut};

use rustix::{
    fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat},
    io::{Errno, ReadWriteFlags, preadv2, write},
    net::{SocketType, sockopt::socket_type},
};
use thiserror::Error;

/// What it begins with, and its version.
const MARK: [u8; 8] = *b"pcdisk-1";

/// Bytes: the mark, and 1 if the cache is on, else 0.
const LEN: usize = MARK.len() + 1;

/// From where the channel stands, as read(2) would, which a process that serves may not call.
const HERE: u64 = u64::MAX;

/// Why a state was not transferred.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// The state could not go through it in order, or its end could not be seen.
    #[error("a device's state goes through a pipe, a stream socket or a file, and this is none")]
    NoChannel,
    /// Not ours, cut off, or more than ours.
    #[error(
        "this is not the state of such a device, or not all of it: a VM is restored with the kind of backend that it was stored with"
    )]
    NotOurs,
    /// The channel did not take all of it.
    #[error("the channel took only a part of the device's state: is it full?")]
    Cut,
    /// The system refused; a channel that is full or empty included.
    #[error("transferring the device's state: {0}")]
    System(#[from] Errno),
}

/// A channel that nobody waits for.
#[derive(Debug)]
pub struct StateChannel(File);

impl StateChannel {
    /// # Errors
    /// [`StateError::NoChannel`].
    pub fn new(file: File) -> Result<Self, StateError> {
        let is_channel = match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::Fifo | FileType::RegularFile => true,
            FileType::Socket => {
                matches!(socket_type(&file)?, SocketType::STREAM | SocketType::SEQPACKET)
            }
            _ => false,
        };
        if !is_channel {
            return Err(StateError::NoChannel);
        }
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK)?;
        Ok(Self(file))
    }

    /// Writes the state, and its end: who reads sees it as soon as this returns, as this end is closed then.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn save(self, writeback: bool) -> Result<(), StateError> {
        let state = [&MARK[..], &[u8::from(writeback)]].concat();
        match write(&self.0, &state)? {
            LEN => Ok(()),
            _ => Err(StateError::Cut),
        }
    }

    /// Reads the state, all of which has been written by now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load(self) -> Result<bool, StateError> {
        let mut state = [0; LEN + 1];
        match (self.fill(&mut state)?, state.strip_prefix(&MARK)) {
            (LEN, Some([writeback @ (0 | 1), _])) => Ok(*writeback == 1),
            _ => Err(StateError::NotOurs),
        }
    }

    /// Reads until there is no more, or no room for more: who wrote it may have done so in pieces.
    fn fill(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let mut len = 0;
        while len < into.len() {
            let rest = &mut [IoSliceMut::new(&mut into[len..])];
            match preadv2(&self.0, rest, HERE, ReadWriteFlags::empty()) {
                Ok(0) => break,
                Ok(read) => len += read,
                // Whoever keeps the other end open has written all the same.
                Err(Errno::AGAIN) if len > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Seek, Write},
        os::{
            fd::OwnedFd,
            unix::net::{UnixDatagram, UnixStream},
        },
    };

    use rustix::{
        event::{EventfdFlags, eventfd},
        net::{AddressFamily, SocketFlags, socketpair},
        pipe::pipe,
    };

    use super::*;

    /// Each kind of channel that front ends take: what is read from, what is written to.
    fn channels() -> Vec<(OwnedFd, OwnedFd)> {
        let (from, to) = UnixStream::pair().unwrap();
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let records = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        vec![pipe().unwrap(), (from.into(), to.into()), records]
    }

    fn loaded(bytes: &[u8]) -> Vec<Result<bool, StateError>> {
        let load = |(from, to): (OwnedFd, OwnedFd)| {
            File::from(to).write_all(bytes).unwrap();
            StateChannel::new(from.into())?.load()
        };
        channels().into_iter().map(load).collect()
    }

    #[test]
    fn what_is_saved_is_loaded_through_any_kind_of_channel_and_its_end_is_seen() {
        for writeback in [true, false] {
            for (from, to) in channels() {
                StateChannel::new(to.into()).unwrap().save(writeback).unwrap();
                // As Cloud Hypervisor does: it would wait for an end that does not come.
                let mut state = Vec::new();
                File::from(from).read_to_end(&mut state).unwrap();
                assert_eq!(state.len(), LEN);
                assert_eq!(loaded(&state), [Ok(writeback), Ok(writeback), Ok(writeback)]);
            }
        }
    }

    #[test]
    fn a_file_is_a_channel() {
        let mut file = tempfile::tempfile().unwrap();
        StateChannel::new(file.try_clone().unwrap()).unwrap().save(false).unwrap();
        file.rewind().unwrap();
        assert_eq!(StateChannel::new(file).unwrap().load(), Ok(false));
    }

    #[test]
    fn a_state_that_comes_in_pieces_is_one_state() {
        for (from, to) in channels() {
            let mut to = File::from(to);
            to.write_all(b"pcdi").unwrap();
            to.write_all(b"sk-1\x01").unwrap();
            // The other end stays open.
            assert_eq!(StateChannel::new(from.into()).unwrap().load(), Ok(true));
        }
    }

    #[test]
    fn another_state_is_refused_and_nothing_waited_for() {
        for wrong in [&b""[..], b"pcdisk-1", b"pcdisk-2\0", b"pcdisk-1\x02", b"pcdisk-1\0\0"] {
            for refused in loaded(wrong) {
                assert_eq!(refused, Err(StateError::NotOurs), "{wrong:?}");
            }
        }
        for (from, _open) in channels() {
            let empty = StateChannel::new(from.into()).unwrap().load();
            assert_eq!(empty, Err(StateError::System(Errno::AGAIN)));
        }
    }

    #[test]
    fn what_cannot_carry_a_state_is_refused() {
        let (datagrams, _other) = UnixDatagram::pair().unwrap();
        let none: [OwnedFd; 4] = [
            datagrams.into(),
            eventfd(0, EventfdFlags::empty()).unwrap(),
            File::open("/dev/null").unwrap().into(),
            File::open("/").unwrap().into(),
        ];
        for file in none {
            assert_eq!(StateChannel::new(file.into()).unwrap_err(), StateError::NoChannel);
        }
        // The end that is for reading, and one whose reader is gone.
        let (from, to) = pipe().unwrap();
        let wrong_end = StateChannel::new(from.into()).unwrap().save(true);
        assert_eq!(wrong_end, Err(StateError::System(Errno::BADF)));
        assert_eq!(
            StateChannel::new(to.into()).unwrap().save(true),
            Err(StateError::System(Errno::PIPE))
        );
    }
}
