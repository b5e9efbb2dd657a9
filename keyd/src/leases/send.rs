//! Frames to holders, without ever waiting for one.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
};

use keyd_client::{
    Dek,
    wire::{self, WireError},
};
use rustix::net::{SendFlags, send};
use serde::Serialize;

/// Sends a whole frame at once, or fails. After a failure the stream is of no more use: part of it may be sent.
pub(super) fn frame(
    stream: &UnixStream,
    body: &impl Serialize,
    dek: Option<&Dek>,
) -> Result<(), WireError> {
    wire::send(&mut AtOnce(stream), body, dek)
}

/// Writes that fail where others would wait.
struct AtOnce<'a>(&'a UnixStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
