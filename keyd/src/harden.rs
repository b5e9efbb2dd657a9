//! What makes a process with keys in its memory a worse target. Cheap, and done before the first key exists.

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};

use crate::{limits::OPEN_FILES, log};

/// Files are the owner's alone; no dumps and no tracing ([`confine::harden`]). A step that the system refuses is said
/// and passed over: the daemon's own files have explicit modes.
pub fn process() {
    umask(Mode::RWXG | Mode::RWXO);
    if let Err(error) = confine::harden() {
        log::line(format_args!("dumps and tracing could not be switched off: {error}"));
    }
    raise_open_files();
}

fn raise_open_files() {
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(OPEN_FILES, |max| max.min(OPEN_FILES));
    let enough = now.current.is_none_or(|current| current >= wanted);
    let raised = Rlimit { current: Some(wanted), ..now };
    if !enough && let Err(errno) = setrlimit(Resource::Nofile, raised) {
        log::line(format_args!("the limit of open files stays low: {errno}"));
    }
}
