//! The backend's log: one line an event, on standard error, where a service manager picks it up.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use keyd_client::{Printable, tally::Tally, terminal};

use crate::limits::{LOG_LINE_MAX, PROVOKED_KINDS_MAX, PROVOKED_LINES_MAX};

/// What a guest or a front end made this process say.
static PROVOKED: Mutex<Tally<&'static str>> =
    Mutex::new(Tally::new(PROVOKED_LINES_MAX, PROVOKED_KINDS_MAX));

/// Writes one line.
pub fn line(event: impl fmt::Display) {
    let line = Printable::cut(format_args!("vhost-backend: {event}"), LOG_LINE_MAX);
    if cfg!(test) {
        // The harness keeps to itself what a test that passes has said.
        return eprintln!("{line}");
    }
    terminal::note(line);
}

/// Writes `kind: event`, of what a guest or a front end can cause again and again: some in a minute, then their number.
pub fn provoked(kind: &'static str, event: impl fmt::Display) {
    if tally(|tally| tally.admits(kind, Instant::now())) {
        line(format_args!("{kind}: {event}"));
    }
    tell();
}

/// Tells how many were left out, of each kind whose minute is over.
pub fn tell() {
    tell_all(tally(|tally| tally.due(Instant::now())));
}

/// The same at the end of the process.
pub fn tell_rest() {
    tell_all(tally(Tally::rest));
}

fn tell_all(counted: Vec<(Option<&'static str>, u64)>) {
    for (kind, count) in counted {
        line(format_args!("{}: {count} times more, not told one by one", kind.unwrap_or("other")));
    }
}

fn tally<T>(with: impl FnOnce(&mut Tally<&'static str>) -> T) -> T {
    with(&mut PROVOKED.lock().unwrap_or_else(PoisonError::into_inner))
}
