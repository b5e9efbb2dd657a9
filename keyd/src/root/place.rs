//! The root key of a state directory: opened, made, and moved from one kind to another.
//!
//! A move makes the new form durable, opens it again and compares, and only then removes the old one: a crash leaves at
//! least one. With both there the daemon takes `root.key`; the move is finished by asking for it again.

use std::{fmt, path::PathBuf, sync::Arc};

use aws_lc_rs::constant_time;

use super::{
    PassphraseSource, RootError, RootKey, RootKind,
    document::SealedRoot,
    file,
    passphrase::{Passphrase, PassphraseRoot},
    token::TokenRoot,
};
use crate::hsm::{Hsm, HsmConfig, HsmError};

/// Where the root key of a state directory lies.
#[derive(Debug, Clone)]
pub struct Place {
    /// `root.key`.
    pub key: PathBuf,
    /// `root.json`.
    pub document: PathBuf,
}

/// What is at hand to open a root key.
#[derive(Debug, Default)]
pub struct Means {
    /// Passphrases.
    pub passphrase: PassphraseSource,
    /// The token.
    pub hsm: Option<Arc<Hsm>>,
}

impl Means {
    /// Loads the token's module.
    ///
    /// # Errors
    /// [`HsmError::Module`].
    pub fn new(passphrase: PassphraseSource, hsm: Option<HsmConfig>) -> Result<Self, HsmError> {
        let hsm = hsm.map(Hsm::load).transpose()?.map(Arc::new);
        Ok(Self { passphrase, hsm })
    }

    fn hsm(&self) -> Result<&Arc<Hsm>, RootError> {
        self.hsm.as_ref().ok_or(RootError::NoHsm)
    }
}

/// A kind, and what it takes to write it.
enum Form {
    File,
    Passphrase(Passphrase),
    Pkcs11(Arc<Hsm>),
}

impl Form {
    /// Where there was no root key before.
    fn first(kind: RootKind, means: &Means) -> Result<Self, RootError> {
        Self::of(kind, means, PassphraseSource::first)
    }

    /// In place of another.
    fn new(kind: RootKind, means: &Means) -> Result<Self, RootError> {
        Self::of(kind, means, PassphraseSource::replacement)
    }

    fn of(
        kind: RootKind,
        means: &Means,
        passphrase: impl FnOnce(&PassphraseSource) -> Result<Passphrase, RootError>,
    ) -> Result<Self, RootError> {
        match kind {
            RootKind::File => Ok(Self::File),
            RootKind::Passphrase => passphrase(&means.passphrase).map(Self::Passphrase),
            RootKind::Pkcs11 => means.hsm().cloned().map(Self::Pkcs11),
        }
    }
}

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct There {
    key: bool,
    document: bool,
}

/// A finished move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// From here.
    pub from: RootKind,
    /// To there.
    pub to: RootKind,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from={} to={}", self.from, self.to)
    }
}

impl Place {
    fn there(&self) -> Result<There, RootError> {
        let exists = |path: &PathBuf| path.try_exists().map_err(file::file_error(path));
        Ok(There { key: exists(&self.key)?, document: exists(&self.document)? })
    }

    /// Its kind, if there is one.
    ///
    /// # Errors
    /// [`RootError::File`], [`RootError::Document`].
    pub fn kind(&self) -> Result<Option<RootKind>, RootError> {
        match self.there()? {
            There { key: true, .. } => Ok(Some(RootKind::File)),
            There { document: true, .. } => Ok(Some(SealedRoot::read(&self.document)?.kind())),
            There { .. } => Ok(None),
        }
    }

    /// Whether a move stopped half way.
    ///
    /// # Errors
    /// [`RootError::File`].
    pub fn is_moving(&self) -> Result<bool, RootError> {
        Ok(self.there()? == There { key: true, document: true })
    }

