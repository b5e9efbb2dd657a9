//! The database's file.

use std::{io, sync::Arc};

use redb::{Builder, Database};

use super::{
    backend::Backend,
    ballast::Ballast,
    pages, tables,
    whole::{self, Row},
};
use crate::{
    audit::segments::{CURRENT, first_of},
    error::Fault,
    files::{Dir, FileAt, read_range},
    limits::STORE_CACHE_LEN,
    log,
    seal::Seal,
};

/// Its name.
pub(super) const NAME: &str = "store.redb";

/// Bytes that are copied at once.
const COPY_STEP: usize = 1 << 20;

/// Its name while it is made.
const UNFINISHED: &str = "store.new";

/// What the file of a store that redb cannot read is kept as.
const DAMAGED: &str = "store.damaged-";

/// An opened database.
pub(super) struct Opened {
    pub(super) db: Database,
    pub(super) backend: Backend,
    /// That it was made anew of what could be read, and why.
    pub(super) rebuilt: Option<String>,
}

/// Opens the database. The first time it is made under another name and moved into place when it is whole: redb does
/// not open what a crash in the middle of its own first writes leaves behind. A file that redb calls corrupt, or whose
/// newest commit it gives up, is made anew of its records: they tell by themselves which of them are sound.
///
/// # Errors
/// [`Fault::Database`], [`Fault::StateFile`], [`Fault::EmptyStore`], [`Fault::MissingStore`], [`Fault::Unreadable`].
pub(super) fn database(
    dir: &dyn Dir,
    ballast: &Arc<Ballast>,
    seal: &Seal,
    newest: u64,
) -> Result<Opened, Fault> {
    let file = match dir.open(NAME).map_err(Fault::StateFile)? {
        Some(file) => file,
        // The log is begun after the store is durable: an empty store beside a log is no first start, and would put
        // the blame on the log.
        None if has_log(dir).map_err(Fault::StateFile)? => return Err(Fault::MissingStore),
        None => place(dir, ballast, |db| tables::prepare(db, seal))?,
    };
    // redb would begin anew in an empty file.
    if file.end().map_err(Fault::StateFile)? == 0 {
        return Err(Fault::EmptyStore);
    }
    let (why, opened) = match verified(&file, ballast) {
        Ok(opened) if tables::newest(&opened.db)?.is_none_or(|seq| seq >= newest) => {
            return released(opened);
        }
        Ok(opened) => {
            (format!("row {newest} of the audit log was committed, and is lost"), Some(opened))
        }
        Err(error) => (error.to_string(), None),
    };
    match (pages::newest(&*file, seal, newest).map_err(Fault::StateFile)?, opened) {
        (Some(rows), opened) => {
            drop(opened);
            rebuild(dir, &file, ballast, rows, &why)
        }
        // An older file that was put in its place: the audit log tells.
        (None, Some(opened)) => released(opened),
        (None, None) => Err(Fault::Unreadable(why)),
    }
}

fn has_log(dir: &dyn Dir) -> io::Result<bool> {
    Ok(dir.names()?.iter().any(|name| name == CURRENT || first_of(name).is_some()))
}

/// One of another form, for who gives it this form.
pub(super) fn older(dir: &dyn Dir, ballast: &Arc<Ballast>) -> Result<Database, Fault> {
    let file = dir.open(NAME).map_err(Fault::StateFile)?;
    let file = file.ok_or(Fault::StateFile(io::ErrorKind::NotFound.into()))?;
    released(verified(&file, ballast)?).map(|opened| opened.db)
}

/// Every page that belongs to it is read and compared with its checksum; redb repairs what a crash left. Nothing of
/// that is written yet.
fn verified(file: &Arc<dyn FileAt>, ballast: &Arc<Ballast>) -> Result<Opened, Fault> {
    let backend = Backend::holding(file.clone(), ballast.clone()).map_err(Fault::StateFile)?;
    let db = open(&backend)?;
    Ok(Opened { db, backend, rebuilt: None })
}

fn released(opened: Opened) -> Result<Opened, Fault> {
    opened.backend.release().map_err(Fault::StateFile)?;
    Ok(opened)
}

