//! What makes a process with keys in its memory a worse target. Cheap, and done before the first key exists.

use rustix::{
    fs::Mode,
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};

use crate::{limits::OPEN_FILES, log};

/// Files are the owner's alone; no core dumps; no tracing by other processes of the same user (prctl(2),
/// PR_SET_DUMPABLE). A step that the system refuses is said and passed over: the daemon's own files have explicit
/// modes.
pub fn process() {
    umask(Mode::RWXG | Mode::RWXO);
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(errno) = setrlimit(Resource::Core, no_core) {
        log::line(format_args!("core dumps could not be switched off: {errno}"));
    }
    if let Err(errno) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        log::line(format_args!("tracing could not be switched off: {errno}"));
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
