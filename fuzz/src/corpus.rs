//! The kept inputs of a target.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where a target's inputs lie.
#[must_use]
pub fn dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// A target's inputs, in the order of their names.
///
/// # Panics
/// If they cannot be read.
#[must_use]
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir(target)).expect("the target has a corpus");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("an input")).collect()
}
