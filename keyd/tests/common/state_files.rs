//! The files of a state directory, as somebody else sees and changes them; and what a daemon says of its audit log
//! then.

use std::{collections::BTreeMap, fs, path::Path};

use keyd_client::{DiskId, message::AuditRecord};

use super::{Keyd, attach, refusal};

/// Length of a segment, bytes: some thirty rows.
const SEGMENT: usize = 8192;

/// Rows, so many: each tells of a disk that is made. Refusals would be counted, and told together.
pub(crate) fn write_rows(keyd: &Keyd, count: usize) {
    for _ in 0..count {
        keyd.make_disk(None);
    }
}

/// A directory's files and their bytes.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn files(dir: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        files.insert(name, fs::read(entry.path()).unwrap());
    }
    files
}

/// Makes a directory what it was.
pub(crate) fn put_back(dir: &Path, before: &Files) {
    for name in files(dir).keys().filter(|name| !before.contains_key(*name)) {
        fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, bytes) in before {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// The log's segments among the files, in order of their rows.
pub(crate) fn segments(files: &Files) -> Vec<String> {
    let is_closed = |name: &&String| name.starts_with("audit-") && name.ends_with(".log");
    let closed = files.keys().filter(is_closed).cloned();
    closed.chain(["audit.log".to_owned()]).collect()
}

pub(crate) fn rows_of(files: &Files, name: &str) -> Vec<String> {
    let text = String::from_utf8(files[name].clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn seq_of(row: &str) -> u64 {
    serde_json::from_str::<AuditRecord>(row).unwrap().seq
}

pub(crate) fn joined(rows: &[String]) -> Vec<u8> {
    rows.iter().flat_map(|row| [row.as_bytes(), b"\n"].concat()).collect()
}

/// A daemon with a disk, a key that can be pulled, and a log in three segments or more.
pub(crate) fn with_segments() -> (Keyd, DiskId) {
    with_segments_and(&[])
}

/// The same with further options.
pub(crate) fn with_segments_and(more: &[&str]) -> (Keyd, DiskId) {
    let keyd = Keyd::start_with(&[&["--audit-segment", &SEGMENT.to_string()], more].concat());
    keyd.make_key_and_set(60_000);
    let disk = keyd.make_disk(Some("s"));
    write_rows(&keyd, 90);
    (keyd, disk)
}

/// No key is handed out, `audit verify` names the row and fails, and what is stored can be read.
pub(crate) fn is_broken(keyd: &Keyd, disk: DiskId, finding: &str) {
    let refused = refusal(attach(keyd, disk, false));
    assert!(refused.message.contains(finding), "{} / {finding}", refused.message);
    is_named(keyd, finding);
    assert_eq!(keyd.disk(disk).record.id, disk);
}

pub(crate) fn is_named(keyd: &Keyd, finding: &str) {
    let verified = keyd.run(&["audit", "verify"]);
    assert_eq!(verified.status.code(), Some(1));
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(said.contains(finding), "{said} / {finding}");
}

pub(crate) fn is_whole(keyd: &Keyd, disk: DiskId) {
    assert!(attach(keyd, disk, false).unwrap().dek.is_some());
    assert!(keyd.run(&["audit", "verify"]).status.success());
}
