//! `root.json`: a root key that is sealed or wrapped, and how to open it. No secret is in it.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    RootError, RootKind,
    file::{file_error, sync_parent, write_new},
    passphrase::PassphraseRoot,
    token::TokenRoot,
};
use crate::limits::ROOT_DOCUMENT_LEN_MAX;

/// Version of the form.
const FORMAT: u32 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    root: SealedRoot,
}

/// A root key that something else opens.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SealedRoot {
    Passphrase(PassphraseRoot),
    Pkcs11(TokenRoot),
}

impl SealedRoot {
    pub(super) fn kind(&self) -> RootKind {
        match self {
            Self::Passphrase(_) => RootKind::Passphrase,
            Self::Pkcs11(_) => RootKind::Pkcs11,
        }
    }

    pub(super) fn read(path: &Path) -> Result<Self, RootError> {
        let wrong = |why: String| RootError::Document { path: path.to_owned(), why };
        let mut text = String::new();
        let file = File::open(path).map_err(file_error(path))?;
        let read = file.take(ROOT_DOCUMENT_LEN_MAX).read_to_string(&mut text);
        read.map_err(file_error(path))?;
        let document: Document =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if document.format != FORMAT {
            return Err(wrong(format!("its format is {}, not {FORMAT}", document.format)));
        }
        Ok(document.root)
    }

    /// Writes it in place of the one that is there, or not at all.
    pub(super) fn write(self, path: &Path) -> Result<(), RootError> {
        let document = Document { format: FORMAT, root: self };
        let text = serde_json::to_vec_pretty(&document).map_err(|error| RootError::Document {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
        let unfinished = path.with_extension("json.new");
        write_new(&unfinished, &text).map_err(file_error(&unfinished))?;
        fs::rename(&unfinished, path).and_then(|()| sync_parent(path)).map_err(file_error(path))
    }
}
