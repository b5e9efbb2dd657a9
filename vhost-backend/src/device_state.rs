//! What of the device is neither in guest memory nor on the disk: whether the guest has switched the write cache off.
//! A front end that stores or moves the VM takes it out and puts it in through a channel of its choice (vhost-user,
//! "Migrating back-end state"). A device that forgot it would answer writes before they are durable, to a guest that
//! never flushes.
//!
//! The specification leaves open what the channel is, as long as all of the state goes through it in order and its end
//! can be seen. QEMU takes a pipe, Cloud Hypervisor one end of a pair of sockets; a file is one, too. A datagram socket
//! has no end, and what else there is (an eventfd, a device, a directory) no order.
//!
//! It leaves open, too, how much a state may be, and a front end writes all of it before it asks whether it was taken.
//! Who brings the long state of another device would wait for ever at a pipe that nobody reads. So what comes is read
//! as it comes, and as soon as it is more than ours the channel is closed: that ends the write.

use std::{
    fs::File,
    io::IoSliceMut,
    os::fd::{AsFd, BorrowedFd},
};

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
pub struct StateChannel {
    /// Until its end was seen, or that it brings no state of ours.
    file: Option<File>,
    /// Whoever writes to it may have to wait until it is read. A file takes all there is, and has its end, for who
    /// looks too soon, anywhere.
    is_file: bool,
    /// What has come, with room for more than there should be.
    state: [u8; LEN + 1],
    len: usize,
    /// Why no more can.
    fault: Option<Errno>,
}

impl StateChannel {
    /// # Errors
    /// [`StateError::NoChannel`].
    pub fn new(file: File) -> Result<Self, StateError> {
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        let is_channel = match kind {
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
        let is_file = kind == FileType::RegularFile;
        Ok(Self { file: Some(file), is_file, state: [0; LEN + 1], len: 0, fault: None })
    }

    /// Writes the state, and its end: who reads sees it as soon as this returns, as this end is closed then.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn save(self, writeback: bool) -> Result<(), StateError> {
        let state = [&MARK[..], &[u8::from(writeback)]].concat();
        let written = self.file.map_or(Err(Errno::BADF), |file| write(&file, &state));
        match written? {
            LEN => Ok(()),
            _ => Err(StateError::Cut),
        }
    }

    /// Reads the state, all of which has been written by now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load(mut self) -> Result<bool, StateError> {
        self.take_in();
        match (self.fault, self.len, self.state.strip_prefix(&MARK)) {
            (Some(errno), ..) => Err(errno.into()),
            // Whoever keeps the other end open has written all the same.
            (None, 0, _) if self.file.is_some() => Err(Errno::AGAIN.into()),
            (None, LEN, Some([writeback @ (0 | 1), _])) => Ok(*writeback == 1),
            _ => Err(StateError::NotOurs),
        }
    }

    /// Readable when there is something to [take in](Self::take_in), or its end.
    #[must_use]
    pub fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().filter(|_| !self.is_file).map(AsFd::as_fd)
    }

    /// Reads what is there: who writes it may do so in pieces. At its end, or when it is too much, the channel is
    /// closed.
    pub fn take_in(&mut self) {
        while let Some(file) = &self.file {
            let rest = &mut [IoSliceMut::new(&mut self.state[self.len..])];
            match preadv2(file, rest, HERE, ReadWriteFlags::empty()) {
                Err(Errno::AGAIN) => return,
                Ok(0) => self.file = None,
                Ok(read) => self.len += read,
                Err(errno) => (self.file, self.fault) = (None, Some(errno)),
            }
            if self.len == self.state.len() {
                self.file = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{ErrorKind, Read, Seek, Write},
        os::{
            fd::OwnedFd,
            unix::net::{UnixDatagram, UnixStream},
        },
    };

    use rustix::{
        event::{EventfdFlags, PollFd, PollFlags, eventfd},
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
    fn whoever_writes_too_much_hears_of_it_and_waits_for_nothing() {
        for (from, to) in channels() {
            let mut channel = StateChannel::new(from.into()).unwrap();
            let mut to = File::from(to);
            // It ends because the other end is closed, and not before.
            let writing = std::thread::spawn(move || {
                loop {
                    if let Err(error) = to.write_all(&[7; 4096]) {
                        return error.kind();
                    }
                }
            });
            while let Some(fd) = channel.waiting() {
                rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None)
                    .unwrap();
                channel.take_in();
            }
            let ended = writing.join().unwrap();
            assert!(matches!(ended, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{ended}");
            assert_eq!(channel.load(), Err(StateError::NotOurs));
        }
    }

    #[test]
    fn an_end_that_is_seen_is_waited_for_no_more() {
        for (from, to) in channels() {
            let mut channel = StateChannel::new(from.into()).unwrap();
            channel.take_in();
            assert!(channel.waiting().is_some(), "nothing has come yet");
            File::from(to).write_all(b"pcdisk-1\0").unwrap();
            channel.take_in();
            assert!(channel.waiting().is_none());
            assert_eq!(channel.load(), Ok(false));
        }
        let file = tempfile::tempfile().unwrap();
        assert!(StateChannel::new(file).unwrap().waiting().is_none(), "it is always readable");
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
