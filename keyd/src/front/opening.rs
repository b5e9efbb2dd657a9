//! What a connection on the Unix socket speaks, by its first bytes: frames ([`keyd_client::wire`]), or HTTP.

use std::{io::Read, os::unix::net::UnixStream};

use keyd_client::{
    lease::BootTime,
    limits::FRAME_TIMEOUT,
    timed::{Timed, Waited, wait_readable},
    wire::{self, WireError},
};

use crate::limits::IDLE_TIMEOUT;

/// As much as a frame has before its body; every HTTP request has more.
pub type FirstBytes = [u8; 8];

/// The beginning of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A frame, or nonsense.
    Frame(FirstBytes),
    /// A method of HTTP.
    Http(FirstBytes),
    /// Nothing came.
    Nothing,
}

/// Reads the first bytes of a connection.
///
/// # Errors
/// [`WireError::Io`].
pub fn read(stream: &UnixStream) -> Result<Opening, WireError> {
    let idle = BootTime::now().after(IDLE_TIMEOUT);
    if wait_readable(stream, Some(idle))? == Waited::TimedOut {
        return Ok(Opening::Nothing);
    }
    let mut first = FirstBytes::default();
    let mut timed = Timed::new(stream, FRAME_TIMEOUT);
    // A peer that only looked whether somebody is there.
    if timed.read(&mut first[..1])? == 0 {
        return Ok(Opening::Nothing);
    }
    timed.read_exact(&mut first[1..])?;
    Ok(judge(first))
}

/// A frame has its version where the shortest method has its slash, and no length that four letters would be.
fn judge(first: FirstBytes) -> Opening {
    let method = first[..3].iter().all(u8::is_ascii_uppercase);
    if method && first[4] != wire::VERSION { Opening::Http(first) } else { Opening::Frame(first) }
}

#[cfg(test)]
mod tests {
    use keyd_client::limits::REQUEST_LEN_MAX;

    use super::*;

    #[test]
    fn every_method_is_http_and_no_frame_is() {
        for http in [b"GET /key", b"PUT /key", b"POST /ke", b"PATCH /k", b"DELETE /", b"HEAD / H"] {
            assert_eq!(judge(*http), Opening::Http(*http));
        }
        for len in 0..=u32::try_from(REQUEST_LEN_MAX).unwrap() {
            let mut frame = [0; 8];
            frame[..4].copy_from_slice(&len.to_le_bytes());
            // Also of a peer of another release.
            for version in [wire::VERSION, wire::VERSION + 1] {
                frame[4] = version;
                assert_eq!(judge(frame), Opening::Frame(frame), "{len}");
            }
        }
    }
}
