//! A store in memory, for tests of what works on one.

use super::{Options, Store, Txn};
use crate::{audit::Entry, error::Fault, files::tests::twin::Disk};

/// An empty store.
pub(crate) fn store() -> Store {
    Store::open(Disk::new(1).dir(), &Options::default(), None).unwrap()
}

/// Changes it.
pub(crate) fn change(store: &Store, change: impl FnOnce(&Txn<'_>) -> Result<(), Fault>) {
    store.commit(|txn| Ok((change(txn)?, Entry::by_daemon("test", "test")))).unwrap();
}
