//! Frames of the key daemon's wire: read by everyone who reads them, and by a daemon. What is read can be sent and read
//! again; no stranger gets a key.

use std::fmt::Debug;

use keyd_client::{
    limits::BODY_LEN_MAX,
    message::{Answer, Attached, CaShow, DiskStatus, Event, HolderMessage, Request},
    wire::{self, WireError},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::daemon::Daemon;

/// What a run does with its bytes, by the first of them.
const READERS: [fn(&[u8]); 6] = [
    told::<Request>,
    told::<Answer<DiskStatus>>,
    told::<Event>,
    told::<HolderMessage>,
    told::<Attached>,
    ask,
];

/// Runs the target.
///
/// # Panics
/// If an oracle is broken.
pub fn run(bytes: &[u8]) {
    let Some((&which, rest)) = bytes.split_first() else { return };
    // The frame's prefix is right if the next byte says so: libFuzzer then works on the body alone.
    let framed = match rest.split_first() {
        Some((&flags, body)) if flags & 1 == 1 => {
            let len = (body.len() as u32).to_le_bytes();
            [&len[..], &[wire::VERSION, 0, 0, 0], body].concat()
        }
        _ => rest.to_vec(),
    };
    READERS[usize::from(which) % READERS.len()](&framed);
}

/// A message that is read is the same after another way.
fn told<T: DeserializeOwned + Serialize + Debug>(bytes: &[u8]) {
    let mut reader = bytes;
    let Ok((message, dek)) = wire::receive::<T>(&mut reader) else { return };
    assert!(bytes.len() - reader.len() >= 8, "a frame has a prefix");
    let mut sent = Vec::new();
    match wire::send(&mut sent, &message, dek.as_ref()) {
        Ok(()) => {}
        // What was written short may be written longer.
        Err(WireError::TooLong(len)) => return assert!(len > BODY_LEN_MAX),
        Err(error) => panic!("{error}"),
    }
    let (again, key) = wire::receive::<T>(&mut &sent[..]).expect("what was sent is read");
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
    assert_eq!(key.is_some(), dek.is_some());
}

/// A stranger's connection: whatever is said, every answer is a frame of a reply, none has a key, and the next is
/// served.
fn ask(bytes: &[u8]) {
    let daemon = Daemon::get();
    let said = daemon.says_to(bytes);
    // It may have been HTTP.
    if !said.starts_with(b"HTTP/1.1 ") {
        let mut rest = &said[..];
        while !rest.is_empty() {
            let (reply, dek) =
                wire::receive::<Answer<Value>>(&mut rest).expect("the daemon's frames");
            assert!(dek.is_none(), "a stranger got a key with {reply:?}");
        }
    }
    let mut status = Vec::new();
    wire::send(&mut status, &Request::from(CaShow {}), None).expect("a frame");
    let said = daemon.says_to(&status);
    let (reply, _) = wire::receive::<Answer<String>>(&mut &said[..]).expect("an answer");
    assert!(matches!(reply, Answer::Refused(_)), "{reply:?}");
}
