//! The command line. `keyd serve` runs the daemon; everything else asks a running one.

pub mod args;
mod ask;
mod audit;
mod ca;
mod clock;
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
use ask::Ask;

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
    let ask = Ask { socket: args.socket, json: args.json };
    let ended = match args.verb {
        Verb::Serve(options) => serve::run(&ask.socket, *options, allowed),
        Verb::Status => status::run(&ask),
        Verb::Key(verb) => key::run(&ask, verb),
        Verb::Vault(verb) => vault::run(&ask, verb),
        Verb::Grant(verb) => grant::run(&ask, verb),
        Verb::Des(verb) => des::run(&ask, verb),
        Verb::Disk(verb) => disk::run(&ask, verb),
        Verb::Clock(verb) => clock::run(&ask, verb),
        Verb::Audit(verb) => audit::run(&ask, verb),
        Verb::Principal(verb) => principal::principal(&ask, verb),
        Verb::Token(verb) => principal::token(&ask, verb),
        Verb::Identity(verb) => principal::identity(&ask, verb),
        Verb::Ca(verb) => ca::run(&ask, verb),
        Verb::Root(verb) => root::run(&ask, verb),
        Verb::Check(options) => recovery::check(&ask, &options),
        Verb::Upgrade(options) => recovery::upgrade(&ask, options),
        Verb::Backup(options) => recovery::backup(&ask, options),
        Verb::Restore(options) => recovery::restore(&ask, options),
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
