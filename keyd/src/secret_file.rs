//! Files that hold a secret: read only if nobody else could have read them.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use keyd_client::dek::page::PageError;
use thiserror::Error;

use crate::opened::Opened;

/// Why a secret is not taken from a file.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "{path} has mode {mode:04o}, so others may have read it: 'chmod 600' it, and consider what it holds known"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a regular file, or too long for what it should hold.
    #[error("{path} is not a regular file of at most {max} bytes")]
    Form {
        /// The file.
        path: PathBuf,
        /// Bytes.
        max: usize,
    },
    /// No page for a secret.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// Reads a file of at most `MAX` bytes into a locked page.
///
/// # Errors
/// [`SecretFileError`].
pub fn read<const MAX: usize>(path: &Path) -> Result<Opened<MAX>, SecretFileError> {
    let failed = |source| SecretFileError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let mode = about.mode() & 0o7777;
    if !about.is_file() || about.len() > MAX as u64 {
        return Err(SecretFileError::Form { path: path.to_owned(), max: MAX });
    }
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Mode { path: path.to_owned(), mode });
    }
    Opened::fill_with(|page| {
        let mut len = 0;
        while len < MAX {
            match file.read(&mut page[len..]).map_err(failed)? {
                0 => break,
                read => len += read,
            }
        }
        Ok(len)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_a_short_regular_file_of_the_owners_alone_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "12345678").unwrap();
        let told = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match read::<8>(&path) {
                Ok(opened) => String::from_utf8(opened.expose().to_vec()).unwrap(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(told(0o600), "12345678");
        assert_eq!(told(0o400), "12345678");
        assert!(told(0o640).contains("has mode 0640"));
        assert!(told(0o604).contains("has mode 0604"));
        fs::write(&path, "123456789").unwrap();
        assert!(told(0o600).contains("at most 8 bytes"));
        assert!(matches!(read::<8>(dir.path()), Err(SecretFileError::Form { .. })));
        assert!(matches!(read::<8>(&path.join("no")), Err(SecretFileError::Read { .. })));
    }
}
