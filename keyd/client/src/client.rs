//! One request, one reply: what the command lines and the image tools need of the daemon.

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};
use thiserror::Error;

use crate::{
    dek::Dek,
    lease::BootTime,
    limits::{REPLY_TIMEOUT, SOCKET_PATH_MAX},
    message::{Answer, Ask, Refusal, Request},
    timed::Timed,
    wire::{self, WireError},
};

/// Why the daemon did not do what it was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No daemon there.
    #[error(
        "cannot reach keyd at {path}: {source}; is 'keyd serve' running, and is that its socket ({option})?{}", removed(.source)
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// By which option it was named.
        option: &'static str,
        /// What connecting said.
        source: io::Error,
    },
    /// Its socket is for others.
    #[error(
        "this user may not connect to keyd at {path}: {source}; it must be in the group of that socket and of its directory (SupplementaryGroups= in a unit, or 'usermod -aG'), and keyd must serve with --socket-mode 0660"
    )]
    NotForUs {
        /// The socket.
        path: PathBuf,
        /// What connecting said.
        source: io::Error,
    },
    /// No socket can have such a name.
    #[error(transparent)]
    Path(#[from] PathTooLong),
    /// The connection failed.
    #[error("talking to keyd: {0}")]
    Wire(#[from] WireError),
    /// The daemon refused.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The daemon answered something else than was asked.
    #[error("keyd gave an answer that does not fit the question: use programs of one release")]
    UnexpectedReply,
}

/// What else may be, where there is nothing.
fn removed(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => " A keyd whose socket was removed has to be started again",
        _ => "",
    }
}

/// A path that no Unix socket can have.
#[derive(Debug, Error)]
#[error(
    "the path of a socket can have {SOCKET_PATH_MAX} bytes, and {path} has {}: use a shorter one, by a symbolic link to its directory if need be",
    path.as_os_str().len()
)]
pub struct PathTooLong {
    path: PathBuf,
}

impl PathTooLong {
    /// Refuses a path that is too long for a socket: what the system says of one does not tell the limit.
    ///
    /// # Errors
    /// [`PathTooLong`].
    pub fn check(path: &Path) -> Result<(), Self> {
        match path.as_os_str().len() {
            ..=SOCKET_PATH_MAX => Ok(()),
            _ => Err(Self { path: path.to_owned() }),
        }
    }
}

impl ClientError {
    /// The same of a program that has another name for the option.
    #[must_use]
    pub fn of_option(self, name: &'static str) -> Self {
        match self {
            Self::Unreachable { path, source, .. } => {
                Self::Unreachable { path, option: name, source }
            }
            other => other,
        }
    }
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    patience: Duration,
}

impl Client {
    /// Connects to the daemon's socket.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::NotForUs`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::connect_within(path, REPLY_TIMEOUT)
    }

    /// Connects, and lets neither the connecting nor an answer take longer than `patience`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect_within(path: &Path, patience: Duration) -> Result<Self, ClientError> {
        PathTooLong::check(path)?;
        connect(path, patience)
            .map(|stream| Self { stream, patience })
            .map_err(|source| unreachable(path.to_owned(), source))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's reason; [`ClientError::Wire`].
    pub fn ask<A: Ask>(&mut self, ask: A) -> Result<A::Reply, ClientError> {
        self.exchange(ask).map(|(reply, _)| reply)
    }

    /// Asks for something that comes with a DEK.
    ///
    /// # Errors
    /// As [`Client::ask`]; [`ClientError::UnexpectedReply`] if no DEK came.
    pub fn ask_for_dek<A: Ask>(&mut self, ask: A) -> Result<(A::Reply, Dek), ClientError> {
        match self.exchange(ask)? {
            (reply, Some(dek)) => Ok((reply, dek)),
            (_, None) => Err(ClientError::UnexpectedReply),
        }
    }

    /// Sends the request and takes the answer, with the DEK if one came.
    fn exchange<A: Ask>(&mut self, ask: A) -> Result<(A::Reply, Option<Dek>), ClientError> {
        self.exchange_until(ask, BootTime::now().after(self.patience))
    }

    /// The same, and all of it by then.
    pub(crate) fn exchange_until<A: Ask>(
        &mut self,
        ask: A,
        until: BootTime,
    ) -> Result<(A::Reply, Option<Dek>), ClientError> {
        set_socket_timeout(&self.stream, Timeout::Send, Some(at_least_some(until.remaining())))
            .map_err(|errno| WireError::Io(errno.into()))?;
        let request: Request = ask.into();
        wire::send(&mut self.stream, &request, None)?;
        match wire::receive(&mut Timed::until(&self.stream, until))? {
            (Answer::Refused(refusal), _) => Err(ClientError::Refused(refusal)),
            (Answer::Done(reply), dek) => Ok((reply, dek)),
        }
    }

    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }
}

/// A daemon that is not there is to be started; one that is there for others is not.
fn unreachable(path: PathBuf, source: io::Error) -> ClientError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotForUs { path, source },
        _ => ClientError::Unreachable { path, option: "--socket", source },
    }
}

/// A hung daemon whose backlog is full would let a plain connect wait for ever: the send time-out bounds it (unix(7)).
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(at_least_some(patience)))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// A time-out of zero would mean none.
fn at_least_some(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}
