//! A store in memory, for tests of what works on one.

use std::sync::Arc;

use super::{
    Options, Store, Txn, View,
    tables::{DISKS_BY_SET, DISKS_BY_VERSION, FORMAT, META, WITHOUT_KEYS},
};
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

/// Gives it the indexes of disks that it had when they named a version without its key.
pub(crate) fn make_older(store: &Store) {
    let transaction = store.db.begin_write().unwrap();
    let txn = Txn::new(&transaction);
    for table in [DISKS_BY_VERSION, DISKS_BY_SET] {
        transaction.delete_table(table).unwrap();
    }
    for disk in txn.disks(None, usize::MAX).unwrap() {
        let set = txn.set_of(&disk).unwrap();
        for wrap in &disk.wraps {
            let row = [wrap.version.to_string().as_bytes(), disk.id.0.as_bytes()].concat();
            txn.put(DISKS_BY_VERSION, &row, &[]).unwrap();
            txn.put(DISKS_BY_SET, &[set.id.0.as_bytes(), &row[..]].concat(), &[]).unwrap();
        }
    }
    txn.put(META, FORMAT, WITHOUT_KEYS).unwrap();
    transaction.commit().unwrap();
}

/// Changes it.
pub(crate) fn change(store: &Store, change: impl FnOnce(&Txn<'_>) -> Result<(), Fault>) {
    store.commit(|txn| Ok((change(txn)?, Entry::by_daemon("test", "test")))).unwrap();
}
