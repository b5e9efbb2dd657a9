//! What verbs that take keys away, or bring them back, print: what would be hit, or what each holder has answered.

use std::time::Duration;

use keyd_client::{
    Page,
    limits::REPLY_TIMEOUT,
    message::{Ask, Changed, FenceReport, HolderAnswer, LeftBehind, Phase, Revocation, Weighed},
};
use serde::Serialize;

use super::{Error, Exit, console::Console, impact, progress, table::table};
use crate::clock;

/// Asks, and says that it was done and what followed.
pub(super) fn run<T: Serialize>(
    console: &Console,
    ask: impl Ask<Reply = Weighed<Changed<T>>>,
    wait_ms: u64,
    done: String,
) -> Result<Exit, Error> {
    run_and_tell(console, ask, wait_ms, |_| (Page::default(), done))
}

/// The same for what is told by what came of it, with warnings in front.
pub(super) fn run_and_tell<T: Serialize>(
    console: &Console,
    ask: impl Ask<Reply = Weighed<Changed<T>>>,
    wait_ms: u64,
    done: impl FnOnce(&T) -> (Page, String),
) -> Result<Exit, Error> {
    let time = REPLY_TIMEOUT + Duration::from_millis(wait_ms);
    match progress::waiting(console, wait_ms > 0, || console.ask_within(ask, time))? {
        Weighed::Would(would) => console.print(&would, impact::text),
        Weighed::Done(changed) => {
            told(console, &changed, done)?;
            let proved = wait_ms == 0 || changed.revocation.confirmed();
            Ok(if proved { Exit::Done } else { Exit::NotConfirmed })
        }
    }
}

/// Says that it was done, and what followed for holders.
pub(super) fn told<T: Serialize>(
    console: &Console,
    changed: &Changed<T>,
    done: impl FnOnce(&T) -> (Page, String),
) -> Result<Exit, Error> {
    console.print(changed, |Changed { now, revocation, granted }| {
        let (warnings, done) = done(now);
        warnings.and(followed(&done, revocation, *granted))
    })
}

/// `done; holders told: 2`, and a table of what is known of each.
fn followed(done: &str, revocation: &Revocation, granted: u32) -> Page {
    let mut text = format!("{done}; holders told: {}", revocation.told + granted);
    if revocation.spared > 0 {
        text += &format!(", spared by their set's terms: {}", revocation.spared);
    }
    let page = revocation.left.iter().fold(Page::from(text), |page, LeftBehind { set, disks }| {
        page.line(format_args!(
            "set {set} was being rotated away from it: {disks} disks are left under it and have lost their key; 'keyd des show {set}' says how to finish"
        ))
    });
    if revocation.holders.is_empty() {
        return page;
    }
    let rows: Vec<_> = revocation.holders.iter().map(row).collect();
    let heading = ["DISK", "PROCESS", "USER", "STATE", "LAST I/O", "KEY WIPED", "ANSWER"];
    page.line("").and(table(heading, &rows))
}

fn row(holder: &HolderAnswer) -> [String; 7] {
    let nothing = String::new;
    let state = &holder.state;
    let (last_io, wiped) = match &holder.report {
        Some(report) => (
            report.last_io.map_or_else(|| "none".to_owned(), clock::text),
            clock::text(report.wiped),
        ),
        None => (nothing(), nothing()),
    };
    let answer = match (&holder.report, state.phase) {
        (Some(FenceReport { took_us, held, .. }), _) => {
            format!("confirmed, took {took_us} us, {held} requests held")
        }
        (None, Phase::Halting { lease_ends }) => {
            format!("not confirmed, lease ends at {}", clock::text(lease_ends))
        }
        (None, Phase::Deferred { until: Some(until) }) => {
            format!("goes on until {}", clock::text(until))
        }
        (None, Phase::Deferred { until: None }) => "goes on until it detaches".to_owned(),
        (None, Phase::Gone) => format!("hung up at {}", clock::text(state.since)),
        (None, _) => format!("let go at {}", clock::text(state.since)),
    };
    let (disk, pid, uid) =
        (holder.disk.to_string(), holder.pid.to_string(), holder.uid.to_string());
    [disk, pid, uid, state.phase.to_string(), last_io, wiped, answer]
}
