//! A block device over a file.

use std::{path::Path, process::Command};

use crate::process::{run, tool};

/// A loop device, as long as it lives. Takes root.
pub struct LoopDevice(String);

impl LoopDevice {
    /// One over a file.
    ///
    /// # Panics
    /// If there is none to be had.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        let made = run(losetup().args(["--find", "--show"]).arg(file));
        Self(made.success().trim().to_owned())
    }

    /// One with sectors of so many bytes.
    ///
    /// # Panics
    /// As [`LoopDevice::new`].
    #[must_use]
    pub fn of_sectors(file: &Path, bytes: u32) -> Self {
        let sectors = bytes.to_string();
        let made = run(losetup().args(["--find", "--show", "--sector-size", &sectors]).arg(file));
        Self(made.success().trim().to_owned())
    }

    /// None where this is not root: then that is said.
    #[must_use]
    pub fn if_root(file: &Path) -> Option<Self> {
        must_run::is_root_for("make a loop device").then(|| Self::new(file))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// Makes it as long as its file is by now.
    ///
    /// # Panics
    /// If that fails.
    pub fn follow_file(&self) {
        let _ = run(losetup().args(["--set-capacity", &self.0])).success();
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = run(losetup().args(["--detach", &self.0]));
    }
}

fn losetup() -> Command {
    Command::new(tool("losetup", "mount"))
}
