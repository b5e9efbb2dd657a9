//! A host in a temporary directory: a key daemon, images, backends. Everything ends with it.

use std::{
    fmt::Debug,
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use keyd_client::{
    Client, ClientError, KeyId, Principal, Scope,
    message::{
        Ask, DesCreate, DiskCreate, Edit, EncryptionType, Geometry, GrantEdit, Holes, KeyCreate,
        OnExpiry, OnRevoke, Terms, Weighed,
    },
    permission::Permission,
};
use rustix::{process::Uid, thread::set_thread_uid};
use tempfile::TempDir;

use crate::{
    front_end::{FrontEnd, Options},
    process::{Ended, Process, copy_program, program, run},
};

/// The terms of sets whose terms are not what a test is about. The lease is as short as a busy machine allows.
pub const TERMS: Terms = Terms {
    on_revoke: OnRevoke::Park,
    lease_ms: 3000,
    grace_ms: 0,
    on_expiry: OnExpiry::RefuseNew,
};

/// `nobody`: a user who is not the administrator.
pub const NOBODY: u32 = 65534;

/// The environment variable by which a run of tests is one with another `--engine`: `scripts/test` runs a few so.
const ENGINE: &str = "TEST_ENGINE";

/// A host.
#[derive(Debug)]
pub struct World {
    /// The daemon, while it runs. Ends before the directory goes.
    pub keyd: Option<Process>,
    dir: TempDir,
}

impl World {
    /// A host with a running key daemon and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    /// The same, with its files in a directory below `parent`.
    ///
    /// # Panics
    /// If the directory cannot be made.
    #[must_use]
    pub fn in_dir(parent: &Path) -> Self {
        let dir =
            tempfile::Builder::new().prefix("portcullis-").tempdir_in(parent).expect("a directory");
        let mut world = Self { keyd: None, dir };
        world.start_keyd();
        world
    }

    /// A path in the host's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("keyd.sock")
    }

    /// A command that runs the daemon.
    #[must_use]
    pub fn keyd_command(&self, more: &str) -> Command {
        let mut command = Command::new(program("keyd"));
        command.arg("serve").arg("--state-dir").arg(self.path("state"));
        command.arg("--socket").arg(self.socket()).args(more.split_whitespace());
        command
    }

    /// Starts the daemon and waits until it answers.
    pub fn start_keyd(&mut self) {
        self.start_keyd_by(self.keyd_command(""));
    }

    /// The same, by another command.
    pub fn start_keyd_by(&mut self, mut command: Command) {
        let mut keyd = Process::start("keyd", &mut command, &self.path("keyd.log"));
        let socket = self.socket();
        keyd.wait_until("a socket", |_| std::os::unix::net::UnixStream::connect(&socket).is_ok());
        self.keyd = Some(keyd);
    }

    /// Runs a `keyd` command.
    pub fn keyd(&self, arguments: &str) -> Ended {
        let mut command = Command::new(program("keyd"));
        run(command
            .args(arguments.split_whitespace())
            .env("KEYD_SOCKET", self.socket())
            .current_dir(self.dir.path()))
    }

    /// Asks the daemon something that it has to do.
    ///
    /// # Panics
    /// If it refuses.
    pub fn ask<A: Ask>(&self, ask: A) -> A::Reply {
        self.try_ask(ask).unwrap_or_else(|error| panic!("keyd refuses: {error}"))
    }

    /// Asks the daemon for a change that may be told only; this one is made. What follows for holders is told.
    ///
    /// # Panics
    /// If it refuses, or only tells.
    pub fn change<T: Debug, A: Ask<Reply = Weighed<T>>>(&self, ask: A) -> T {
        match self.ask(ask) {
            Weighed::Done(done) => done,
            Weighed::Would(impact) => panic!("{impact:?}"),
        }
    }

    /// Asks the daemon.
    ///
    /// # Errors
    /// It refuses, or is not there.
    pub fn try_ask<A: Ask>(&self, ask: A) -> Result<A::Reply, ClientError> {
        Client::connect(&self.socket())?.ask(ask)
    }

    /// Asks the daemon as another user, which takes root: the kernel tells the daemon who the connecting thread is.
    ///
    /// # Errors
    /// As [`World::try_ask`].
    ///
    /// # Panics
    /// If this is not root.
    pub fn ask_as<A: Ask<Reply: Send> + Send>(
        &self,
        uid: u32,
        ask: A,
    ) -> Result<A::Reply, ClientError> {
        self.open_to_others();
        // A user id is a thread's own to the kernel, and this thread ends with its errand.
        let errand = || {
            set_thread_uid(Uid::from_raw(uid)).expect("root can become anybody");
            self.try_ask(ask)
        };
        thread::scope(|scope| scope.spawn(errand).join().expect("the errand was run"))
    }

    /// Says what a user may do with the disks of a set, and nothing else.
    ///
    /// # Panics
    /// If that fails.
    pub fn grant(&self, uid: u32, set: &str, permissions: &[Permission]) {
        let permissions = permissions.iter().copied().collect();
        let scope = Some(Scope::Set(set.parse().expect("a name of a set")));
        let (principal, edit, future) = (Principal::User(uid), Edit::Replace, false);
        self.ask(GrantEdit { principal, edit, permissions, scope, future });
    }

    /// Lets other users in: to the daemon's socket, and to make sockets of their own.
    ///
    /// # Panics
    /// If that fails.
    pub fn open_to_others(&self) {
        for (path, mode) in [(self.path(""), 0o777), (self.socket(), 0o666)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own");
        }
    }

    /// Runs an `image` command in the host's directory.
    pub fn image(&self, arguments: &str) -> Ended {
        let mut command = Command::new(program("image"));
        run(command
            .args(arguments.split_whitespace())
            .env("KEYD_SOCKET", self.socket())
            .current_dir(self.dir.path()))
    }

    /// Makes a key of 2048 bits and a set on it, both called `name`.
    ///
    /// # Panics
    /// If any of it fails.
    pub fn make_set(&self, name: &str, encryption: EncryptionType, terms: Terms) {
        let key: KeyId = name.parse().expect("a name of a key");
        self.ask(KeyCreate { name: key.clone(), bits: 2048, hsm: false });
        let name = name.parse().expect("a name of a set");
        let (version, auto_rotate, permit) = (None, true, true);
        self.ask(DesCreate { name, key, version, encryption, terms, auto_rotate, permit });
    }

    /// Makes records of disks without images in a set: all that a rotation is about.
    ///
    /// # Panics
    /// If that fails.
    pub fn make_records(&self, set: &str, count: u64) {
        let mut client = Client::connect(&self.socket()).expect("a daemon");
        let des = Some(set.parse().expect("a name of a set"));
        let holes = Holes::Zeros;
        let geometry = Geometry { sector_size: 512, data_offset: 16 << 20, size: 1 << 20, holes };
        let create = DiskCreate { des, geometry };
        for _ in 0..count {
            let _ = client.ask(create.clone()).expect("made");
        }
    }

    /// Takes a key away, whatever is hit.
    ///
    /// # Panics
    /// If that fails.
    pub fn disable(&self, key: &str) {
        let _ = self.keyd(&format!("key disable {key} --force")).success();
    }

    /// Brings a key back.
    ///
    /// # Panics
    /// If that fails.
    pub fn enable(&self, key: &str) {
        let _ = self.keyd(&format!("key enable {key}")).success();
    }

    /// Makes a key and a DES `name`, if there is none, and an image `name.img` of `size` under it. Gives the disk's id.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn make_disk(&self, name: &str, size: &str, more: &str) -> String {
        if self.keyd(&format!("des show {name}")).code != 0 {
            self.make_set(name, EncryptionType::CustomerKey, TERMS);
        }
        let _ =
            self.image(&format!("create {name}.img --size {size} --des {name} {more}")).success();
        self.disk_id(&self.path(&format!("{name}.img")))
    }

    /// The id in an image's header.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn disk_id(&self, image: &Path) -> String {
        let mut bytes = vec![0; 208];
        std::os::unix::fs::FileExt::read_exact_at(
            &std::fs::File::open(image).expect("an image"),
            &mut bytes,
            0,
        )
        .expect("a header");
        String::from_utf8_lossy(&bytes[168..204]).into_owned()
    }

    /// The plaintext DEK of a disk.
    ///
    /// # Panics
    /// If it is not given out.
    #[must_use]
    pub fn release_key(&self, id: &str) -> Vec<u8> {
        let file = self.path("vk");
        let _ = self.keyd(&format!("disk release-key {id} --to {}", file.display())).success();
        fs::read(file).expect("a key")
    }

    /// A command that serves `name.img` on `name.sock`.
    #[must_use]
    pub fn backend_command(&self, name: &str, more: &str) -> Command {
        self.backend_command_to(&self.socket(), name, more)
    }

    /// The same, with another way to the daemon.
    #[must_use]
    pub fn backend_command_to(&self, keyd: &Path, name: &str, more: &str) -> Command {
        let mut command = Command::new(program("vhost-backend"));
        command.arg("--socket-path").arg(self.path(&format!("{name}.sock")));
        command.arg("--blk-file").arg(self.path(&format!("{name}.img")));
        command.arg("--keyd").arg(keyd).args(more.split_whitespace());
        if let Ok(engine) = std::env::var(ENGINE)
            && !more.contains("--engine")
        {
            command.arg("--engine").arg(engine);
        }
        command
    }

    /// Serves `name.img` on `name.sock`, and waits until it does.
    #[must_use]
    pub fn start_backend(&self, name: &str, more: &str) -> Process {
        self.start_backend_to(&self.socket(), name, more)
    }

    /// The same, with another way to the daemon.
    #[must_use]
    pub fn start_backend_to(&self, keyd: &Path, name: &str, more: &str) -> Process {
        self.serve(name, self.backend_command_to(keyd, name, more))
    }

    /// The same, as another user, who is given the image. Takes root.
    ///
    /// # Panics
    /// If this is not root.
    #[must_use]
    pub fn start_backend_as(&self, uid: u32, name: &str) -> Process {
        self.serve(name, self.backend_command_as(uid, name, ""))
    }

    /// A command that does that, and has `more` arguments.
    ///
    /// # Panics
    /// As [`World::start_backend_as`].
    #[must_use]
    pub fn backend_command_as(&self, uid: u32, name: &str, more: &str) -> Command {
        self.open_to_others();
        chown(self.path(&format!("{name}.img")), Some(uid), Some(uid)).expect("this is root");
        // Where the build lies may be closed to others.
        let copy = self.path("vhost-backend");
        if !copy.exists() {
            copy_program(&program("vhost-backend"), &copy);
        }
        let mut command = Command::new(copy);
        command.args(self.backend_command(name, more).get_args()).uid(uid).gid(uid);
        command
    }

    /// A plain front end on `name.sock`.
    #[must_use]
    pub fn front_end(&self, name: &str) -> FrontEnd {
        FrontEnd::connect(&self.path(&format!("{name}.sock")), Options::default())
    }

    fn serve(&self, name: &str, mut command: Command) -> Process {
        let log = self.path(&format!("{name}.log"));
        let mut backend = Process::start("vhost-backend", &mut command, &log);
        backend.wait_to_say("serving");
        backend
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
