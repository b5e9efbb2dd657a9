use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use super::*;
use crate::{
    audit::{Class, Entry, copies::Copies, copies::CopyFile},
    error::{Failure, Refused},
    files::tests::twin::Disk,
    store::{Options, Store, testing},
};

/// A copy in memory that fails, or hangs, on command.
#[derive(Clone, Default)]
struct Memory {
    rows: Arc<Mutex<Vec<u64>>>,
    failing: Arc<AtomicBool>,
    hanging: Arc<AtomicBool>,
}

impl Memory {
    fn check(&self) -> io::Result<()> {
        while self.hanging.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        let failing = self.failing.load(Ordering::Relaxed);
        if failing { Err(io::Error::other("it is away")) } else { Ok(()) }
    }

    fn rows(&self) -> Vec<u64> {
        self.rows.lock().unwrap().clone()
    }
}

impl Sink for Memory {
    fn path(&self) -> String {
        "memory".to_owned()
    }

    fn put(&mut self, line: &[u8], _refused: bool) -> io::Result<()> {
        self.check()?;
        // Slower than who does not wait for it.
        thread::sleep(Duration::from_millis(2));
        let row: keyd_client::message::AuditRecord = serde_json::from_slice(line).unwrap();
        self.rows.lock().unwrap().push(row.seq);
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.check()
    }

    fn look(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn renew(&mut self) -> io::Result<()> {
        self.check()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.check()
    }
}

/// A store with small segments and such a copy.
fn store(disk: &Disk, copy: &Memory, required: bool) -> Store {
    let mut options = Options::default();
    options.log.segment = 500;
    let mut store = Store::open(disk.dir(), testing::seal(), &options, None).unwrap();
    let place = Place { seq: 0, segment: 1, offset: 0 };
    let head = Head::default();
    let follower = Follower::start(disk.dir(), place, head, Box::new(copy.clone())).unwrap();
    store.set_copies(Copies::new(vec![follower], required));
    store
}

fn record(store: &Store, class: Class) -> Result<(), Failure> {
    store.record(Entry::by_daemon("test", "row").class(class))
}

fn is_required(result: &Result<(), Failure>) -> bool {
    matches!(result, Err(Failure::Refused(Refused::AuditCopy(..))))
}

/// Waits for the copy to be well, or not.
fn until(store: &Store, failing: bool) {
    let begun = Instant::now();
    while store.audit_status().copies[0].failing.is_some() != failing {
        assert!(begun.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_row_is_in_the_copy_before_anybody_is_told() {
    let (disk, copy) = (Disk::new(1), Memory::default());
    let store = store(&disk, &copy, false);
    for row in 1..=20 {
        record(&store, Class::Use).unwrap();
        assert_eq!(copy.rows(), (1..=row).collect::<Vec<u64>>());
    }
}

#[test]
fn a_copy_that_was_away_catches_up_over_segments() {
    let (disk, copy) = (Disk::new(1), Memory::default());
    let store = store(&disk, &copy, false);
    record(&store, Class::Use).unwrap();
    copy.failing.store(true, Ordering::Relaxed);
    (0..20).for_each(|_| record(&store, Class::Use).unwrap());
    assert_eq!(copy.rows(), [1]);
    until(&store, true);
    let archived = store.archive_audit(4, &disk.elsewhere(), Entry::by_daemon("test", "x"));
    assert!(matches!(archived, Err(Failure::Refused(Refused::NotCopied(3, _)))), "{archived:?}");
    copy.failing.store(false, Ordering::Relaxed);
    until(&store, false);
    assert_eq!(copy.rows(), (1..=21).collect::<Vec<u64>>());
}

#[test]
fn a_required_copy_that_is_away_ends_uses_and_lets_keys_be_taken_away() {
    let (disk, copy) = (Disk::new(1), Memory::default());
    let store = store(&disk, &copy, true);
    record(&store, Class::Use).unwrap();
    copy.failing.store(true, Ordering::Relaxed);
    // The first finds out: it is recorded, and its result is not given.
    assert!(is_required(&record(&store, Class::Use)));
    let rows = store.audit_status().newest;
    assert!(is_required(&record(&store, Class::Use)));
    assert_eq!(store.audit_status().newest, rows, "the next is not even recorded");
    record(&store, Class::Withdrawal).unwrap();
    copy.failing.store(false, Ordering::Relaxed);
    until(&store, false);
    record(&store, Class::Use).unwrap();
    assert_eq!(copy.rows(), (1..=4).collect::<Vec<u64>>());
}

#[test]
fn a_copy_that_hangs_holds_up_one_commit_for_a_while_and_no_other() {
    let (disk, copy) = (Disk::new(1), Memory::default());
    let store = store(&disk, &copy, false);
    copy.hanging.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    (0..20).for_each(|_| record(&store, Class::Use).unwrap());
    // Twenty waits would be four times as long.
    assert!(begun.elapsed() < COPY_PATIENCE * 5);
    until(&store, true);
    copy.hanging.store(false, Ordering::Relaxed);
    until(&store, false);
    assert_eq!(copy.rows().len(), 20);
}

#[test]
fn a_copy_goes_on_where_it_ends_and_is_known_by_its_newest_row() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("copy");
    let (disk, memory) = (Disk::new(1), Memory::default());
    let store = store(&disk, &memory, false);
    (0..9).for_each(|_| record(&store, Class::Use).unwrap());
    let rows = store.tail_audit(100).unwrap();
    let line = |n: usize| serde_json::to_string(&rows[n - 1]).unwrap() + "\n";
    let anchor = |text: String| {
        std::fs::write(&path, text).unwrap();
        CopyFile::open(&path, None).unwrap().anchor().unwrap()
    };
    assert_eq!(anchor(String::new()), None);
    // Whatever lies behind it, the newest row that is one counts.
    for behind in ["", "{\"seq\":10,\"ti", "\n\n", &"x\n".repeat(100_000)] {
        let found = anchor((1..=7).map(line).collect::<String>() + behind).unwrap();
        assert_eq!((found.seq, found.hash), (7, rows[7].previous.to_string()));
    }
    let segments = {
        let current = disk.dir().open(CURRENT).unwrap().unwrap();
        segments::Segments::list(disk.dir(), 7, current).unwrap()
    };
    let place = |seq, hash: &str| place_of(&segments, 1, seq, hash).unwrap();
    let found = place(7, &rows[7].previous).unwrap();
    assert_eq!((found.seq, found.segment), (7, 7));
    assert_eq!(found.offset as usize, line(7).len());
    assert!(place(7, &rows[6].previous).is_none());
    assert!(place(77, &rows[6].previous).is_none());
    let begin = place(0, "").unwrap();
    assert_eq!((begin.segment, begin.offset), (1, 0));
}
