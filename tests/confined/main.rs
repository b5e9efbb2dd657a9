//! A stand-in for a backend or a key daemon that somebody has taken over. It goes into the sandbox as that does, or
//! into a part of it, and then tries what it must not be able to do. It is also the backend, or the daemon, with a
//! call less than it needs, and shows programs a kernel that lacks a call.

mod attempt;
mod lacking;
mod who;

use std::{env, path::Path, process::ExitCode};

use attempt::{Attempt, attempt};
use clap::Parser;
use vhost_backend::{
    config::{Args, Task},
    sandbox::syscalls::allowed,
    serve::serve,
};
use who::less;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["attempt", who, layers, directory, what, more @ ..] => {
            let (who, directory) = (who.parse().expect("a program"), Path::new(directory));
            attempt(Attempt { who, layers, directory, what, more })
        }
        ["backend-without", call, ..] => backend_without(call),
        ["keyd-without", call, ..] => keyd_without(call),
        ["lacking", call, program, arguments @ ..] => lacking::run(call, program, arguments),
        _ => panic!(
            "attempt WHO LAYERS DIRECTORY WHAT, (backend|keyd)-without CALL, or lacking CALL PROGRAM"
        ),
    }
}

fn backend_without(call: &str) -> ExitCode {
    let args = Args::parse_from(env::args().skip(2));
    let Ok(Task::Serve(config)) = Task::try_from(args) else { panic!("nothing to serve") };
    match serve(&config, |wish| less(allowed(wish), Some(call))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keyd_without(call: &str) -> ExitCode {
    let allowed = |syslog| less(keyd::sandbox::calls::allowed(syslog), Some(call));
    keyd::cli::run(env::args_os().skip(2), allowed)
}
