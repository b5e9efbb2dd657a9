//! Asking the daemon, and printing what it says.

use std::{path::PathBuf, time::Duration};

use keyd_client::{
    Client, ClientError, Dek, Page,
    limits::REPLY_TIMEOUT,
    message::{Reply, Request},
    terminal,
};
use serde::Serialize;

use super::{Error, Exit};

/// Where to ask and how to print.
pub(super) struct Ask {
    pub(super) socket: PathBuf,
    pub(super) json: bool,
}

impl Ask {
    pub(super) fn call(&self, request: impl Into<Request>) -> Result<Reply, ClientError> {
        self.call_within(request, REPLY_TIMEOUT)
    }

    /// Asks for what may take its time.
    pub(super) fn call_within(
        &self,
        request: impl Into<Request>,
        patience: Duration,
    ) -> Result<Reply, ClientError> {
        Client::connect_within(&self.socket, patience)?.call(request)
    }

    pub(super) fn call_for_dek(
        &self,
        request: impl Into<Request>,
    ) -> Result<(Reply, Dek), ClientError> {
        Client::connect(&self.socket)?.call_for_dek(request)
    }

    /// Asks for what has no answer but that it was done, and prints that.
    pub(super) fn call_to_do(
        &self,
        request: impl Into<Request>,
        done: String,
    ) -> Result<Exit, Error> {
        match self.call(request)? {
            Reply::Done => self.print(&serde_json::json!({}), |_| done),
            _ => Err(unexpected()),
        }
    }

    /// Prints a value as JSON, or as the lines that `text` makes of it.
    pub(super) fn print<T: Serialize + ?Sized, P: Into<Page>>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> P,
    ) -> Result<Exit, Error> {
        let page = if self.json { Page::json(value)? } else { text(value).into() };
        Ok(terminal::print(&page).map(|()| Exit::Done)?)
    }

    /// Prints a reply's content, without the name of its kind, or lines.
    pub(super) fn print_reply(&self, reply: &Reply, text: impl Into<Page>) -> Result<Exit, Error> {
        let body = match serde_json::to_value(reply)? {
            serde_json::Value::Object(mut fields) => fields.remove("body").unwrap_or_default(),
            other => other,
        };
        self.print(&body, |_| text)
    }
}

/// The daemon answered something else.
pub(super) fn unexpected() -> Error {
    ClientError::UnexpectedReply.into()
}
