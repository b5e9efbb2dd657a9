//! Frames on the daemon's socket.
//!
//! ```text
//! 0        4         5       6        8                8+len            8+len+64
//! | len u32 | version | dek   | zero   | body: JSON, len | DEK, if dek = 1 |
//! ```
//! Integers are little-endian. The DEK is no part of the body: it goes from page to socket and from socket to page
//! without touching a serialiser, a heap buffer or an error text.

use std::{
    fmt,
    io::{self, Read, Write},
};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    dek::{Dek, DekError},
    limits::BODY_LEN_MAX,
};

/// Version of the wire.
pub const VERSION: u8 = 2;

const PREFIX_LEN: usize = 8;

/// Why a frame could not be read or written.
#[derive(Debug, Error)]
pub enum WireError {
    /// The peer closed the connection between frames.
    #[error("the connection was closed")]
    Closed,
    /// The socket failed, timed out, or closed inside a frame.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer speaks another version.
    #[error(
        "the peer speaks version {0} of the key daemon's wire, this program {VERSION}: use programs of one release"
    )]
    Version(u8),
    /// A length over the limit.
    #[error("a frame of {0} bytes is longer than any that fits here")]
    TooLong(usize),
    /// A malformed prefix.
    #[error("not a frame of the key daemon's wire")]
    Malformed,
    /// A body that is not what was expected here.
    #[error("a frame that makes no sense here: {0}")]
    Body(#[from] serde_json::Error),
    /// A key that cannot be one, or no page for it.
    #[error(transparent)]
    Dek(#[from] DekError),
}

/// A frame but for its DEK, ready to be sent. It may hold a secret that is told once, so it prints as its length.
pub struct Body(Vec<u8>);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Body {
    /// Writes a body as JSON.
    ///
    /// # Errors
    /// [`WireError::TooLong`].
    pub fn of(body: &impl Serialize) -> Result<Self, WireError> {
        let mut frame = vec![0; PREFIX_LEN];
        serde_json::to_writer(&mut frame, body)?;
        let len = frame.len() - PREFIX_LEN;
        if len > BODY_LEN_MAX {
            return Err(WireError::TooLong(len));
        }
        let len = u32::try_from(len).expect("BODY_LEN_MAX fits 32 bits");
        frame[..4].copy_from_slice(&len.to_le_bytes());
        frame[4] = VERSION;
        Ok(Self(frame))
    }
}

/// Sends one frame.
///
/// # Errors
/// [`WireError::Io`], [`WireError::TooLong`].
pub fn send(
    writer: &mut impl Write,
    body: &impl Serialize,
    dek: Option<&Dek>,
) -> Result<(), WireError> {
    send_body(writer, Body::of(body)?, dek)
}

/// The same of one that is written already.
///
/// # Errors
/// [`WireError::Io`].
pub fn send_body(
    writer: &mut impl Write,
    Body(mut frame): Body,
    dek: Option<&Dek>,
) -> Result<(), WireError> {
    frame[5] = u8::from(dek.is_some());
    writer.write_all(&frame)?;
    if let Some(dek) = dek {
        writer.write_all(dek.expose())?;
    }
    Ok(writer.flush()?)
}

/// Receives one frame.
///
/// # Errors
/// [`WireError`]; after any but [`WireError::Closed`] the connection is of no more use.
pub fn receive<T: DeserializeOwned>(reader: &mut impl Read) -> Result<(T, Option<Dek>), WireError> {
    receive_up_to(reader, BODY_LEN_MAX)
}

/// Receives one frame with a body of no more than `len_max` bytes: the daemon takes requests from many at once, and
/// each is short.
///
/// # Errors
/// As [`receive`].
pub fn receive_up_to<T: DeserializeOwned>(
    reader: &mut impl Read,
    len_max: usize,
) -> Result<(T, Option<Dek>), WireError> {
    let mut prefix = [0; PREFIX_LEN];
    read_prefix(reader, &mut prefix)?;
    let [l0, l1, l2, l3, version, has_dek, zeros @ ..] = prefix;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    if has_dek > 1 || zeros != [0; 2] {
        return Err(WireError::Malformed);
    }
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > len_max {
        return Err(WireError::TooLong(len));
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    // The key is taken off the socket before the body is judged: it must not be left in a stream.
    let dek =
        if has_dek == 1 { Some(Dek::fill_with(|bytes| reader.read_exact(bytes))?) } else { None };
    Ok((serde_json::from_slice(&body)?, dek))
}

/// An end of stream before the first byte is a close; inside the prefix it is a broken connection.
fn read_prefix(reader: &mut impl Read, prefix: &mut [u8; PREFIX_LEN]) -> Result<(), WireError> {
    let mut filled = 0;
    while filled < PREFIX_LEN {
        match reader.read(&mut prefix[filled..]) {
            Ok(0) if filled == 0 => return Err(WireError::Closed),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Event, Request, Status};

    fn dek() -> Dek {
        Dek::fill_with(|bytes| {
            bytes.iter_mut().zip(100u8..).for_each(|(byte, n)| *byte = n);
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn a_frame_arrives_as_it_was_sent() {
        let mut stream = Vec::new();
        send(&mut stream, &Request::from(Status {}), None).unwrap();
        send(&mut stream, &Event::Reclaimed, Some(&dek())).unwrap();
        let mut reader = stream.as_slice();
        let (request, none) = receive::<Request>(&mut reader).unwrap();
        let (event, some) = receive::<Event>(&mut reader).unwrap();
        assert_eq!((request, event), (Status {}.into(), Event::Reclaimed));
        assert!(none.is_none());
        assert_eq!(some.unwrap().expose(), dek().expose());
        assert!(matches!(receive::<Event>(&mut reader), Err(WireError::Closed)));
    }

    #[test]
    fn a_giant_length_is_refused_before_it_is_allocated() {
        let mut frame = vec![0xff, 0xff, 0xff, 0xff, VERSION, 0, 0, 0];
        frame.extend([b'{'; 100]);
        let result = receive::<Request>(&mut frame.as_slice());
        assert!(matches!(result, Err(WireError::TooLong(0xffff_ffff))));
    }

    #[test]
    fn another_version_is_named() {
        let frame = [0, 0, 0, 0, 9, 0, 0, 0];
        assert!(matches!(receive::<Request>(&mut frame.as_slice()), Err(WireError::Version(9))));
    }

    #[test]
    fn a_key_that_is_cut_short_is_an_error() {
        let mut stream = Vec::new();
        send(&mut stream, &Event::Reclaimed, Some(&dek())).unwrap();
        stream.truncate(stream.len() - 1);
        assert!(receive::<Event>(&mut stream.as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = vec![u8::try_from(bytes.len()).unwrap(), 0, 0, 0, VERSION, 0, 0, 0];
            framed.extend(&bytes);
            let _ = receive::<Request>(&mut framed.as_slice());
            let _ = receive::<Request>(&mut bytes.as_slice());
        }
    }
}
