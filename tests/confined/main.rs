//! A stand-in for a backend that somebody has taken over. It goes into the sandbox as the backend does, or into a
//! part of it, and then tries what it must not be able to do. It is also the backend itself with a call less than it
//! needs, and shows programs a kernel that lacks a call.

mod attempt;
mod lacking;

use std::{env, path::Path, process::ExitCode};

use attempt::{Attempt, attempt};
use clap::Parser;
use vhost_backend::{
    config::{Args, Task},
    disk::engine::Kind,
    sandbox::syscalls::{Allowed, allowed},
    serve::serve,
};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["attempt", layers, directory, what, more @ ..] => {
            attempt(Attempt { layers, directory: Path::new(directory), what, more })
        }
        ["serve-without", call, ..] => serve_without(call),
        ["lacking", call, program, arguments @ ..] => lacking::run(call, program, arguments),
        _ => panic!("attempt LAYERS DIRECTORY WHAT, serve-without CALL, or lacking CALL PROGRAM"),
    }
}

/// The list without one entry.
fn without(kind: Kind, call: &str) -> Vec<Allowed> {
    let (mut shorter, whole) = (allowed(kind), allowed(kind).len());
    shorter.retain(|entry| entry.name != call);
    assert_eq!(shorter.len() + 1, whole, "{call} is one entry of the list");
    shorter
}

fn serve_without(call: &str) -> ExitCode {
    let args = Args::parse_from(env::args().skip(2));
    let Ok(Task::Serve(config)) = Task::try_from(args) else { panic!("nothing to serve") };
    match serve(&config, |kind| without(kind, call)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
