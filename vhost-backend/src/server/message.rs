//! Waiting for a message as a whole.
//!
//! The `vhost` crate takes a time-out of the socket for a reason to try again, without an end: a front end that stops
//! inside a message, or never reads what it asked for, would hold the control thread, and with it the end of the
//! process. So nothing is read before the message is there and its answer has room.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionread},
    net::{RecvFlags, recv},
};
use vhost::vhost_user::message::MAX_MSG_SIZE;

use super::{Others, Watch, Woken, wait_for};
use crate::limits::MESSAGE_TIME;

/// Bytes of a message's header.
pub(super) const HEADER_LEN: usize = 12;

/// How often an unfinished message is looked at.
const PAUSE: Duration = Duration::from_millis(1);

/// A message's header: request, flags, length of the body; 32 bits each, in the host's order.
pub(super) struct Header {
    pub(super) request: u32,
    pub(super) body_len: usize,
}

impl Header {
    pub(super) fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        let [r0, r1, r2, r3, _, _, _, _, l0, l1, l2, l3] = bytes;
        Self {
            request: u32::from_ne_bytes([r0, r1, r2, r3]),
            body_len: u32::from_ne_bytes([l0, l1, l2, l3]) as usize,
        }
    }
}

/// What waiting ended with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A message that can be handled without a wait, or the end of the connection.
    Message,
    /// The disk has another size.
    Size,
    /// The process is to end.
    Stop,
    /// Some of a device's state has come.
    State,
    /// Somebody else wants to be served.
    Knock,
    /// Part of a message, and no more of it in time.
    Unfinished,
}

/// Waits for the next message: for ever until it begins, then for a limited time.
pub(super) fn wait_for_message(
    stream: &UnixStream,
    others: &Others<'_>,
    watch: &Watch,
) -> io::Result<Heard> {
    match wait_for(stream.as_fd(), others, watch)? {
        Woken::Stop => return Ok(Heard::Stop),
        Woken::Size => return Ok(Heard::Size),
        Woken::State => return Ok(Heard::State),
        Woken::Knock => return Ok(Heard::Knock),
        Woken::Ready => {}
    }
    let late = Instant::now() + MESSAGE_TIME;
    loop {
        let pause = Timespec::try_from(PAUSE).map_err(io::Error::other)?;
        let nothing = Timespec::default();
        let state = poll_one(stream, PollFlags::OUT | PollFlags::RDHUP, &nothing)?;
        // A socket takes more when most of its buffer is free: many times the longest answer.
        let gone = state.intersects(PollFlags::HUP | PollFlags::ERR);
        // Who only writes no more may still not read: its last messages wait for room, too.
        let is_last = state.contains(PollFlags::RDHUP);
        if gone || (state.contains(PollFlags::OUT) && (is_last || is_whole(stream)?)) {
            return Ok(Heard::Message);
        }
        if Instant::now() > late {
            return Ok(Heard::Unfinished);
        }
        if !poll_one(&watch.stop, PollFlags::IN, &pause)?.is_empty() {
            return Ok(Heard::Stop);
        }
    }
}

fn poll_one(fd: &impl AsFd, flags: PollFlags, time: &Timespec) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(fd, flags)];
    match poll(&mut fds, Some(time)) {
        Ok(_) => Ok(fds[0].revents()),
        Err(Errno::INTR) => Ok(PollFlags::empty()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the next message is there with its body. One of a forbidden length is refused by its header alone.
fn is_whole(stream: &UnixStream) -> io::Result<bool> {
    let there = ioctl_fionread(stream)?;
    let mut header = [0; HEADER_LEN];
    let (seen, _) = match recv(stream, &mut header, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
        seen => seen?,
    };
    if seen < HEADER_LEN {
        return Ok(false);
    }
    let body = Header::from_bytes(header).body_len;
    Ok(body > MAX_MSG_SIZE || there >= (HEADER_LEN + body) as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::mailbox::{Slot, mailbox};

    fn message(told: u32, body: &[u8]) -> Vec<u8> {
        [&1u32.to_ne_bytes()[..], &1u32.to_ne_bytes(), &told.to_ne_bytes(), body].concat()
    }

    /// What a server watches, and the other ends of it: it is told to stop when the first goes.
    fn watch() -> (Watch, UnixStream, Slot<u64>) {
        let (stop, ring) = UnixStream::pair().unwrap();
        let (grown, sizes) = mailbox().unwrap();
        (Watch { stop: stop.into(), sizes }, ring, grown)
    }

    fn hear(bytes: &[u8]) -> Heard {
        let (watch, _stop, _grown) = watch();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        wait_for_message(&ours, &Others::default(), &watch).unwrap()
    }

    #[test]
    fn a_whole_message_is_heard_at_once_and_a_part_is_not() {
        assert_eq!(hear(&message(0, &[])), Heard::Message);
        assert_eq!(hear(&message(8, &[1; 8])), Heard::Message);
        assert_eq!(hear(&message(u32::MAX, &[])), Heard::Message, "refused by its header");
        assert_eq!(hear(&message(8, &[1; 7])), Heard::Unfinished);
        assert_eq!(hear(&[1, 0, 0]), Heard::Unfinished);
    }

    #[test]
    fn a_stop_is_heard_inside_a_message() {
        let (watch, ring, _grown) = watch();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[1, 0]).unwrap();
        let began = Instant::now();
        let ringing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(ring);
        });
        assert_eq!(wait_for_message(&ours, &Others::default(), &watch).unwrap(), Heard::Stop);
        assert!(began.elapsed() < MESSAGE_TIME);
        ringing.join().unwrap();
    }

    #[test]
    fn a_disk_that_grows_is_heard_of() {
        let (watch, _stop, grown) = watch();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        grown.send(5);
        assert_eq!(wait_for_message(&ours, &Others::default(), &watch).unwrap(), Heard::Size);
        assert!(watch.sizes.take().eq([5]));
    }

    #[test]
    fn a_peer_that_says_its_last_and_reads_nothing_does_not_hold_the_thread() {
        let (watch, _stop, _grown) = watch();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&message(0, &[])).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(wait_for_message(&ours, &Others::default(), &watch).unwrap(), Heard::Message);
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 4096]).is_ok() {}
        assert_eq!(wait_for_message(&ours, &Others::default(), &watch).unwrap(), Heard::Unfinished);
    }

    #[test]
    fn a_peer_that_is_gone_is_heard() {
        let (watch, _stop, _grown) = watch();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[1, 0]).unwrap();
        drop(theirs);
        assert_eq!(wait_for_message(&ours, &Others::default(), &watch).unwrap(), Heard::Message);
    }
}
