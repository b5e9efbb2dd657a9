//! Sources as text.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Sources of the product; tests and benches are held to the sizes, not to the secrets.
pub const PRODUCT: [&str; 5] =
    ["confine/src", "keyd/client/src", "images/src", "keyd/src", "vhost-backend/src"];
pub const OTHERS: [&str; 6] =
    ["tests", "benches", "fuzz", "keyd/tests", "images/tests", "keyd/client/tests"];

pub struct Source {
    pub path: String,
    pub text: String,
    /// The text without its test modules: sizes and bans are about what ships.
    pub shipped: String,
}

impl Source {
    /// A file that is a test module as a whole.
    pub fn is_test(&self) -> bool {
        let is_test = |part: &str| part.ends_with("tests") || part == "testing";
        self.path.split('/').any(|part| is_test(part.trim_end_matches(".rs")))
    }
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn sources(dirs: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for dir in dirs {
        collect(&root().join(dir), &mut found);
    }
    assert!(!found.is_empty());
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().display().to_string();
            let shipped = text.split("\n#[cfg(test)]\n").next().unwrap_or_default().to_owned();
            found.push(Source { path, text, shipped });
        }
    }
}

pub fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

pub fn is_in(path: &str, list: &[&str]) -> bool {
    list.iter().any(|place| path.starts_with(place))
}

/// Lines with `word` outside comments.
pub fn uses<'s>(source: &'s str, word: &str) -> Vec<&'s str> {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//") && line.contains(word))
        .collect()
}
