//! The Unix socket: accept, peer credentials, frame, `(Caller, Request)`. No decision is taken here.

use std::{
    io::{self, Read},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use keyd_client::timed::{Timed, Waited, wait_readable};
use keyd_client::{
    lease::BootTime,
    limits::{FRAME_TIMEOUT, REQUEST_LEN_MAX},
    message::{Refusal, RefusalCode, Request},
    wire::{self, WireError},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::sockopt::socket_peercred,
};

use super::{
    http::Adopter,
    opening::{self, Opening},
    session,
    socket::Name,
};
use crate::{
    auth::Caller,
    files::Loss,
    limits::{CONNECTIONS_MAX, IDLE_TIMEOUT, THREAD_STACK_LEN},
    log,
    service::{self, Answer, Service},
};

/// How often it is looked whether the socket still has its name, where nobody comes.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Tells the service manager how the daemon fares.
pub type Tell<'a> = &'a dyn Fn(&str);

/// Serves until there is something to read from `stop`.
///
/// # Errors
/// The listener itself failed.
pub fn serve(
    (listener, name, tell): (&UnixListener, &Name, Tell<'_>),
    stop: &UnixStream,
    service: &Arc<Service>,
    http: &Adopter,
) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    let mut lost = None;
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut fds, Some(&LOOK)) {
            Ok(0) => look(name, &mut lost, tell),
            Ok(_) if !fds[1].revents().is_empty() => return Ok(()),
            Ok(_) => accept(listener, service, http, &open),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Nothing else is done about it here: the sandbox makes no socket, and to end would halt disks that run. As `keyd
/// status` cannot be asked any more, the service manager's status says it.
fn look(name: &Name, lost: &mut Option<Loss>, tell: Tell<'_>) {
    let now = name.loss();
    if now == *lost {
        return;
    }
    match &now {
        Some(now) => {
            let told = format!("{now}: nobody reaches keyd by it, start keyd again");
            log::line(format_args!("{told}"));
            tell(&told);
        }
        None => tell("the socket is in its place again"),
    }
    *lost = now;
}

fn accept(
    listener: &UnixListener,
    service: &Arc<Service>,
    http: &Adopter,
    open: &Arc<AtomicUsize>,
) {
    let stream = match listener.accept() {
        Ok((stream, _)) => stream,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
        // Out of descriptors, or the peer is gone again: the next one may fare better.
        Err(error) => {
            log::provoked("socket", "accept", format_args!("accept: {error}"));
            return thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    let Some(place) = Place::take(open) else {
        return log::provoked(
            "socket",
            "too many connections",
            format_args!("a connection was closed: {CONNECTIONS_MAX} are open"),
        );
    };
    let (service, http) = (service.clone(), http.clone());
    let started = thread::Builder::new().stack_size(THREAD_STACK_LEN).spawn(move || {
        if let Err(error) = connection(&service, &http, stream, place) {
            closed(&error);
        }
    });
    if let Err(error) = started {
        log::provoked("socket", "no thread", format_args!("no thread for a connection: {error}"));
    }
}

fn closed(error: &WireError) {
    log::provoked(
        "socket",
        "a connection was closed",
        format_args!("a connection was closed: {}", log::chain(error)),
    );
}

/// One of the places for connections, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(open.clone());
        let before = open.fetch_add(1, Ordering::Relaxed);
        (before < CONNECTIONS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection to its end, or hands it over if it speaks HTTP.
fn connection(
    service: &Service,
    http: &Adopter,
    stream: UnixStream,
    place: Place,
) -> Result<(), WireError> {
    let peer = socket_peercred(&stream).map_err(io::Error::from)?;
    let caller = Caller::local(peer.uid.as_raw(), peer.pid.as_raw_pid().unsigned_abs());
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(FRAME_TIMEOUT))?;
    let first = match opening::read(&stream)? {
        Opening::Nothing => return Ok(()),
        Opening::Http(first) => {
            http.adopt(caller, &first, stream, place);
            return Ok(());
        }
        Opening::Frame(first) => first,
    };
    let stream = Arc::new(stream);
    let mut next = receive(&stream, &first)?;
    while let Some(request) = next {
        match service.answer(&caller, request, &stream) {
            Answer::Reply(body, dek) => wire::send_body(&mut &*stream, body, dek.as_ref())?,
            Answer::Lease(lease) => {
                session::hold(service, &caller, lease, &stream);
                return Ok(());
            }
        }
        next = next_request(&stream)?;
    }
    Ok(())
}

/// The next request; none if the peer has no more, or waited too long with it.
fn next_request(stream: &UnixStream) -> Result<Option<Request>, WireError> {
    let idle = BootTime::now().after(IDLE_TIMEOUT);
    if wait_readable(stream, Some(idle))? == Waited::TimedOut {
        return Ok(None);
    }
    receive(stream, &[])
}

/// A request of which `beginning` was read.
fn receive(stream: &UnixStream, beginning: &[u8]) -> Result<Option<Request>, WireError> {
    let mut reader = beginning.chain(Timed::new(stream, FRAME_TIMEOUT));
    match wire::receive_up_to(&mut reader, REQUEST_LEN_MAX) {
        Ok((request, _)) => Ok(Some(request)),
        Err(WireError::Closed) => Ok(None),
        Err(WireError::Body(error)) => {
            let message = format!(
                "keyd does not understand the request ({error}): use programs of one release"
            );
            let code = RefusalCode::BadRequest;
            let body = service::refused(Refusal { code, message: message.into() });
            wire::send_body(&mut &*stream, body, None)?;
            Err(WireError::Body(error))
        }
        Err(error) => Err(error),
    }
}