    /// Opens the root key, or makes one of the kind asked for, if neither it nor a store exists.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn open(
        &self,
        asked: Option<RootKind>,
        store_exists: bool,
        means: &Means,
    ) -> Result<RootKey, RootError> {
        match (self.kind()?, asked) {
            (Some(there), Some(asked)) if there != asked => Err(RootError::Kind { there, asked }),
            (Some(there), _) => self.open_kind(there, means),
            (None, asked) if store_exists => Err(RootError::Missing(match asked {
                None | Some(RootKind::File) => self.key.clone(),
                Some(RootKind::Passphrase | RootKind::Pkcs11) => self.document.clone(),
            })),
            (None, asked) => self.create(asked.unwrap_or(RootKind::File), means),
        }
    }

    fn create(&self, kind: RootKind, means: &Means) -> Result<RootKey, RootError> {
        let root = RootKey::generate()?;
        self.keep(&root, kind, means)?;
        Ok(root)
    }

    /// Keeps a root key where none is.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn keep(&self, root: &RootKey, kind: RootKind, means: &Means) -> Result<(), RootError> {
        self.write(root, &Form::first(kind, means)?)
    }

    fn open_kind(&self, kind: RootKind, means: &Means) -> Result<RootKey, RootError> {
        match kind {
            RootKind::File => file::read(&self.key),
            RootKind::Passphrase | RootKind::Pkcs11 => match SealedRoot::read(&self.document)? {
                SealedRoot::Passphrase(sealed) => {
                    self.open_sealed(&sealed, &means.passphrase.current()?)
                }
                SealedRoot::Pkcs11(wrapped) => wrapped.open(means.hsm()?),
            },
        }
    }

    fn open_sealed(
        &self,
        sealed: &PassphraseRoot,
        passphrase: &Passphrase,
    ) -> Result<RootKey, RootError> {
        let wrong = || RootError::WrongPassphrase(self.document.clone());
        sealed.open(passphrase)?.ok_or_else(wrong)
    }

    /// A document is written only if it was seen to open.
    fn write(&self, root: &RootKey, form: &Form) -> Result<(), RootError> {
        match form {
            Form::File => file::write(&self.key, root),
            Form::Passphrase(passphrase) => {
                let sealed = PassphraseRoot::seal(root, passphrase)?;
                self.same(&self.open_sealed(&sealed, passphrase)?, root)?;
                SealedRoot::Passphrase(sealed).write(&self.document)
            }
            Form::Pkcs11(hsm) => {
                let wrapped = TokenRoot::seal(root, hsm)?;
                self.same(&wrapped.open(hsm)?, root)?;
                SealedRoot::Pkcs11(wrapped).write(&self.document)
            }
        }
    }

    /// Moves the root key to another kind, or finishes a move that stopped half way. `record` is run when everything is
    /// at hand and nothing is changed yet.
    ///
    /// # Errors
    /// [`RootError`], and what `record` returns.
    pub fn move_to<E: From<RootError>>(
        &self,
        to: RootKind,
        means: &Means,
        record: impl FnOnce(&RootKey, Moved) -> Result<(), E>,
    ) -> Result<Moved, E> {
        if self.is_moving()? {
            return self.finish_move(to, means, record);
        }
        let from = self.kind()?.ok_or_else(|| RootError::Missing(self.key.clone()))?;
        if from == to {
            return Err(RootError::SameKind(to).into());
        }
        let root = self.open_kind(from, means)?;
        let form = Form::new(to, means)?;
        let moved = Moved { from, to };
        record(&root, moved)?;
        self.write(&root, &form)?;
        self.remove_all_but(to)?;
        Ok(moved)
    }

    /// With two forms there, a move can only end at one of them.
    fn finish_move<E: From<RootError>>(
        &self,
        to: RootKind,
        means: &Means,
        record: impl FnOnce(&RootKey, Moved) -> Result<(), E>,
    ) -> Result<Moved, E> {
        let sealed = SealedRoot::read(&self.document)?.kind();
        let from = match to {
            RootKind::File => sealed,
            _ if to == sealed => RootKind::File,
            _ => return Err(RootError::Kind { there: sealed, asked: to }.into()),
        };
        let root = self.open_kind(RootKind::File, means)?;
        self.same(&self.open_kind(sealed, means)?, &root)?;
        let moved = Moved { from, to };
        record(&root, moved)?;
        self.remove_all_but(to)?;
        Ok(moved)
    }

    /// A document that took the place of another needs no removal.
    fn remove_all_but(&self, kind: RootKind) -> Result<(), RootError> {
        match kind {
            RootKind::File => file::remove(&self.document),
            RootKind::Passphrase | RootKind::Pkcs11 if self.there()?.key => file::remove(&self.key),
            RootKind::Passphrase | RootKind::Pkcs11 => Ok(()),
        }
    }

    /// Seals the root key under another passphrase. `record` is run when both are at hand and nothing is changed yet.
    ///
    /// # Errors
    /// [`RootError`], and what `record` returns; the old passphrase opens the root key then.
    pub fn change_passphrase<E: From<RootError>>(
        &self,
        means: &Means,
        record: impl FnOnce(&RootKey) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.kind()? {
            Some(RootKind::Passphrase) => {}
            Some(other) => return Err(RootError::NotPassphrase(other).into()),
            None => return Err(RootError::Missing(self.document.clone()).into()),
        }
        let root = self.open_kind(RootKind::Passphrase, means)?;
        let form = Form::new(RootKind::Passphrase, means)?;
        record(&root)?;
        Ok(self.write(&root, &form)?)
    }

    fn same(&self, one: &RootKey, other: &RootKey) -> Result<(), RootError> {
        let equal = constant_time::verify_slices_are_equal(one.expose(), other.expose());
        equal.map_err(|_| RootError::TwoRoots { new: self.document.clone(), old: self.key.clone() })
    }
}

#[cfg(test)]
mod tests;
