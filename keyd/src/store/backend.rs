//! The database's file as redb sees it: where there is no space, the ballast makes some.

use std::{io, sync::Arc};

use redb::StorageBackend;

use super::ballast::Ballast;
use crate::files::{FileAt, fill};

pub(super) struct Backend {
    pub(super) file: Arc<dyn FileAt>,
    pub(super) ballast: Arc<Ballast>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

/// Locks are not offered: the state directory's own keeps other daemons away.
impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.end()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let whole = fill(&*self.file, offset, out)? == out.len();
        if whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.ballast.spend(|| self.file.resize(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ballast.spend(|| self.file.write_at(offset, data))
    }
}
