//! A file system that is soon full.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use keyd_client::message::EncryptionType;

use crate::{
    process::{run, tool},
    world::{TERMS, World},
};

/// Bytes it has room for, more or less.
const SIZE: u64 = 40 << 20;

/// The same of XFS, which cannot be so small.
const XFS_SIZE: u64 = 320 << 20;

/// What is left of it when a [disk](small_disk) begins to use it: less than that has in the end.
pub const LEFT: u64 = 2 << 20;

/// Whether there can be one; says so if not.
#[must_use]
pub fn may_mount() -> bool {
    must_run::is_root_for("mount a file system")
}

/// A disk `d` on a file system of a kind.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn small_disk(kind: &str, size: &str) -> (World, SmallFs) {
    let world = World::new();
    let fs = SmallFs::new(kind, &world.path("small"));
    world.make_set("d", EncryptionType::CustomerKey, TERMS);
    let _ = world.image(&format!("create small/d.img --size {size} --des d")).success();
    std::os::unix::fs::symlink("small/d.img", world.path("d.img")).expect("a name is free");
    fs.fill(LEFT);
    (world, fs)
}

/// A small file system of its own, gone with this.
pub struct SmallFs {
    at: PathBuf,
    ballast: PathBuf,
}

impl SmallFs {
    /// Mounts one of a kind, `tmpfs` or one that `mkfs` knows, at `at`. Takes root.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(kind: &str, at: &Path) -> Self {
        std::fs::create_dir(at).expect("a directory");
        let mut mount = Command::new(tool("mount", "mount"));
        if kind == "tmpfs" {
            mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"]);
        } else {
            let device = at.with_extension(kind);
            let (size, package, more) = match kind {
                "xfs" => (XFS_SIZE, "xfsprogs", "reflink=1"),
                _ => (SIZE, "e2fsprogs", "0"),
            };
            File::create(&device).and_then(|file| file.set_len(size)).expect("a file");
            let mut mkfs = Command::new(tool(&format!("mkfs.{kind}"), package));
            let _ = run(mkfs.args(["-q", "-m", more]).arg(&device)).success();
            mount.args(["-o", "loop"]).arg(&device);
        }
        let _ = run(mount.arg(at)).success();
        Self { at: at.to_owned(), ballast: at.join("ballast") }
    }

    /// Fills it until no more than `left` bytes are free.
    ///
    /// # Panics
    /// If it cannot be filled.
    pub fn fill(&self, left: u64) {
        let mut file = File::create(&self.ballast).expect("a name is free");
        let mut bytes = &[1; 64 << 10][..];
        let mut len = 0;
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(count) => len += count as u64,
                Err(_) => bytes = &bytes[..bytes.len() / 2],
            }
        }
        file.set_len(len - left).and_then(|()| file.sync_all()).expect("given back");
    }

    /// Makes room again.
    ///
    /// # Panics
    /// If it was not full.
    pub fn make_room(&self) {
        std::fs::remove_file(&self.ballast).expect("it was filled");
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        // A lazy one: a backend may have its image open still.
        let _ = run(Command::new(tool("umount", "mount")).arg("-l").arg(&self.at));
    }
}
