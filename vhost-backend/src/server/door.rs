//! Front ends that come while one is served. A disk has one at a time: another one is refused at once, as it would wait
//! in silence, with its whole VM.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use rustix::{io::Errno, net::sockopt::socket_peercred};

use crate::log;

/// Of those that are refused one is said in this time; the others are counted. A front end may try every second.
const QUIET: Duration = Duration::from_secs(60);

/// The listening socket, while a front end is served.
#[derive(Debug)]
pub(super) struct Door<'a> {
    /// None: there is one connection, which was handed over.
    listener: Option<&'a UnixListener>,
    /// The process of the one that is served.
    served: Option<i32>,
    said: Option<Instant>,
    unsaid: u32,
}

impl<'a> Door<'a> {
    pub(super) fn new(listener: Option<&'a UnixListener>, served: &UnixStream) -> Self {
        Self { listener, served: process(served), said: None, unsaid: 0 }
    }

    /// Readable: somebody else is there.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'a>> {
        self.listener.map(AsFd::as_fd)
    }

    /// Turns away who has come.
    ///
    /// # Errors
    /// Who it is cannot be accepted, and waits on.
    pub(super) fn turn_away(&mut self) -> io::Result<()> {
        let Some(listener) = self.listener else { return Ok(()) };
        let (stream, _) = listener.accept()?;
        if self.said.is_some_and(|said| said.elapsed() < QUIET) {
            self.unsaid += 1;
            return Ok(());
        }
        let [served, other] = [self.served, process(&stream)].map(name);
        let before = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            count => format!(", and {count} others before it"),
        };
        log::line(format_args!(
            "front end refused: another one ({served}) has the disk: {other} must wait for its end{before}"
        ));
        self.said = Some(Instant::now());
        Ok(())
    }
}

/// The process that connected; it may have handed its end to another since.
fn process(stream: &UnixStream) -> Option<i32> {
    let peer: Result<_, Errno> = socket_peercred(stream);
    peer.ok().map(|peer| peer.pid.as_raw_nonzero().get())
}

fn name(process: Option<i32>) -> String {
    process.map_or_else(|| "an unknown process".to_owned(), |pid| format!("process {pid}"))
}
