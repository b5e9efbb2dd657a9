//! Answers as a client reads them.

use keyd_client::{
    Dek,
    message::{self, Refusal},
    wire,
};
use serde::de::DeserializeOwned;

use super::Answer;

/// What was answered in one frame.
pub(crate) fn read<T: DeserializeOwned>(answer: Answer) -> Result<(T, Option<Dek>), Refusal> {
    let Answer::Reply(body, dek) = answer else { panic!("a lease") };
    let mut frame = Vec::new();
    wire::send_body(&mut frame, body, dek.as_ref()).unwrap();
    match wire::receive(&mut frame.as_slice()).unwrap() {
        (message::Answer::Done(reply), dek) => Ok((reply, dek)),
        (message::Answer::Refused(refusal), _) => Err(refusal),
    }
}
