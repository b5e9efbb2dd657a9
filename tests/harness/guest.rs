//! A real guest: a Debian cloud kernel in QEMU, driven line by line over a virtio serial port. `tests/guest/init`
//! tells the protocol, `tests/guest/build` makes the image, `tests/guest/run` boots it.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    process::{Process, run},
    world::World,
};

/// How long a guest may take to boot, or to do what it was told. Its CPU is emulated, on cores that others use too, so
/// it is waited for by what it says: only a hang takes so long.
const GUEST_TIME: Duration = Duration::from_secs(600);

/// Between two looks into a guest.
const LOOK: Duration = Duration::from_millis(100);

/// What the guest has said.
#[derive(Debug, Default)]
struct Heard {
    ready: u32,
    disks: String,
    output: HashMap<u32, String>,
    done: HashMap<u32, i32>,
}

/// A running guest. It is killed when this is dropped.
#[derive(Debug)]
pub struct Guest {
    qemu: Process,
    channel: UnixStream,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

/// Commands so far, to guests in all: one that moved to another machine has those of the first under way.
static COMMANDS: AtomicU32 = AtomicU32::new(0);

/// A command under way in the guest.
#[derive(Debug, Clone, Copy)]
pub struct Running(u32);

/// The kernel and initramfs, made if they are not there.
///
/// # Panics
/// If they cannot be made.
#[must_use]
pub fn guest_image() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tests.join("../target/guest");
    let built = run(Command::new(tests.join("guest/build")).arg(&dir));
    assert_eq!(built.code, 0, "tests/guest/build: {}{}", built.out, built.err);
    dir
}

