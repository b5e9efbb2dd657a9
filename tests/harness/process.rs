//! Programs run as themselves: found, started, listened to, and ended whatever becomes of the test.

use std::{
    fs::{self, File},
    io::{Read, Seek},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// How long a program may take to say or do what is expected of it. Only a hang takes so long: on a machine whose cores
/// are shared with other runs a test that waits less fails for nothing.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long a command may run. The longest, the making of the guest, downloads a kernel.
const RUN_TIME: Duration = Duration::from_secs(600);

/// Asks until there is an answer.
///
/// # Panics
/// If there is none in time.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} in time");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program of this workspace, from the directory that the test itself was built into.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let built =
        test.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.exists());
    built.unwrap_or_else(|| {
        panic!("{name} is not built: run 'cargo build --workspace --bins' first")
    })
}

/// A program of the system's.
///
/// # Panics
/// If it is not installed.
#[must_use]
pub fn tool(name: &str, package: &str) -> PathBuf {
    let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed: apt-get install {package}"))
}

/// Copies a program to where others may run it. By a process of its own: another thread of this one may make a child
/// while the copy is open for writing here, and until that child runs its own program the kernel runs no copy that it
/// has open, too (ETXTBSY).
///
/// # Panics
/// If it cannot be copied.
pub fn copy_program(from: &Path, to: &Path) {
    let _ = run(Command::new(tool("cp", "coreutils")).arg(from).arg(to)).success();
}

/// A command under a limit of the shell's (`-n FILES`, `-l KIBIBYTES` of locked memory).
#[must_use]
pub fn limited(limit: &str, of: &Command) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"]);
    command.arg(of.get_program()).args(of.get_args());
    command
}

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    /// Where in the log this run begins: earlier runs of the same program wrote before.
    log_start: usize,
}

impl Process {
    /// Starts a program with its stderr in `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let stderr = File::options().create(true).append(true).open(log).expect("the log opens");
        let log_start = fs::read(log).map_or(0, |said| said.len());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Self { child, name: name.to_owned(), log: log.to_owned(), log_start }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on stderr so far.
    ///
    /// # Panics
    /// If the log is gone.
    #[must_use]
    pub fn said(&self) -> String {
        self.listener()()
    }

    /// Tells what it has said so far, as often as it is asked.
    pub fn listener(&self) -> impl Fn() -> String + use<> {
        let (log, start) = (self.log.clone(), self.log_start);
        move || {
            let said = fs::read(&log).expect("the log is there");
            String::from_utf8_lossy(&said[start..]).into_owned()
        }
    }

    /// When it last said something.
    ///
    /// # Panics
    /// If the log is gone.
    #[must_use]
    pub fn spoke_last(&self) -> SystemTime {
        let log = fs::metadata(&self.log).and_then(|about| about.modified());
        log.expect("the log is there")
    }

    /// Waits until it has said something.
    ///
    /// # Panics
    /// If it ends, or says nothing of the kind in time.
    pub fn wait_to_say(&mut self, what: &str) {
        self.wait_until(what, |process| process.said().contains(what));
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// If it ends first, or the time is up.
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("{} ended with {status} before '{what}':\n{}", self.name, self.said());
            }
            assert!(
                Instant::now() < deadline,
                "{}: no '{what}' in time:\n{}",
                self.name,
                self.said()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process cannot be signalled.
    pub fn signal(&self, signal: Signal) {
        self.signaller()(signal);
    }

    /// Sends it signals, from wherever.
    pub fn signaller(&self) -> impl Fn(Signal) + use<> {
        let pid = Pid::from_child(&self.child);
        move |signal| kill_process(pid, signal).expect("our own child can be signalled")
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end:\n{}", self.name, self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Kills it, and waits.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "---- {} said:\n{}",
                self.name,
                fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
    }
}

/// What a command that ran to its end said and gave.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// The output of a command that had to succeed.
    ///
    /// # Panics
    /// If it failed.
    #[must_use]
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// The error of a command that had to fail.
    ///
    /// # Panics
    /// If it succeeded.
    #[must_use]
    pub fn failure(self) -> String {
        assert_ne!(self.code, 0, "{}{}", self.out, self.err);
        self.err
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started, or does not end.
pub fn run(command: &mut Command) -> Ended {
    run_within(command, RUN_TIME)
}

/// Who waited for the end of its output would wait for its children, too: it goes to files.
fn run_within(command: &mut Command, time: Duration) -> Ended {
    let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().expect("a file"));
    let handle = |file: &File| file.try_clone().expect("a second handle");
    command.stdin(Stdio::null()).stdout(handle(&out)).stderr(handle(&err));
    let spawned = command.spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("running {command:?}: {error}"));
    let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("our own child");
    let time = Timespec::try_from(time).expect("a short time");
    let ready = poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&time)).expect("poll");
    if ready == 0 {
        child.kill().expect("our own child can be killed");
    }
    let status = child.wait().expect("a child can be waited for");
    let code = status.code().unwrap_or(-1);
    let ended = Ended { code, out: text_of(&mut out), err: text_of(&mut err) };
    assert_ne!(ready, 0, "{command:?} does not end:\n{}{}", ended.out, ended.err);
    ended
}

fn text_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("our own file");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_program_that_was_copied_runs_whatever_other_threads_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let (stop, own) = (AtomicBool::new(false), std::env::current_exe().expect("a path"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let _ = run(&mut Command::new("true"));
                    }
                });
            }
            let busy = (0..100).filter(|round| {
                let copy = dir.path().join(round.to_string());
                copy_program(&own, &copy);
                let spawned = Command::new(&copy).arg("--list").stdout(Stdio::null()).spawn();
                let is_busy = spawned.map(|mut child| child.wait()).is_err();
                fs::remove_file(copy).expect("our own");
                is_busy
            });
            let busy = busy.count();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(busy, 0, "times the text file was busy");
        });
    }

    #[test]
    #[should_panic(expected = "does not end:\nbegan")]
    fn a_command_that_does_not_end_is_ended_and_what_it_said_is_told() {
        let hangs = "echo began; exec sleep 1000";
        run_within(Command::new("sh").args(["-c", hangs]), Duration::from_millis(500));
    }

    #[test]
    fn what_a_command_leaves_running_is_not_waited_for() {
        let leaves = "(sleep 20; echo late) & echo out; echo err >&2; exit 3";
        let ended = run(Command::new("sh").args(["-c", leaves]));
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (3, "out\n", "err\n"));
    }
}
