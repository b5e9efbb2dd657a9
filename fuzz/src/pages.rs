//! A damaged database file, read without the database: every page may say anything, and reading it ends. What comes out
//! as the newest state is no other than the one that was written.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::OnceLock,
};

use arbitrary::{Arbitrary, Unstructured};
use keyd::{
    audit::Entry,
    error::Fault,
    files::{FileAt, Found, SystemDir},
    model::vault::Vault,
    root::RootKey,
    seal::Seal,
    store::{self, AuditKeeping, Row, pages},
};

/// Pages of the format, and where its header has the two commits (redb's `design.md`).
const PAGE: usize = 4096;
const SLOTS: [usize; 2] = [64, 192];

/// More rows than a page has room for, so that there is a tree.
const VAULTS: u64 = 150;

/// Changes of one file.
const EDITS_MAX: usize = 24;

/// What somebody, or a disk, did to the file. Pages are counted among those that hold something.
#[derive(Debug, Arbitrary)]
enum Edit {
    Byte {
        page: u8,
        at: u16,
        value: u8,
    },
    Bit {
        page: u8,
        at: u16,
        bit: u8,
    },
    /// What kind of page it is, and how many pairs or children it has.
    Head {
        page: u8,
        kind: u8,
        count: u16,
    },
    /// Where a key or a value of a leaf ends.
    End {
        page: u8,
        n: u8,
        end: u32,
    },
    /// Where a child of a branch lies, if it had so many.
    Child {
        page: u8,
        of: u8,
        n: u8,
        to: Number,
    },
    /// Where a commit's tree begins.
    Root {
        second: bool,
        there: bool,
        to: Number,
    },
    Copied {
        from: u8,
        to: u8,
    },
}

/// A page's number: its order, its region, bits without a meaning.
#[derive(Debug, Arbitrary)]
struct Number {
    page: u8,
    order: u8,
    region: u8,
    noise: u16,
}

#[derive(Debug, Arbitrary)]
struct Input {
    edits: Vec<Edit>,
    /// Where the file ends, in pages.
    cut: Option<u16>,
}

/// A store as it was written.
struct Golden {
    bytes: Vec<u8>,
    /// Pages that hold something.
    pages: Vec<usize>,
    rows: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    seal: Seal,
    seq: u64,
}

impl Golden {
    fn get() -> &'static Self {
        static MADE: OnceLock<Golden> = OnceLock::new();
        MADE.get_or_init(|| Self::make().expect("a store"))
    }

    fn make() -> Result<Self, Fault> {
        let dir = tempfile::tempdir().expect("a directory");
        let root = RootKey::generate().expect("random bytes");
        let seal = || Seal::new(&root).expect("derived keys");
        let keeping = AuditKeeping::default();
        let store = store::open(&SystemDir::new(dir.path()), seal(), &keeping)?;
        let made = store.commit(|txn| {
            for n in 0..VAULTS {
                let name = format!("vault-{n}").parse().expect("a name");
                txn.put_vault(&Vault::new(name, 7, false, n)?)?;
            }
            Ok(((), Entry::by_daemon("vault-create", "many")))
        });
        made.expect("vaults");
        let mut rows = BTreeMap::new();
        let whole = store.whole()?;
        whole.rows(|Row { table, key, value }| {
            rows.insert((table, key), value);
            Ok::<_, Fault>(())
        })?;
        let seq = whole.head().seq;
        drop(whole);
        drop(store);
        let bytes = std::fs::read(dir.path().join("store.redb")).expect("its file");
        let holds = |page: &usize| bytes[page * PAGE..(page + 1) * PAGE].iter().any(|b| *b != 0);
        let pages = (1..bytes.len() / PAGE).filter(holds).collect();
        Ok(Self { bytes, pages, rows, seal: seal(), seq })
    }

    /// The bytes of a page.
    fn page<'b>(&self, bytes: &'b mut [u8], page: u8) -> &'b mut [u8] {
        let page = self.pages[usize::from(page) % self.pages.len()];
        &mut bytes[page * PAGE..(page + 1) * PAGE]
    }

    fn number(&self, number: &Number) -> [u8; 8] {
        let order = u64::from(number.order % 16);
        // Behind the header.
        let index = (self.pages[usize::from(number.page) % self.pages.len()] as u64 - 1) >> order;
        let (region, noise) = (u64::from(number.region % 2) << 20, u64::from(number.noise) << 40);
        (order << 59 | noise | region | index).to_le_bytes()
    }

    fn edit(&self, bytes: &mut [u8], edit: &Edit) {
        match edit {
            Edit::Byte { page, at, value } => {
                self.page(bytes, *page)[usize::from(*at) % PAGE] = *value;
            }
            Edit::Bit { page, at, bit } => {
                self.page(bytes, *page)[usize::from(*at) % PAGE] ^= 1 << (bit % 8);
            }
            Edit::Head { page, kind, count } => {
                let page = self.page(bytes, *page);
                page[0] = *kind;
                page[2..4].copy_from_slice(&count.to_le_bytes());
            }
            Edit::End { page, n, end } => {
                let at = 4 + 4 * usize::from(*n);
                self.page(bytes, *page)[at..at + 4].copy_from_slice(&end.to_le_bytes());
            }
            Edit::Child { page, of, n, to } => {
                let at = 8 + 16 * (usize::from(*of % 128) + 1) + 8 * usize::from(n % 128);
                let number = self.number(to);
                self.page(bytes, *page)[at..at + 8].copy_from_slice(&number);
            }
            Edit::Root { second, there, to } => {
                let slot = SLOTS[usize::from(*second)];
                bytes[slot + 1] = u8::from(*there);
                bytes[slot + 8..slot + 16].copy_from_slice(&self.number(to));
            }
            Edit::Copied { from, to } => {
                let from = self.page(bytes, *from).to_vec();
                self.page(bytes, *to).copy_from_slice(&from);
            }
        }
    }
}

/// Runs the target.
///
/// # Panics
/// If an oracle is broken.
pub fn run(bytes: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let golden = Golden::get();
    let mut file = golden.bytes.clone();
    input.edits.iter().take(EDITS_MAX).for_each(|edit| golden.edit(&mut file, edit));
    if let Some(cut) = input.cut {
        file.truncate(usize::from(cut) * PAGE);
    }
    let is_sound = file == golden.bytes;
    let len = file.len();
    let found = pages::newest(&Memory(file), &golden.seal, golden.seq).expect("a file in memory");
    let Some(rows) = found else { return assert!(!is_sound, "nothing was read of a sound file") };
    let room: usize = rows.iter().map(|row| row.key.len() + row.value.len()).sum();
    assert!(room <= 64 * len, "{room} bytes were made of {len}");
    // What it is judged by is sealed: nobody makes another of the same number.
    for key in ["audit-head", "state-digest"] {
        let is_golden = |row: &&Row| {
            let place = (row.table.clone(), row.key.clone());
            golden.rows.get(&place) == Some(&row.value)
        };
        let found = rows.iter().find(|row| row.table == "meta" && row.key == key.as_bytes());
        assert!(found.as_ref().is_some_and(is_golden), "another {key}");
    }
    if is_sound {
        let rows = rows.into_iter().map(|Row { table, key, value }| ((table, key), value));
        assert!(rows.collect::<BTreeMap<_, _>>() == golden.rows, "a sound file has other rows");
    }
}

/// A file that is only read.
struct Memory(Vec<u8>);

impl FileAt for Memory {
    fn end(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let len = bytes.len().min(rest.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn look(&self) -> io::Result<Found> {
        Err(ErrorKind::Unsupported.into())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn resize(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
}
