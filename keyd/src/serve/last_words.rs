//! What a daemon says that has panicked, before it ends: the program has a fault, or something under it. Nothing goes
//! on half: what was answered is durable, disks that run have their lease, and the supervisor starts the next.

use std::{panic, path::Path, process};

use crate::log;

/// Has every panic of this process, in whatever thread, end it with what to do next. It would end without: a program
/// that is built for use aborts (`panic = "abort"`), but that says no word on the way back.
pub(super) fn prepare() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tell(panic);
        let at = panic.location().map_or("", |at| at.file());
        log::line(format_args!("{}", way_back(Path::new(at))));
        process::abort();
    }));
}

/// redb promises no panic on a file that it has checked: should it panic all the same, it is the file.
fn way_back(at: &Path) -> &'static str {
    let mut names = at.components().filter_map(|part| part.as_os_str().to_str());
    match names.any(|name| name == "redb" || name.starts_with("redb-")) {
        true => {
            "keyd ends: store.redb cannot be read. If it ends so again when it is started again, put the state directory back from a copy, or make a new one of a backup with 'keyd restore'"
        }
        false => {
            "keyd ends, by a fault of its own: report the lines above. All that it answered is on the disk, and disks that run have their key for as long as their lease: start keyd again"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        os::unix::process::ExitStatusExt,
        process::{Command, Output},
        thread,
    };

    use super::*;

    /// Which panic a process that was started by the test below is to have.
    const WHICH: &str = "KEYD_TEST_PANICS_IN";

    fn ended_by(which: &str) -> Output {
        let own = "serve::last_words::tests::a_panic_ends_the_daemon_and_says_the_way_back";
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", own, "--nocapture"]).env(WHICH, which).output().unwrap()
    }

    #[test]
    fn a_panic_ends_the_daemon_and_says_the_way_back() {
        if let Ok(which) = env::var(WHICH) {
            prepare();
            // As a connection's thread, whose end alone nobody would notice.
            let joined = thread::spawn(move || match which.as_str() {
                "redb" => drop(redb::TableDefinition::<u8, u8>::new(&which[4..])),
                _ => panic!("the moon is full"),
            });
            return drop(joined.join());
        }
        let store = ["'keyd restore'", "put the state directory back from a copy"];
        let own = ["the moon is full", "report the lines above", "start keyd again"];
        for (which, told) in [("redb", &store[..]), ("here", &own)] {
            let ended = ended_by(which);
            let said = String::from_utf8_lossy(&ended.stderr);
            let abort = Some(rustix::process::Signal::ABORT.as_raw());
            assert_eq!(ended.status.signal(), abort, "{which}: {said}");
            told.iter().for_each(|text| assert!(said.contains(text), "{which}: {said}"));
        }
    }
}
