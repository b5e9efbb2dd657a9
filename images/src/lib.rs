//! Encrypted disk images: where a sector lies and how it is encrypted.
//!
//! An image is a standard LUKS2 file without passphrases (`FORMAT.md` draws every byte). This crate reads and writes
//! its header, does AES-256-XTS on its sectors, locks it against a second user, and makes new ones. It never decides
//! *whether* a key may be used: the key daemon does, and hands it out.

#![deny(unsafe_code)]

pub mod cli;
pub mod create;
pub mod crypt;
pub mod digest;
pub mod header;
pub mod info;
pub mod layout;
pub mod limits;
pub mod resize;
pub mod size;
pub mod storage;

pub use crypt::{CipherError, CipherPath, XtsCipher};
pub use digest::digest_matches;
pub use header::{Cause, Header, HeaderError, Mismatch, Recovery, Role};
pub use layout::{Layout, OutOfRange, SectorSize};
pub use storage::{Access, ImageFile, OpenError, Storage};
