//! The front end's socket: made or taken over, and one connection served after the other.

pub mod back_channel;
mod door;
mod message;

use std::{
    fmt, fs, io, mem,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::FileTypeExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyd_client::PathTooLong;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::{socket_acceptconn, socket_domain},
};
use thiserror::Error;
use vhost::vhost_user::{BackendReqHandler, Error as VhostError};

use crate::{limits::ACCEPT_PAUSE, log, mailbox::Mailbox, session::Session};
use back_channel::BackChannel;
use door::Door;
use message::{Heard, wait_for_message};

/// What a front end did that is refused for its silence.
const UNFINISHED: &str = "it stopped inside a message, or does not read its answers";

/// Why the socket cannot be served.
#[derive(Debug, Error)]
pub enum ServerError {
    /// No socket can have such a name.
    #[error(transparent)]
    Path(#[from] PathTooLong),
    /// Somebody listens there.
    #[error("another process listens on {0}: stop it, or choose another --socket-path")]
    Taken(PathBuf),
    /// Something else lies there.
    #[error("{0} exists and is not a socket: remove it, or choose another --socket-path")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {0}: {1}; the directory must exist and be writable for this user")]
    Listen(PathBuf, io::Error),
    /// The descriptor is no use.
    #[error("--fd {0} is not a Unix socket: pass a listening or connected one")]
    NotAnFd(i32),
    /// Waiting failed.
    #[error("waiting for the front end: {0}")]
    Wait(#[from] io::Error),
}

/// Where front ends come from.
#[derive(Debug)]
pub enum Server {
    /// A listening socket; its path is removed at the end if we made it.
    Listener(UnixListener, Option<OwnPath>),
    /// One connection that was handed over.
    Connection(UnixStream),
}

/// A socket's path that we made, and remove when we are done, however that comes.
#[derive(Debug)]
pub struct OwnPath(PathBuf);

impl Drop for OwnPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Server {
    /// Listens on a path. A socket left by a process that died is replaced; a live one, or another kind of file,
    /// is not.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        PathTooLong::check(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ServerError::NotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(ServerError::Taken(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path)
                .map_err(|error| ServerError::Listen(path.to_owned(), error))?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)
            .map_err(|error| ServerError::Listen(path.to_owned(), error))?;
        Ok(Self::Listener(listener, Some(OwnPath(path.to_owned()))))
    }

    /// Takes a socket that the parent opened: a listening one is listened on, a connected one is served.
    ///
    /// # Errors
    /// [`ServerError::NotAnFd`].
    pub fn from_fd(number: i32, fd: OwnedFd) -> Result<Self, ServerError> {
        let not_a_socket = |_| ServerError::NotAnFd(number);
        if socket_domain(&fd).map_err(not_a_socket)? != rustix::net::AddressFamily::UNIX {
            return Err(ServerError::NotAnFd(number));
        }
        match socket_acceptconn(&fd).map_err(not_a_socket)? {
            true => Ok(Self::Listener(fd.into(), None)),
            false => Ok(Self::Connection(fd.into())),
        }
    }

    /// Serves front ends until a stop is asked for, or the handed-over connection ends.
    ///
    /// # Errors
    /// [`ServerError::Wait`].
    pub fn serve(self, session: Session, watch: &Watch) -> Result<(), ServerError> {
        let session = Arc::new(Mutex::new(session));
        match self {
            Self::Connection(stream) => serve_connection(stream, None, &session, watch),
            Self::Listener(listener, _path) => accept(&listener, &session, watch),
        }
    }
}

fn accept(
    listener: &UnixListener,
    session: &Arc<Mutex<Session>>,
    watch: &Watch,
) -> Result<(), ServerError> {
    let mut is_short = false;
    loop {
        match wait_for(listener.as_fd(), &Others::default(), watch)? {
            Woken::Stop => return Ok(()),
            Woken::Size => {
                grow(session, watch);
                continue;
            }
            Woken::Ready | Woken::State | Woken::Knock => {}
        }
        match listener.accept() {
            Ok((stream, _)) => {
                is_short = false;
                serve_connection(stream, Some(listener), session, watch)?;
            }
            // Descriptors are short. The front end waits on at the socket: without a pause this would go round at once,
            // for as long as they are.
            Err(error) => {
                if !mem::replace(&mut is_short, true) {
                    log::provoked(
                        "accepting a front end",
                        format_args!(
                            "{error}; it waits until that is better: raise the limit of open files (LimitNOFILE=)"
                        ),
                    );
                }
                if is_stopped_within(ACCEPT_PAUSE, &watch.stop)? {
                    return Ok(());
                }
            }
        }
    }
}

