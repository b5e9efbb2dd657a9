//! The root key: 32 random bytes in a file of their own, under which every private key is sealed with AES-256-GCM
//! (NIST SP 800-38D). Whoever has this file and the store has every key: it belongs on no backup the store is on.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use keyd_client::{
    KeyVersion, Locked,
    dek::page::{PageError, scrub_stack},
};
use thiserror::Error;

use crate::{
    kek::{PrivateDer, SealedKey},
    opened::Opened,
};

/// Bytes of the root key.
const ROOT_LEN: usize = 32;

/// Longest private key, bytes: RSA-4096 in PKCS#8 has about 2400, and the tag is added.
const PRIVATE_LEN_MAX: usize = 4096;

/// Why there is no root key, or a private key cannot be opened with it.
#[derive(Debug, Error)]
pub enum RootError {
    /// A store without its root key.
    #[error(
        "the root key {0} is missing, and the keys in the store are sealed under it: put it back from its copy"
    )]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("the root key {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "the root key {path} has mode {mode:04o}, so others may have read it: 'chmod 600' it, and consider its keys known"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 32 bytes of a regular file.
    #[error("the root key {0} is not a file of {ROOT_LEN} bytes: put it back from its copy")]
    Form(PathBuf),
    /// No random bytes.
    #[error("no random bytes for a key")]
    Random,
    /// AES-GCM failed: another root key, another name or version, or a changed byte.
    #[error(
        "the private key of '{0}' cannot be opened: the root key is another one, or the store was changed: put back the copy that belongs with the other"
    )]
    Sealed(String),
    /// A private key over the limit.
    #[error("a private key is longer than {PRIVATE_LEN_MAX} bytes")]
    TooLong,
    /// No page for a secret.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// The root key.
pub struct RootKey(Locked<[u8; ROOT_LEN]>);

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(secret)")
    }
}

/// A private key in PKCS#8, opened.
pub type OpenedKey = Opened<PRIVATE_LEN_MAX>;

impl RootKey {
    /// Opens the root key, or makes it if neither it nor a store exists.
    ///
    /// # Errors
    /// [`RootError`]: missing beside a store, unreadable, readable by others, or not a key.
    pub fn open(path: &Path, store_exists: bool) -> Result<Self, RootError> {
        match File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && store_exists => {
                Err(RootError::Missing(path.to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(file_error(path)(error)),
        }
    }

    fn read(path: &Path, mut file: File) -> Result<Self, RootError> {
        let about = file.metadata().map_err(file_error(path))?;
        let mode = about.mode() & 0o7777;
        if !about.is_file() || about.len() != ROOT_LEN as u64 {
            return Err(RootError::Form(path.to_owned()));
        }
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(RootError::Mode { path, mode });
        }
        let mut page = Locked::new(|| [0; ROOT_LEN])?;
        file.read_exact(&mut page[..]).map_err(file_error(path))?;
        Ok(Self(page))
    }

    /// The key is whole and durable under its name, or not there at all: it is written beside and linked into place.
    fn create(path: &Path) -> Result<Self, RootError> {
        let mut page = Locked::new(|| [0; ROOT_LEN])?;
        rand::fill(&mut page[..]).map_err(|_| RootError::Random)?;
        let unfinished = path.with_extension("new");
        write_new(&unfinished, &page).map_err(file_error(&unfinished))?;
        std::fs::hard_link(&unfinished, path).map_err(file_error(path))?;
        std::fs::remove_file(&unfinished).map_err(file_error(&unfinished))?;
        sync_parent(path).map_err(file_error(path))?;
        Ok(Self(page))
    }

    /// Seals a private key; the result is bound to its key's id and version.
    ///
    /// # Errors
    /// [`RootError::Random`], [`RootError::TooLong`], [`RootError::Page`].
    pub fn seal(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        private: &PrivateDer,
    ) -> Result<SealedKey, RootError> {
        let plain = private.expose();
        let mut page = Locked::new(|| [0u8; PRIVATE_LEN_MAX])?;
        let body = page.get_mut(..plain.len()).ok_or(RootError::TooLong)?;
        body.copy_from_slice(plain);
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| RootError::Random)?;
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated(id, version)),
                body,
            )
            .map_err(|_| RootError::TooLong)?;
        scrub_stack();
        Ok(SealedKey([&nonce, &*body, tag.as_ref()].concat()))
    }

    /// Opens a sealed private key, into a locked page.
    ///
    /// # Errors
    /// [`RootError::Sealed`], [`RootError::TooLong`], [`RootError::Page`].
    pub fn unseal(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        sealed: &SealedKey,
    ) -> Result<OpenedKey, RootError> {
        let wrong = || RootError::Sealed(id.to_string());
        let (nonce, body) = sealed.0.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let aad = Aad::from(associated(id, version));
        let cipher = self.cipher()?;
        let opened = Opened::fill_with(|page| {
            let place = page.get_mut(..body.len()).ok_or(RootError::TooLong)?;
            place.copy_from_slice(body);
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let plain = cipher.open_in_place(nonce, aad, place);
            plain.map(|plain| plain.len()).map_err(|_| wrong())
        });
        scrub_stack();
        opened
    }

    /// Made for each use: between uses the key schedule exists nowhere.
    fn cipher(&self) -> Result<LessSafeKey, RootError> {
        let key = UnboundKey::new(&AES_256_GCM, &self.0[..]).map_err(|_| RootError::Random)?;
        Ok(LessSafeKey::new(key))
    }
}

fn associated(id: &impl fmt::Display, version: KeyVersion) -> Vec<u8> {
    format!("keyd/kek/v2|{id}|{version}").into_bytes()
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> RootError {
    move |source| RootError::File { path: path.to_owned(), source }
}

/// A leftover of a first start that crashed is in the way only until it is removed: it was never linked, so nothing
/// is sealed under it.
fn write_new(path: &Path, key: &[u8; ROOT_LEN]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests;
