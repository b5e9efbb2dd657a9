//! The structure that is wrapped: a DEK or a share of one, and whose it is.
//!
//! ```text
//! 0         1           17         33               41            105
//! | purpose | disk UUID | set UUID | generation u64 | DEK or share |
//! ```
//! UUIDs in their byte order (RFC 9562), the integer little-endian. The purpose is 1 for a whole DEK, 2 for a
//! customer's and 3 for a platform's share; another structure would get numbers of its own. 105 bytes fit what OAEP
//! with SHA-256 leaves of RSA-2048: 256 - 2 * 32 - 2 = 190 (RFC 8017, 7.1.1). OAEP in Key Vault takes no label, hence a
//! structure.

use keyd_client::{
    Dek, DiskId, Locked,
    dek::{DEK_LEN, page::PageError},
    ids::DesId,
};
use thiserror::Error;

use super::KekError;

const HEAD_LEN: usize = 1 + 16 + 16 + 8;

/// Bytes of the structure.
pub const BOUND_LEN: usize = HEAD_LEN + DEK_LEN;

const _: () = assert!(BOUND_LEN == 105 && BOUND_LEN <= 190);

/// What is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A DEK.
    WholeDek = 1,
    /// The share under a customer's key (see [`super::shares`]).
    CustomerShare = 2,
    /// The share under the platform's key.
    PlatformShare = 3,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::WholeDek, Self::CustomerShare, Self::PlatformShare];
}

/// Whose a DEK is, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The disk.
    pub disk: DiskId,
    /// Its disk encryption set.
    pub set: DesId,
    /// Which of the disk's DEKs, from 1.
    pub generation: u64,
    /// All of it, or a share.
    pub purpose: Purpose,
}

impl Binding {
    fn head(&self) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        head[0] = self.purpose as u8;
        head[1..17].copy_from_slice(self.disk.0.as_bytes());
        head[17..33].copy_from_slice(self.set.0.as_bytes());
        head[33..].copy_from_slice(&self.generation.to_le_bytes());
        head
    }
}

/// What does not fit.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum Mismatch {
    /// Not a structure of ours.
    #[error("not wrapped by a keyd of this release")]
    Form,
    /// A share where a DEK is wanted, or the other way round, or the other share.
    #[error("it is another part of a disk's key")]
    Purpose,
    /// Of another disk.
    #[error("its disk differs")]
    Disk,
    /// Of another set.
    #[error("its disk encryption set differs")]
    Set,
    /// An earlier or later DEK of the same disk.
    #[error("its generation differs")]
    Generation,
}

/// Puts the structure together, in a locked page.
pub(super) fn assemble(dek: &Dek, binding: &Binding) -> Result<Locked<[u8; BOUND_LEN]>, PageError> {
    let mut page = Locked::new(|| [0; BOUND_LEN])?;
    page[..HEAD_LEN].copy_from_slice(&binding.head());
    page[HEAD_LEN..].copy_from_slice(dek.expose());
    Ok(page)
}

/// Compares every field, then takes the DEK out, from page to page.
pub(super) fn take_apart(plain: &[u8], binding: &Binding) -> Result<Dek, KekError> {
    let expected = binding.head();
    let (head, key) = plain
        .split_first_chunk::<HEAD_LEN>()
        .filter(|(_, key)| key.len() == DEK_LEN)
        .ok_or(Mismatch::Form)?;
    let differs = |from: usize, to: usize| head[from..to] != expected[from..to];
    match head {
        _ if Purpose::ALL.iter().all(|purpose| *purpose as u8 != head[0]) => {
            Err(Mismatch::Form.into())
        }
        _ if differs(0, 1) => Err(Mismatch::Purpose.into()),
        _ if differs(1, 17) => Err(Mismatch::Disk.into()),
        _ if differs(17, 33) => Err(Mismatch::Set.into()),
        _ if differs(33, HEAD_LEN) => Err(Mismatch::Generation.into()),
        _ => Ok(Dek::fill_with(|bytes| {
            bytes.copy_from_slice(key);
            Ok(())
        })?),
    }
}
