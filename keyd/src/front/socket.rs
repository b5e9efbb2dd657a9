//! The listening socket: made where nothing is, in place of one nobody listens at, and nowhere else.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use confine::paths::directory;
use keyd_client::PathTooLong;
use thiserror::Error;

use crate::files::{FileId, Found, Loss};

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Someone answers there.
    #[error("a keyd is listening at {0} already: stop it, or give this one another --socket")]
    Live(PathBuf),
    /// Something else has the name.
    #[error("{0} exists and is no socket: give another --socket, it is left as it is")]
    NoSocket(PathBuf),
    /// No socket can have such a name.
    #[error(transparent)]
    Path(#[from] PathTooLong),
    /// The system's.
    #[error(
        "cannot listen at {path}: {source}; does its directory exist, and may you write there?"
    )]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens at a path, with these permission bits from the first moment on: the process's umask keeps others out until
/// they are set.
///
/// # Errors
/// [`SocketError`].
pub fn listen(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    let system = |source| SocketError::System { path: path.to_owned(), source };
    PathTooLong::check(path)?;
    clear(path)?;
    let listener = UnixListener::bind(path).map_err(system)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(system)?;
    listener.set_nonblocking(true).map_err(system)?;
    Ok(listener)
}

/// The socket's name, which leads to it until somebody takes it away: then nobody reaches the daemon by it any more.
#[derive(Debug)]
pub struct Name {
    path: PathBuf,
    id: FileId,
}

impl Name {
    /// Of a socket that was made a moment ago.
    ///
    /// # Errors
    /// [`SocketError::System`].
    pub fn of(path: &Path) -> Result<Self, SocketError> {
        let system = |source| SocketError::System { path: path.to_owned(), source };
        let about = fs::symlink_metadata(path).map_err(system)?;
        Ok(Self { path: path.to_owned(), id: Found::from(&about).id })
    }

    /// What became of it, if it does not lead there any more.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        let found = match fs::symlink_metadata(&self.path) {
            Ok(about) => Ok(Some(Found::from(&about))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Loss::of(&self.path.display().to_string(), self.id, &found)
    }

    /// Removes it, unless it is somebody else's by now. What stays behind is recognised as stale by the next start.
    pub fn remove(&self) {
        if self.loss().is_none() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the directory of the socket where there is none, and tells whether it did: `/run/keyd` is gone after every
/// boot. Only the last directory is made, open to be passed through: the socket has its own mode.
///
/// # Errors
/// [`SocketError::System`].
pub fn make_directory(path: &Path) -> Result<bool, SocketError> {
    let parent = directory(path);
    let made = match DirBuilder::new().mode(0o755).create(&parent) {
        Ok(()) => fs::set_permissions(&parent, Permissions::from_mode(0o755)).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    };
    made.map_err(|source| SocketError::System { path: path.to_owned(), source })
}

fn clear(path: &Path) -> Result<(), SocketError> {
    let system = |source| SocketError::System { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(system(error)),
        Ok(about) if !about.file_type().is_socket() => Err(SocketError::NoSocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(system)
            }
            Err(error) => Err(system(error)),
            Ok(_) => Err(SocketError::Live(path.to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_too_long_for_a_socket_is_told_with_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let longest = |len: usize| {
            let name = len - dir.path().as_os_str().len() - 1;
            dir.path().join("s".repeat(name))
        };
        assert!(listen(&longest(107), 0o600).is_ok());
        let error = listen(&longest(108), 0o600).unwrap_err().to_string();
        assert!(error.contains("107 bytes") && error.contains("has 108"), "{error}");
    }

    #[test]
    fn a_name_that_is_taken_away_is_missed_and_another_daemons_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyd.sock");
        let _first = listen(&path, 0o600).unwrap();
        let name = Name::of(&path).unwrap();
        assert_eq!(name.loss(), None);
        fs::remove_file(&path).unwrap();
        assert!(matches!(name.loss(), Some(Loss::Gone(_))));
        let _second = listen(&path, 0o600).unwrap();
        assert!(matches!(name.loss(), Some(Loss::Replaced(_))));
        name.remove();
        assert!(path.exists());
        Name::of(&path).unwrap().remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_a_live_one_refused_a_file_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/keyd.sock");
        assert!(make_directory(&path).unwrap() && !make_directory(&path).unwrap());
        assert_eq!(fs::metadata(directory(&path)).unwrap().permissions().mode() & 0o777, 0o755);
        let first = listen(&path, 0o600).unwrap();
        assert!(matches!(listen(&path, 0o600), Err(SocketError::Live(_))));
        drop(first);
        let second = listen(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(second);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(listen(&path, 0o600), Err(SocketError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
