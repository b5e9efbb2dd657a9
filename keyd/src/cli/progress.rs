//! How far long work is: a bar on a terminal, a line now and then where there is none, nothing for a script. Always on
//! standard error.

use std::{
    io::{IsTerminal, stderr},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

use indicatif::{ProgressBar, ProgressStyle};
use keyd_client::{Client, ClientError, message::Ask, terminal};

use super::console::Console;
use crate::limits::{LONG_WORK_TIMEOUT, PROGRESS_INTERVAL};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// DEKs that are wrapped anew.
    pub(super) done: u64,
    /// DEKs in all.
    pub(super) all: u64,
}

/// Asks for long work on one connection, and looks how far it is on another.
pub(super) fn ask<A: Ask<Reply: Send> + Send>(
    console: &Console,
    ask: A,
    mut look: impl FnMut(&mut Client) -> Result<Option<Step>, ClientError>,
) -> Result<A::Reply, ClientError> {
    let mut shown = Shown::new(console.json);
    // The first look is at what was before.
    let mut watching = Client::connect(&console.socket).ok();
    watching = watching.and_then(|mut client| look(&mut client).ok().map(|_| client));
    let (doing, done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let work = scope.spawn(move || {
            // Dropped when the answer is there.
            let _doing = doing;
            console.ask_within(ask, LONG_WORK_TIMEOUT)
        });
        while done.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            match watching.as_mut().map(&mut look) {
                Some(Ok(Some(step))) => shown.step(step),
                Some(Ok(None)) | None => {}
                // Who may not look is not refused again and again: each refusal is an audit record.
                Some(Err(_)) => watching = None,
            }
        }
        work.join().unwrap_or(Err(ClientError::UnexpectedReply))
    })
}

/// Waits for an answer of which nothing is known meanwhile.
pub(super) fn waiting<T>(console: &Console, long: bool, work: impl FnOnce() -> T) -> T {
    let spinner = (long && !console.json && stderr().is_terminal()).then(|| {
        let bar = ProgressBar::new_spinner().with_message("waiting for the holders' answers");
        bar.enable_steady_tick(PROGRESS_INTERVAL / 4);
        bar
    });
    let answer = work();
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    answer
}

enum Shown {
    Bar(ProgressBar),
    Lines(Option<Step>),
    Nothing,
}

impl Shown {
    fn new(json: bool) -> Self {
        match (json, stderr().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Bar(ProgressBar::hidden()),
            (false, false) => Self::Lines(None),
        }
    }

    fn step(&mut self, step: Step) {
        match self {
            Self::Bar(bar) => {
                if bar.is_hidden() {
                    *bar = ProgressBar::new(step.all).with_style(style());
                }
                bar.set_length(step.all);
                bar.set_position(step.done);
            }
            Self::Lines(before) if *before != Some(step) => {
                terminal::note(format_args!("{} of {} disks wrapped anew", step.done, step.all));
                *before = Some(step);
            }
            Self::Lines(_) | Self::Nothing => {}
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{bar:40} {pos} of {len} disks wrapped anew, {eta} to go";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
