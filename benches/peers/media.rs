//! Where the disks lie: memory, a file system's page cache, the machine's disk.

use std::{
    fmt::{self, Display, Formatter},
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustix::fs::statfs;
use serde::Serialize;
use system_tests::process::{run, tool};
use tempfile::TempDir;

/// A kind of medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A very fast device: all that is left is CPU time.
    Tmpfs,
    /// Files hot in the page cache of an ext4.
    Ext4,
    /// The machine's disk below the page cache.
    Disk,
}

/// A medium. It goes away when this is dropped.
pub struct Medium {
    /// What it is.
    pub kind: Kind,
    // Dropped in this order.
    _mount: Option<Mount>,
    _loop: Option<LoopDevice>,
    _place: TempDir,
    dir: PathBuf,
}

const MEMORY: &str = "/dev/shm";

impl Kind {
    /// Whether everybody goes past the page cache.
    pub fn direct(self) -> bool {
        self != Self::Ext4
    }

    /// One line about it.
    pub fn description(self) -> &'static str {
        match self {
            Self::Tmpfs => {
                "tmpfs; all with O_DIRECT (cache.direct=on), which tmpfs takes and ignores"
            }
            Self::Ext4 => {
                "ext4 on a loop device, hot in the page cache; all buffered (ours --cache buffered, peers cache.direct=off)"
            }
            Self::Disk => "the machine's disk; all with O_DIRECT (cache.direct=on)",
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tmpfs => "tmpfs",
            Self::Ext4 => "ext4",
            Self::Disk => "disk",
        })
    }
}

impl Medium {
    /// Makes one; the disk's is a directory below `dir`.
    pub fn new(kind: Kind, dir: &Path) -> Result<Self> {
        const TMPFS: u32 = 0x0102_1994;
        let parent = if kind == Kind::Disk { dir } else { Path::new(MEMORY) };
        std::fs::create_dir_all(parent)?;
        let is_memory = statfs(parent)?.f_type as u32 == TMPFS;
        ensure!(is_memory == (kind != Kind::Disk), "{} is not on a {kind}", parent.display());
        let place = tempfile::Builder::new().prefix("bench-").tempdir_in(parent)?;
        let (mut mount, mut device, mut dir) = (None, None, place.path().to_owned());
        if kind == Kind::Ext4 {
            dir = place.path().join("mnt");
            std::fs::create_dir(&dir)?;
            let made = LoopDevice::new(&place.path().join("ext4"), 8 << 30)?;
            mount = Some(Mount::new(&made, &dir)?);
            device = Some(made);
        }
        Ok(Self { kind, _mount: mount, _loop: device, _place: place, dir })
    }

    /// Where files go.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A sparse file as a block device.
struct LoopDevice(String);

impl LoopDevice {
    fn new(file: &Path, len: u64) -> Result<Self> {
        File::create_new(file)?.set_len(len)?;
        let mut command = Command::new(tool("losetup", "mount"));
        command.args(["--find", "--show"]).arg(file);
        let device = Self(said(&mut command)?.trim().to_owned());
        said(Command::new(tool("mkfs.ext4", "e2fsprogs")).args(["-q", "-F", &device.0]))?;
        Ok(device)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = said(Command::new(tool("losetup", "mount")).args(["-d", &self.0])) {
            eprintln!("{} is left behind: {error:#}", self.0);
        }
    }
}

/// A mounted file system.
struct Mount(PathBuf);

impl Mount {
    fn new(device: &LoopDevice, dir: &Path) -> Result<Self> {
        said(Command::new(tool("mount", "mount")).args(["-o", "noatime"]).arg(&device.0).arg(dir))?;
        Ok(Self(dir.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = said(Command::new(tool("umount", "mount")).arg(&self.0)) {
            eprintln!("{} is left mounted: {error:#}", self.0.display());
        }
    }
}

/// What a command that had to succeed printed.
pub fn said(command: &mut Command) -> Result<String> {
    let ended = run(command);
    let name = command.get_program().to_string_lossy().into_owned();
    ensure!(ended.code == 0, "{name} fails: {}{}", ended.out, ended.err);
    Some(ended.out).context(name)
}