impl Guest {
    /// Boots a guest whose disks are the backends listening on `sockets`; `more` goes to QEMU.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn boot(world: &World, sockets: &[&str], more: &[String]) -> Self {
        let mut guest = Self::start_machine(world, "guest", sockets, more);
        guest.wake();
        guest
    }

    /// Starts a machine without a word to its guest, which may be elsewhere yet. Its files and sockets are named for
    /// it; its monitor is at `NAME.qmp`.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_machine(world: &World, name: &str, sockets: &[&str], more: &[String]) -> Self {
        let mut options = Vec::new();
        for socket in sockets {
            options.extend(["--disk".into(), world.path(socket).into_os_string()]);
        }
        options.push("--".into());
        options.extend(more.iter().map(Into::into));
        Self::run_machine(world, name, &options)
    }

    /// The same, with options of `tests/guest/run`.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn run_machine(world: &World, name: &str, options: &[OsString]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/run");
        let socket = world.path(&format!("{name}.channel"));
        let mut command = Command::new(script);
        command.arg("--dir").arg(guest_image()).arg("--channel").arg(&socket);
        command.arg("--console").arg(world.path(&format!("{name}.console")));
        command.arg("--qmp").arg(world.path(&format!("{name}.qmp")));
        command.args(options).stdout(Stdio::null());
        let log = world.path(&format!("{name}.log"));
        let mut qemu = Process::start(&format!("machine {name}"), &mut command, &log);
        let mut channel = None;
        qemu.wait_until("a channel", |_| {
            channel = UnixStream::connect(&socket).ok();
            channel.is_some()
        });
        let channel = channel.expect("connected");
        let heard = Arc::default();
        listen(channel.try_clone().expect("a second handle"), &heard);
        Self { qemu, channel, heard }
    }

    /// Greets the guest and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn wake(&mut self) {
        assert!(self.answers_within(GUEST_TIME), "the guest does not answer");
    }

    /// Greets the guest; whether it answers in time.
    pub fn answers_within(&mut self, patience: Duration) -> bool {
        self.say("hello");
        let heard = self.heard();
        let waited = self.heard.1.wait_timeout_while(heard, patience, |heard| heard.ready == 0);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// The disks and their sizes, as the guest sees them: `vda=BYTES …`.
    #[must_use]
    pub fn disks(&self) -> String {
        self.heard().disks.clone()
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// If it hangs.
    pub fn run(&mut self, command: &str) -> (i32, String) {
        let running = self.start(command);
        self.wait(running)
    }

    /// The output of a command that has to succeed.
    ///
    /// # Panics
    /// If it fails.
    pub fn succeed(&mut self, command: &str) -> String {
        let (code, output) = self.run(command);
        assert_eq!(code, 0, "in the guest: {command}\n{output}");
        output
    }

    /// How many writes the disk `name` has answered.
    ///
    /// # Panics
    /// If the guest has none.
    pub fn writes_done(&mut self, name: &str) -> u64 {
        let stat = self.succeed(&format!("cat /sys/block/{name}/stat"));
        stat.split_whitespace().nth(4).and_then(|field| field.parse().ok()).expect("a count")
    }

    /// Waits until the disk `name` has answered more than `count` writes.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_for_writes(&mut self, name: &str, count: u64) {
        let deadline = Instant::now() + GUEST_TIME;
        while self.writes_done(name) <= count {
            assert!(Instant::now() < deadline, "no writes in time:\n{}", self.what_runs());
            // Each look is two processes in the guest: they must not keep its one CPU from what is waited for.
            thread::sleep(LOOK);
        }
    }

    /// What runs in the guest and what it waits for, for whoever has to find out why a test hung.
    fn what_runs(&mut self) -> String {
        let command = "ps; for p in /proc/[0-9]*; do echo $p $(cat $p/comm) $(cat $p/wchan) $(cat $p/stack | head -4); done";
        format!("{}\n{:?}", self.run(command).1, self.heard())
    }

    /// Starts a command. (Of fio's, none with `--io_submit_mode=offload`: fio 3.33 then loses a wake-up at its start
    /// now and then, one time in four on a busy machine, and does nothing for ever.)
    pub fn start(&mut self, command: &str) -> Running {
        let id = COMMANDS.fetch_add(1, Ordering::Relaxed);
        self.say(&format!("run {id} {command}"));
        Running(id)
    }

    /// Whether a command has ended.
    #[must_use]
    pub fn has_ended(&self, running: Running) -> bool {
        self.heard().done.contains_key(&running.0)
    }

    /// Waits for a command: its exit code and output.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait(&mut self, Running(id): Running) -> (i32, String) {
        let mut heard = self.wait_for("the end of a command", |heard| heard.done.contains_key(&id));
        let code = heard.done.remove(&id).unwrap_or(-1);
        (code, heard.output.remove(&id).unwrap_or_default())
    }

    /// Writes bytes to a file in the guest.
    ///
    /// # Panics
    /// If the guest cannot.
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        let octal = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\0{byte:03o}");
            text
        });
        let _ = self.succeed(&format!("printf '%b' '{octal}' > {path}"));
    }

    /// Resets the machine and waits until the guest is up again. Nothing is flushed by it.
    pub fn reboot(&mut self) {
        let boots = self.heard().ready;
        self.say("reboot");
        self.wait_ready(boots + 1);
    }

    /// Powers off and waits for QEMU's end.
    pub fn power_off(mut self) {
        self.say("poweroff");
        self.qemu.wait();
    }

    /// Waits for QEMU's end, of a guest that was told to power off by a command.
    pub fn wait_for_end(mut self) {
        self.qemu.wait();
    }

    fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        assert!(line.len() <= 4096, "a line to the guest is too long");
        self.channel.write_all(line.as_bytes()).expect("the guest's port");
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_ready(&self, boots: u32) {
        drop(self.wait_for("the guest", |heard| heard.ready >= boots));
    }

    fn wait_for(&self, what: &str, mut holds: impl FnMut(&Heard) -> bool) -> MutexGuard<'_, Heard> {
        let deadline = Instant::now() + GUEST_TIME;
        let mut heard = self.heard();
        while !holds(&heard) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {GUEST_TIME:?} for {what}: {heard:?}");
            heard =
                self.heard.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        heard
    }
}

/// Takes down what the guest says, until its port closes.
fn listen(channel: UnixStream, heard: &Arc<(Mutex<Heard>, Condvar)>) {
    let heard = Arc::clone(heard);
    thread::spawn(move || {
        for line in BufReader::new(channel).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            take_down(&mut heard.0.lock().unwrap_or_else(PoisonError::into_inner), &line);
            heard.1.notify_all();
        }
    });
}

fn take_down(heard: &mut Heard, line: &str) {
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("ready"), _, disks) => {
            heard.ready += 1;
            heard.disks = disks.unwrap_or_default().to_owned();
        }
        (Some("out"), Some(id), text) => {
            let output = heard.output.entry(id.parse().unwrap_or(0)).or_default();
            output.push_str(text.unwrap_or_default());
            output.push('\n');
        }
        (Some("done"), Some(id), Some(code)) => {
            heard.done.insert(id.parse().unwrap_or(0), code.parse().unwrap_or(-1));
        }
        _ => {}
    }
}
