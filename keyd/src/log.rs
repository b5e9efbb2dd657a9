//! The daemon's log: one line an event, on standard error, where a service manager picks it up. A log that cannot be
//! written does not stop the daemon: the audit log is the record that counts.

use std::{
    fmt::{self, Write as _},
    sync::Mutex,
    time::Instant,
};

use keyd_client::{Printable, tally::Tally, terminal};

use crate::{
    clock,
    limits::{LOG_LINE_MAX, PROVOKED_KINDS_MAX},
    lock::lock,
};

/// Who made the daemon say something, and what kind of thing.
type Provoked = (Printable, Printable);

static PROVOKED: Mutex<Tally<Provoked>> = Mutex::new(Tally::new(1, PROVOKED_KINDS_MAX));

/// Writes one line: what a peer's text carries makes no other, and no long one.
pub fn line(event: fmt::Arguments<'_>) {
    let line = Printable::cut(format_args!("{} {event}", clock::text(clock::now())), LOG_LINE_MAX);
    if cfg!(test) {
        // The harness keeps to itself what a test that passes has said.
        return eprintln!("{line}");
    }
    terminal::note(line);
}

/// Writes one line of what somebody can cause again and again at no cost; those that follow are counted, by who and
/// what, and their number is told each minute.
pub fn provoked(who: impl fmt::Display, what: impl fmt::Display, event: fmt::Arguments<'_>) {
    let kind = (Printable::cut(who, LOG_LINE_MAX / 8), Printable::cut(what, LOG_LINE_MAX / 8));
    // Not while it is locked: standard error may be slow.
    let told = lock(&PROVOKED).admits(kind, Instant::now());
    if told {
        line(event);
    }
}

/// Tells how many were left out, of each kind whose minute is over.
pub fn tell() {
    let due = lock(&PROVOKED).due(Instant::now());
    tell_all(due);
}

/// The same of all, at the end.
pub fn tell_rest() {
    let rest = lock(&PROVOKED).rest();
    tell_all(rest);
}

fn tell_all(counted: Vec<(Option<Provoked>, u64)>) {
    for (kind, count) in counted {
        match kind {
            Some((who, what)) => line(format_args!("{who}: {what}: {count} times more")),
            None => line(format_args!("several others: {count} times")),
        }
    }
}

/// An error and its causes, in one line: `cannot open X: permission denied`.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent variants repeat their cause.
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}
