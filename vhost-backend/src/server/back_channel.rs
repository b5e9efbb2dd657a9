//! The front end's ear: a socket it hands over to hear what it did not ask (vhost-user, SET_BACKEND_REQ_FD).
//!
//! The `vhost` crate reads that message and keeps the descriptor in a type that has no word for a changed config space,
//! nor another way to it. So the message is looked at before it is read: a look at a message copies its descriptors.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use vhost::vhost_user::message::{BackendReq, FrontendReq};

use super::message::{HEADER_LEN, Header};

/// The one version there is; no answer is asked for.
const FLAGS: u32 = 1;

/// The socket.
#[derive(Debug)]
pub struct BackChannel(OwnedFd);

impl BackChannel {
    /// What the next message on `stream`, which is there as a whole, hands over; none if it is another message.
    #[must_use]
    pub fn offered(stream: &UnixStream) -> Option<Self> {
        let mut header = [0; HEADER_LEN];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut descriptors = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut into = [IoSliceMut::new(&mut header)];
        recvmsg(stream, &mut into, &mut descriptors, flags).ok()?;
        if Header::from_bytes(header).request != FrontendReq::SET_BACKEND_REQ_FD as u32 {
            return None;
        }
        descriptors.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next().map(Self),
            _ => None,
        })
    }

    /// Says that the config space has changed (BACKEND_CONFIG_CHANGE_MSG). Without a wait: a front end that does not
    /// read must not hold the device.
    ///
    /// # Errors
    /// What the system says.
    pub fn config_changed(&self) -> io::Result<()> {
        let words = [BackendReq::CONFIG_CHANGE_MSG as u32, FLAGS, 0];
        let message: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        send(&self.0, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(())
    }
}
