//! `vhost-backend`: one encrypted disk for one virtual machine.

use std::process::ExitCode;

use clap::Parser;
use vhost_backend::{
    config::{Args, CAPABILITIES, Task},
    sandbox::syscalls::allowed,
    serve::{one_line, serve},
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
