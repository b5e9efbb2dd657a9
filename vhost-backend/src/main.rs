//! `vhost-backend`: one encrypted disk for one virtual machine.

use std::process::ExitCode;

use keyd_client::{Page, terminal};
use vhost_backend::{
    config::{Args, CAPABILITIES, Task},
    log,
    sandbox::syscalls::allowed,
    serve::{one_line, serve},
};

fn main() -> ExitCode {
    let args: Args = match terminal::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(ended) => return ended,
    };
    let result = args.try_into().map_err(anyhow::Error::from).and_then(|task| match task {
        Task::PrintCapabilities => Ok(terminal::print(&Page::from(CAPABILITIES))?),
        Task::Serve(config) => serve(&config, allowed),
    });
    log::tell_rest();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(one_line(&error));
            ExitCode::FAILURE
        }
    }
}
