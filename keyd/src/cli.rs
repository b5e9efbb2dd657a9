//! The command line. `keyd serve` runs the daemon; everything else asks a running one.

pub mod args;
pub mod args_audit;
pub mod args_recovery;
pub mod args_root;
mod ask;
mod audit;
mod des;
mod disk;
mod key;
mod recovery;
mod release;
mod root;
mod serve;
mod table;

use std::process::ExitCode;

use clap::Parser;
use keyd_client::ClientError;

use args::{Args, Verb};
use ask::Ask;

/// Why a command failed.
type Error = Box<dyn std::error::Error>;

/// Exit codes: 0 done, 1 refused or failed, 2 wrong usage (clap's own), 3 no daemon reached.
const FAILED: u8 = 1;
const NOT_REACHED: u8 = 3;

/// Runs one command.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let ask = Ask { socket: args.socket, json: args.json };
    let done = match args.verb {
        Verb::Serve(options) => serve::run(&ask.socket, options),
        Verb::Key(verb) => key::run(&ask, verb),
        Verb::Des(verb) => des::run(&ask, verb),
        Verb::Disk(verb) => disk::run(&ask, verb),
        Verb::Audit(verb) => audit::run(&ask, verb),
        Verb::Root(verb) => root::run(&ask, verb),
        Verb::Backup(options) => recovery::backup(&ask, options),
        Verb::Restore(options) => recovery::restore(&ask, options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyd: {error}");
            let unreachable = matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. }));
            ExitCode::from(if unreachable { NOT_REACHED } else { FAILED })
        }
    }
}