fn grow(session: &Mutex<Session>, watch: &Watch) {
    let mut session = lock(session);
    watch.sizes.take().for_each(|size| session.grow(size));
}

/// Serves one front end until it leaves or misbehaves. Either way the device is ready for the next.
fn serve_connection(
    stream: UnixStream,
    listener: Option<&UnixListener>,
    session: &Arc<Mutex<Session>>,
    watch: &Watch,
) -> Result<(), ServerError> {
    let watched = match stream.try_clone() {
        Ok(watched) => watched,
        Err(error) => {
            refused(&error);
            return Ok(());
        }
    };
    let mut door = Door::new(listener, &stream);
    let mut handler = BackendReqHandler::from_stream(stream, session.clone());
    let outcome = loop {
        match next_message(&watched, &door, session, watch) {
            Ok(Heard::Message) => {}
            Ok(Heard::Size) => {
                grow(session, watch);
                continue;
            }
            Ok(Heard::State) => {
                lock(session).take_in_state();
                continue;
            }
            Ok(Heard::Knock) => {
                // Where descriptors are short it waits on, and this goes round no faster than it is looked at.
                if door.turn_away().is_err() && is_stopped_within(ACCEPT_PAUSE, &watch.stop)? {
                    break Ok(());
                }
                continue;
            }
            Ok(Heard::Stop) => break Ok(()),
            Ok(Heard::Unfinished) => {
                refused(&UNFINISHED);
                break Ok(());
            }
            Err(error) => break Err(error),
        }
        let back_channel = BackChannel::offered(&watched);
        if let Err(error) = handler.handle_request() {
            if !matches!(error, VhostError::Disconnected) {
                refused(&error);
            }
            break Ok(());
        }
        if let Some(channel) = back_channel {
            lock(session).set_back_channel(channel);
        }
    };
    drop(handler);
    lock(session).end();
    Ok(outcome?)
}

/// Waits with the session in hand: it is this thread's.
fn next_message(
    stream: &UnixStream,
    door: &Door<'_>,
    session: &Mutex<Session>,
    watch: &Watch,
) -> io::Result<Heard> {
    let session = lock(session);
    wait_for_message(stream, &Others { state: session.arriving(), door: door.fd() }, watch)
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What else the control thread listens to while it waits for a front end.
#[derive(Debug)]
pub struct Watch {
    /// Readable: the process is to end.
    pub stop: OwnedFd,
    /// How many bytes the disk has now.
    pub sizes: Mailbox<u64>,
}

/// Why a wait ended.
enum Woken {
    Stop,
    Size,
    Ready,
    /// Some of a device's state has come.
    State,
    /// Somebody is at the door.
    Knock,
}

/// What is listened to beside a front end's messages.
#[derive(Default)]
struct Others<'a> {
    /// Brings a device's state.
    state: Option<BorrowedFd<'a>>,
    /// Has somebody who wants to be served.
    door: Option<BorrowedFd<'a>>,
}

/// The front end may connect again, and again: it is not told each time.
fn refused(why: &dyn fmt::Display) {
    log::provoked("front end refused", format_args!("{why}; it may connect again"));
}

/// Lets some time pass. Whether a stop was asked for.
fn is_stopped_within(time: Duration, stop: &OwnedFd) -> io::Result<bool> {
    let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    match poll(&mut [PollFd::new(stop, PollFlags::IN)], Some(&time)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits until `fd` is readable, or there is something else to do. What `fd` has to say, its end included, comes before
/// who is at the door.
fn wait_for(fd: BorrowedFd<'_>, others: &Others<'_>, watch: &Watch) -> io::Result<Woken> {
    loop {
        let mut fds = vec![
            PollFd::new(&watch.stop, PollFlags::IN),
            PollFd::new(&watch.sizes, PollFlags::IN),
            PollFd::from_borrowed_fd(fd, PollFlags::IN),
        ];
        let mut woken = vec![Woken::Stop, Woken::Size, Woken::Ready];
        for (other, why) in [(others.state, Woken::State), (others.door, Woken::Knock)] {
            let Some(other) = other else { continue };
            fds.push(PollFd::from_borrowed_fd(other, PollFlags::IN));
            woken.push(why);
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        match fds.iter().zip(woken).find(|(fd, _)| !fd.revents().is_empty()) {
            // One that left may have done so between the looks at it and at the door, where the next one is.
            Some((_, Woken::Knock)) if is_readable(fd)? => return Ok(Woken::Ready),
            Some((_, woken)) => return Ok(woken),
            None => {}
        }
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