/// The file as it was found stays, under another name.
fn rebuild(
    dir: &dyn Dir,
    file: &Arc<dyn FileAt>,
    ballast: &Arc<Ballast>,
    rows: Vec<Row>,
    why: &str,
) -> Result<Opened, Fault> {
    let kept = keep(dir, &**file).map_err(Fault::StateFile)?;
    let rows = rows.into_iter().map(Ok::<_, Fault>);
    let file = place(dir, ballast, |db| whole::fill(db, rows))?;
    let opened = released(verified(&file, ballast)?)?;
    let rebuilt = format!("store.redb was made anew of its records ({why}); the old one is {kept}");
    log::line(format_args!("{rebuilt}"));
    Ok(Opened { rebuilt: Some(rebuilt), ..opened })
}

fn keep(dir: &dyn Dir, file: &dyn FileAt) -> io::Result<String> {
    let names = dir.names()?;
    let mut free = (1u32..).map(|n| format!("{DAMAGED}{n}")).filter(|name| !names.contains(name));
    let name = free.next().ok_or(io::ErrorKind::AlreadyExists)?;
    let (copy, end) = (dir.create(&name)?, file.end()?);
    for from in (0..end).step_by(COPY_STEP) {
        copy.write_at(from, &read_range(file, from, end.min(from + COPY_STEP as u64))?)?;
    }
    copy.sync()?;
    dir.sync()?;
    Ok(name)
}

fn open(backend: &Backend) -> Result<Database, Fault> {
    let mut builder = Builder::new();
    builder.set_cache_size(STORE_CACHE_LEN).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(backend.clone())?)
}

/// Makes the database of a directory that has none, with something in it.
///
/// # Errors
/// [`Fault`], and what `fill` returns; nothing is there under its name then.
pub(super) fn filled<E: From<Fault>>(
    dir: &dyn Dir,
    fill: impl FnOnce(&Database) -> Result<(), E>,
) -> Result<(), E> {
    let ballast = Ballast::open(dir, 0, 0).map_err(Fault::StateFile)?;
    place(dir, &Arc::new(ballast), fill).map(drop)
}

fn place<E: From<Fault>>(
    dir: &dyn Dir,
    ballast: &Arc<Ballast>,
    fill: impl FnOnce(&Database) -> Result<(), E>,
) -> Result<Arc<dyn FileAt>, E> {
    let file = dir.create(UNFINISHED).map_err(Fault::StateFile)?;
    let db = open(&Backend::new(file.clone(), ballast.clone()))?;
    fill(&db)?;
    db.close().map_err(Fault::from)?;
    let placed: io::Result<()> = dir.rename(UNFINISHED, NAME).and_then(|()| dir.sync());
    placed.map_err(Fault::StateFile)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{files::SystemDir, store::testing};

    fn opened(path: &std::path::Path) -> Result<Opened, Fault> {
        let dir = SystemDir::new(path);
        let ballast = Arc::new(Ballast::open(&dir, 4096, 4096).unwrap());
        database(&dir, &ballast, &testing::seal(), 0)
    }

    #[test]
    fn what_a_crashed_first_start_left_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(UNFINISHED), [7; 5000]).unwrap();
        drop(opened(dir.path()).unwrap());
        assert!(!dir.path().join(UNFINISHED).exists());
        opened(dir.path()).unwrap();
    }

    #[test]
    fn something_else_under_its_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        fs::write(&path, "precious").unwrap();
        assert!(opened(dir.path()).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_store_that_is_missing_beside_its_log_is_not_begun_anew() {
        for log in ["audit.log", "audit-00000000000000000001.log"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(log), "").unwrap();
            assert!(matches!(opened(dir.path()), Err(Fault::MissingStore)), "{log}");
            assert!(!dir.path().join(NAME).exists());
        }
    }

    #[test]
    fn a_store_that_was_emptied_is_not_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        drop(opened(dir.path()).unwrap());
        fs::write(dir.path().join(NAME), "").unwrap();
        assert!(matches!(opened(dir.path()), Err(Fault::EmptyStore)));
    }
}
