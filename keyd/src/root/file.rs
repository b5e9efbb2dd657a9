//! The root key as it is, in a file. Whoever has this file and the store has every key: it belongs on no backup the
//! store is on.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{ROOT_LEN, RootError, RootKey};
use crate::secret_file::{self, SecretFileError};

/// Reads it.
pub(super) fn read(path: &Path) -> Result<RootKey, RootError> {
    let opened = match secret_file::read::<ROOT_LEN>(path) {
        Err(SecretFileError::Form { .. }) => return Err(RootError::Form(path.to_owned())),
        read => read?,
    };
    let bytes: &[u8; ROOT_LEN] =
        opened.expose().try_into().map_err(|_| RootError::Form(path.to_owned()))?;
    RootKey::fill_with(|page| {
        page.copy_from_slice(bytes);
        Ok(())
    })
}

/// Writes it. It is whole and durable under its name, or not there at all: it is written beside and linked into place.
pub(super) fn write(path: &Path, root: &RootKey) -> Result<(), RootError> {
    let unfinished = path.with_extension("new");
    write_new(&unfinished, root.expose()).map_err(file_error(&unfinished))?;
    fs::hard_link(&unfinished, path).map_err(file_error(path))?;
    remove(&unfinished)
}

/// Removes a root key, or what holds one; that it is gone is durable.
pub(super) fn remove(path: &Path) -> Result<(), RootError> {
    fs::remove_file(path).and_then(|()| sync_parent(path)).map_err(file_error(path))
}

/// A leftover of a start that crashed is in the way only until it is removed: it was never linked, so nothing is sealed
/// under it.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

pub(super) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> RootError {
    move |source| RootError::File { path: path.to_owned(), source }
}
