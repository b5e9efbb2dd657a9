//! Asking the daemon, and printing what it says.

use std::{io::Write, path::PathBuf};

use keyd_client::{
    Client, ClientError, Dek,
    message::{Reply, Request},
};
use serde::Serialize;

use super::Error;

/// Where to ask and how to print.
pub(super) struct Ask {
    pub(super) socket: PathBuf,
    pub(super) json: bool,
}

impl Ask {
    pub(super) fn call(&self, request: impl Into<Request>) -> Result<Reply, ClientError> {
        Client::connect(&self.socket)?.call(request)
    }

    pub(super) fn call_for_dek(
        &self,
        request: impl Into<Request>,
    ) -> Result<(Reply, Dek), ClientError> {
        Client::connect(&self.socket)?.call_for_dek(request)
    }

    /// Prints a value as JSON, or as the text that `text` makes of it.
    pub(super) fn print<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        let mut out = if self.json { serde_json::to_string_pretty(value)? } else { text(value) };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        match std::io::stdout().write_all(out.as_bytes()) {
            // The reader of a pipe has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }
}

/// A reply's content, without the name of its kind.
pub(super) fn body(reply: &Reply) -> Result<serde_json::Value, Error> {
    match serde_json::to_value(reply)? {
        serde_json::Value::Object(mut fields) => Ok(fields.remove("body").unwrap_or_default()),
        other => Ok(other),
    }
}

/// The daemon answered something else.
pub(super) fn unexpected() -> Error {
    ClientError::UnexpectedReply.into()
}
