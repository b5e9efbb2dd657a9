//! Somebody in the middle: a socket that passes everything on to another, until it is told to swallow one way, or both,
//! or to hang up. What a network partition is to two hosts; and, told to take its time, what a busy one is.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// What is swallowed: held back, and delivered once the way is free again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blocked {
    /// What clients say.
    pub up: bool,
    /// What they are told.
    pub down: bool,
}

#[derive(Debug, Default)]
struct State {
    blocked: Blocked,
    slowness: Duration,
    streams: Vec<UnixStream>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>, Condvar);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the way to be free.
    fn pass(&self, is_blocked: impl Fn(Blocked) -> bool) {
        let mut state = self.lock();
        while is_blocked(state.blocked) && !state.closed {
            state = self.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let slowness = state.slowness;
        drop(state);
        thread::sleep(slowness);
    }
}

/// A relay. Everything it carries ends when this is dropped.
#[derive(Debug)]
pub struct Relay(Arc<Shared>);

impl Relay {
    /// Listens at `here` for what is meant for `there`.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn start(here: &Path, there: &Path) -> Self {
        let listener = UnixListener::bind(here).expect("a socket");
        let shared = Arc::<Shared>::default();
        let (ours, there) = (shared.clone(), there.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Without a daemon the client is hung up on.
                let Ok(daemon) = UnixStream::connect(&there) else { continue };
                if !carry(&ours, client, daemon) {
                    return;
                }
            }
        });
        Self(shared)
    }

    /// From now on this is swallowed, and nothing else.
    pub fn block(&self, blocked: Blocked) {
        self.0.lock().blocked = blocked;
        self.0.1.notify_all();
    }

    /// From now on each piece takes this time.
    pub fn slow_down(&self, slowness: Duration) {
        self.0.lock().slowness = slowness;
    }

    /// Hangs up every connection; new ones are carried.
    pub fn hang_up(&self) {
        for stream in self.0.lock().streams.drain(..) {
            // One that has ended cannot be shut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.1.notify_all();
        self.hang_up();
    }
}

/// Carries one connection both ways; `false` if nothing is carried any more.
fn carry(shared: &Arc<Shared>, client: UnixStream, daemon: UnixStream) -> bool {
    let handle = |stream: &UnixStream| stream.try_clone().expect("a second handle");
    {
        let mut state = shared.lock();
        if state.closed {
            return false;
        }
        state.streams.extend([handle(&client), handle(&daemon)]);
    }
    let (up, down) = (shared.clone(), shared.clone());
    let ends = (handle(&client), handle(&daemon));
    thread::spawn(move || pump(ends.0, ends.1, || up.pass(|blocked| blocked.up)));
    thread::spawn(move || pump(daemon, client, || down.pass(|blocked| blocked.down)));
    true
}

fn pump(mut from: UnixStream, mut to: UnixStream, pass: impl Fn()) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        pass();
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // The end of one is the end of the other, as soon as it may be heard.
    pass();
    let _ = to.shutdown(Shutdown::Both);
}
