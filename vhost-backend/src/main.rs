//! `vhost-backend`: one encrypted disk for one virtual machine.

use std::process::ExitCode;

use clap::Parser;
use vhost_backend::{
    config::{Args, CAPABILITIES, Task},
    sandbox::syscalls::allowed,
    serve::serve,
};

fn main() -> ExitCode {
    let result =
        Args::parse().try_into().map_err(anyhow::Error::from).and_then(|task| match task {
            Task::PrintCapabilities => {
                println!("{CAPABILITIES}");
                Ok(())
            }
            Task::Serve(config) => serve(&config, allowed),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vhost-backend: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, once each: many messages name their cause already.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| {
        match (line.is_empty(), line.contains(&cause)) {
            (true, _) => cause,
            (false, true) => line,
            (false, false) => format!("{line}: {cause}"),
        }
    })
}
