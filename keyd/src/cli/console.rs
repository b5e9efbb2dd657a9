//! Asking the daemon, and printing what it says.

use std::{path::PathBuf, time::Duration};

use keyd_client::{
    Client, ClientError, Dek, Page,
    limits::REPLY_TIMEOUT,
    message::{Ask, Listing, Weighed},
    terminal,
};
use serde::Serialize;

use super::{Error, Exit, impact};

/// Where to ask and how to print.
pub(super) struct Console {
    pub(super) socket: PathBuf,
    pub(super) json: bool,
}

impl Console {
    pub(super) fn ask<A: Ask>(&self, ask: A) -> Result<A::Reply, ClientError> {
        self.ask_within(ask, REPLY_TIMEOUT)
    }

    /// Asks for what may take its time.
    pub(super) fn ask_within<A: Ask>(
        &self,
        ask: A,
        time: Duration,
    ) -> Result<A::Reply, ClientError> {
        Client::connect_within(&self.socket, time)?.ask(ask)
    }

    pub(super) fn ask_for_dek<A: Ask>(&self, ask: A) -> Result<(A::Reply, Dek), ClientError> {
        Client::connect(&self.socket)?.ask_for_dek(ask)
    }

    /// Asks page after page; each begins behind the last item of the one before.
    pub(super) fn every<T, A: Ask<Reply = Listing<T>>>(
        &self,
        page: impl Fn(Option<&T>) -> A,
    ) -> Result<Vec<T>, ClientError> {
        let mut every = Vec::new();
        loop {
            let Listing { items, more } = self.ask(page(every.last()))?;
            let end = !more || items.is_empty();
            every.extend(items);
            if end {
                return Ok(every);
            }
        }
    }

    /// Asks, and prints the answer as JSON, or as the lines that `text` makes of it.
    pub(super) fn show<A: Ask, P: Into<Page>>(
        &self,
        ask: A,
        text: impl FnOnce(&A::Reply) -> P,
    ) -> Result<Exit, Error> {
        self.print(&self.ask(ask)?, text)
    }

    /// The same for what is weighed before: a dry run prints what would be hit.
    pub(super) fn show_weighed<T: Serialize, A: Ask<Reply = Weighed<T>>, P: Into<Page>>(
        &self,
        ask: A,
        text: impl FnOnce(&T) -> P,
    ) -> Result<Exit, Error> {
        self.print_weighed(&self.ask(ask)?, text)
    }

    /// Asks for what has no answer but that it was done, and prints that.
    pub(super) fn done(&self, ask: impl Ask<Reply = ()>, done: String) -> Result<Exit, Error> {
        self.ask(ask)?;
        self.print_done(done)
    }

    /// Prints that something was done of which there is nothing else to tell.
    pub(super) fn print_done(&self, done: String) -> Result<Exit, Error> {
        self.print(&serde_json::json!({}), |_| done)
    }

    pub(super) fn print_weighed<T: Serialize, P: Into<Page>>(
        &self,
        weighed: &Weighed<T>,
        text: impl FnOnce(&T) -> P,
    ) -> Result<Exit, Error> {
        match weighed {
            Weighed::Would(would) => self.print(would, impact::text),
            Weighed::Done(done) => self.print(done, text),
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
}
