//! A store in memory, for tests of what works on one.

use std::sync::Arc;

use super::{Options, Store, Txn};
use crate::{
    audit::{
        Entry,
        copies::{Copies, Place, Sink},
    },
    error::Fault,
    files::{Dir, tests::twin::Disk},
    lock::lock,
};

/// An empty store.
pub(crate) fn store() -> Store {
    Store::open(Disk::new(1).dir(), &Options::default(), None).unwrap()
}

/// One whose log is copied from now on, and has to be.
pub(crate) fn copied(dir: Arc<dyn Dir>, sink: Box<dyn Sink>) -> Store {
    let mut store = Store::open(dir, &Options::default(), None).unwrap();
    let end = lock(&store.writer).head().clone();
    let place = Place { seq: end.seq, segment: end.segment, offset: end.len };
    let follower = store.follower(place, sink).unwrap();
    store.set_copies(Copies::new(vec![follower], true));
    store
}

/// Changes it.
pub(crate) fn change(store: &Store, change: impl FnOnce(&Txn<'_>) -> Result<(), Fault>) {
    store.commit(|txn| Ok((change(txn)?, Entry::by_daemon("test", "test")))).unwrap();
}
