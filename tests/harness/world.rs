//! A host in a temporary directory: a key daemon, images, backends. Everything ends with it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::process::{Ended, Process, program, run};

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

    /// Starts the daemon and waits until it answers.
    pub fn start_keyd(&mut self) {
        let mut command = Command::new(program("keyd"));
        command.arg("serve").arg("--state-dir").arg(self.path("state"));
        command.arg("--socket").arg(self.socket());
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

    /// Runs an `image` command in the host's directory.
    pub fn image(&self, arguments: &str) -> Ended {
        let mut command = Command::new(program("image"));
        run(command
            .args(arguments.split_whitespace())
            .env("KEYD_SOCKET", self.socket())
            .current_dir(self.dir.path()))
    }

    /// Makes a key and a DES `name`, and an image `name.img` of `size` under it. Gives the disk's id.
    ///
    /// # Panics
    /// If any of it fails.
    #[must_use]
    pub fn make_disk(&self, name: &str, size: &str, more: &str) -> String {
        if self.keyd(&format!("des show {name}")).code != 0 {
            let _ = self.keyd(&format!("key create {name} --bits 2048")).success();
            let _ = self.keyd(&format!("des create {name} --key {name} --lease 3s")).success();
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

    /// A command that serves `name.img` on `name.sock`.
    #[must_use]
    pub fn backend_command(&self, name: &str, more: &str) -> Command {
        let mut command = Command::new(program("vhost-backend"));
        command.arg("--socket-path").arg(self.path(&format!("{name}.sock")));
        command.arg("--blk-file").arg(self.path(&format!("{name}.img")));
        command.arg("--keyd").arg(self.socket()).args(more.split_whitespace());
        command
    }

    /// Serves `name.img` on `name.sock`, and waits until it does.
    #[must_use]
    pub fn start_backend(&self, name: &str, more: &str) -> Process {
        let log = self.path(&format!("{name}.log"));
        let mut backend =
            Process::start("vhost-backend", &mut self.backend_command(name, more), &log);
        backend.wait_to_say("serving");
        backend
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
