//! The command line. `keyd serve` runs the daemon; everything else asks a running one.

pub mod args;
mod audit;
mod ca;
mod clock;
mod console;
mod des;
mod disk;
mod grant;
mod impact;
mod key;
mod principal;
mod progress;
mod recovery;
mod release;
mod revocation;
mod root;
mod serve;
mod state;
mod status;
mod table;
mod vault;

use std::{ffi::OsString, process::ExitCode};

use confine::calls::Call;
use keyd_client::{ClientError, terminal};

use crate::sandbox::calls::allowed;
use args::{Args, Verb};
use console::Console;

/// Why a command failed.
type Error = Box<dyn std::error::Error>;

/// How a command ended. 2 is clap's own: wrong usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    NotReached = 3,
    NotConfirmed = 4,
    Warned = 5,
    Asked = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command that this process was given.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os(), allowed)
}

/// Runs one command, whose first word is the program; a daemon with these system calls.
#[must_use]
pub fn run(
    words: impl IntoIterator<Item = impl Into<OsString>>,
    allowed: impl Fn(bool) -> Vec<Call>,
) -> ExitCode {
    let args: Args = match terminal::parse(words) {
        Ok(args) => args,
        Err(ended) => return ended,
    };
    let console = Console { socket: args.socket, json: args.json };
    let ended = match args.verb {
        Verb::Serve(options) => serve::run(&console.socket, *options, allowed),
        Verb::Status => status::run(&console),
        Verb::Key(verb) => key::run(&console, verb),
        Verb::Vault(verb) => vault::run(&console, verb),
        Verb::Grant(verb) => grant::run(&console, verb),
        Verb::Des(verb) => des::run(&console, verb),
        Verb::Disk(verb) => disk::run(&console, verb),
        Verb::Clock(verb) => clock::run(&console, verb),
        Verb::Audit(verb) => audit::run(&console, verb),
        Verb::Principal(verb) => principal::principal(&console, verb),
        Verb::Token(verb) => principal::token(&console, verb),
        Verb::Identity(verb) => principal::identity(&console, verb),
        Verb::Ca(verb) => ca::run(&console, verb),
        Verb::Root(verb) => root::run(&console, verb),
        Verb::Check(options) => recovery::check(&console, &options),
        Verb::Upgrade(options) => recovery::upgrade(&console, options),
        Verb::Backup(options) => recovery::backup(&console, options),
        Verb::Restore(options) => recovery::restore(&console, options),
    };
    ended.unwrap_or_else(|error| failed(&error)).into()
}

fn failed(error: &Error) -> Exit {
    terminal::note(format_args!("keyd: {error}"));
    match error.downcast_ref() {
        Some(ClientError::Unreachable { .. }) => Exit::NotReached,
        _ => Exit::Failed,
    }
}
