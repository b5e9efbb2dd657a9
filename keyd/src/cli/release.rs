//! `keyd disk release-key`: from the locked page to a new file, with no copy between.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use keyd_client::{DiskId, message::DiskReleaseKey};

use super::{Error, Exit, console::Console};
use crate::harden;

/// The file is made first: a name that is taken is refused before the key is released, and so before it is recorded as
/// released.
pub(super) fn run(console: &Console, id: DiskId, to: &Path) -> Result<Exit, Error> {
    harden::process();
    let cannot = |error: io::Error| -> Error {
        format!(
            "cannot write {}: {error}; give a file that does not exist, in a directory that does",
            to.display()
        )
        .into()
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(cannot)?;
    let released = fetch(console, id, &mut file, to);
    if released.is_err() {
        // Of no use, and its own error would hide the cause.
        let _ = fs::remove_file(to);
    }
    released?;
    console.print(&serde_json::json!({ "id": id, "file": to }), |_| {
        format!("the plaintext key of disk {id} is in {}: who has it has the disk", to.display())
    })
}

fn fetch(console: &Console, id: DiskId, file: &mut File, to: &Path) -> Result<(), Error> {
    let ((), dek) = console.ask_for_dek(DiskReleaseKey { id })?;
    file.write_all(dek.expose())?;
    file.sync_all()?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}
