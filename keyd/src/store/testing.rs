//! A store in memory, for tests of what works on one.

use std::sync::Arc;

use keyd_client::dek::page::PageError;
use redb::{ReadableTable, TableHandle};

use super::{
    Options, Store, Txn, View,
    tables::{self, DISKS_BY_SET, DISKS_BY_VERSION, FORMAT, META, WITHOUT_KEYS},
};
use crate::{
    audit::{
        Entry,
        copies::{Copies, Place, Sink},
    },
    error::Fault,
    files::{Dir, tests::twin::Disk},
    lock::lock,
    root::{ROOT_LEN, RootKey},
    seal::{Seal, TAG_LEN},
};

/// The root key of tests.
pub(crate) const ROOT: &[u8; ROOT_LEN] = &[7; ROOT_LEN];

/// What it seals records with.
pub(crate) fn seal() -> Seal {
    let root = RootKey::fill_with(|bytes| {
        bytes.copy_from_slice(ROOT);
        Ok::<_, PageError>(())
    });
    Seal::new(&root.unwrap()).unwrap()
}

/// An empty store.
pub(crate) fn store() -> Store {
    Store::open(Disk::new(1).dir(), seal(), &Options::default(), None).unwrap()
}

/// One whose log is copied from now on, and has to be.
pub(crate) fn copied(dir: Arc<dyn Dir>, sink: Box<dyn Sink>) -> Store {
    let mut store = Store::open(dir, seal(), &Options::default(), None).unwrap();
    let end = lock(&store.writer).head().clone();
    let place = Place { seq: end.seq, segment: end.segment, offset: end.len };
    let follower = store.follower(place, sink).unwrap();
    store.set_copies(Copies::new(vec![follower], true));
    store
}

/// Makes it one of before records had tags and indexes named a version with its key.
pub(crate) fn make_older(store: &Store) {
    let transaction = store.db.begin_write().unwrap();
    let txn = Txn::new(&transaction, &store.seal);
    let disks = txn.disks(None, usize::MAX).unwrap();
    let sets: Vec<_> = disks.iter().map(|disk| txn.set_of(disk).unwrap()).collect();
    for handle in transaction.list_tables().unwrap().collect::<Vec<_>>() {
        let name = handle.name().to_owned();
        let mut table = transaction.open_table(tables::named(&name)).unwrap();
        let rows = table.iter().unwrap().map(|row| row.unwrap());
        let rows: Vec<_> =
            rows.map(|(key, stored)| (key.value().to_vec(), stored.value().to_vec())).collect();
        for (key, stored) in rows {
            if !tables::is_bare(&name, &key) {
                table.insert(&key[..], &stored[TAG_LEN..]).unwrap();
            }
        }
    }
    for table in [DISKS_BY_VERSION, DISKS_BY_SET] {
        transaction.delete_table(table).unwrap();
    }
    let (mut by_version, mut by_set) = (
        transaction.open_table(DISKS_BY_VERSION).unwrap(),
        transaction.open_table(DISKS_BY_SET).unwrap(),
    );
    for (disk, set) in disks.iter().zip(&sets) {
        for wrap in &disk.wraps {
            let row = [wrap.version.to_string().as_bytes(), disk.id.0.as_bytes()].concat();
            by_version.insert(&row[..], &[][..]).unwrap();
            by_set.insert(&[set.id.0.as_bytes(), &row[..]].concat()[..], &[][..]).unwrap();
        }
    }
    drop((by_version, by_set));
    let mut meta = transaction.open_table(META).unwrap();
    meta.insert(FORMAT, WITHOUT_KEYS).unwrap();
    meta.remove(&b"state-digest"[..]).unwrap();
    drop(meta);
    transaction.commit().unwrap();
}

/// Changes it.
pub(crate) fn change(store: &Store, change: impl FnOnce(&Txn<'_>) -> Result<(), Fault>) {
    store.commit(|txn| Ok((change(txn)?, Entry::by_daemon("test", "test")))).unwrap();
}
