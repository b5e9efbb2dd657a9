//! The database's file.

use std::{io, sync::Arc};

use redb::{Builder, Database};

use super::{backend::Backend, ballast::Ballast, tables};
use crate::{
    error::Fault,
    files::{Dir, FileAt},
    limits::STORE_CACHE_LEN,
};

/// Its name.
const NAME: &str = "store.redb";

/// Its name while it is made.
const UNFINISHED: &str = "store.new";

/// Opens the database. The first time it is made under another name and moved into place when it is whole: redb does
/// not open what a crash in the middle of its own first writes leaves behind.
///
/// # Errors
/// [`Fault::Database`], [`Fault::StateFile`], [`Fault::EmptyStore`].
pub(super) fn database(dir: &dyn Dir, ballast: &Arc<Ballast>) -> Result<Database, Fault> {
    let file = match dir.open(NAME).map_err(Fault::StateFile)? {
        Some(file) => file,
        None => make(dir, ballast)?,
    };
    // redb would begin anew in an empty file.
    if file.end().map_err(Fault::StateFile)? == 0 {
        return Err(Fault::EmptyStore);
    }
    open(file, ballast)
}

fn open(file: Arc<dyn FileAt>, ballast: &Arc<Ballast>) -> Result<Database, Fault> {
    let backend = Backend { file, ballast: ballast.clone() };
    Ok(Builder::new().set_cache_size(STORE_CACHE_LEN).create_with_backend(backend)?)
}

fn make(dir: &dyn Dir, ballast: &Arc<Ballast>) -> Result<Arc<dyn FileAt>, Fault> {
    place(dir, ballast, |db| tables::prepare(db).map(drop))
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
    let db = open(file.clone(), ballast)?;
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
    use crate::files::SystemDir;

    fn opened(path: &std::path::Path) -> Result<Database, Fault> {
        let dir = SystemDir::new(path);
        let ballast = Arc::new(Ballast::open(&dir, 4096, 4096).unwrap());
        database(&dir, &ballast)
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
    fn a_store_that_was_emptied_is_not_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        drop(opened(dir.path()).unwrap());
        fs::write(dir.path().join(NAME), "").unwrap();
        assert!(matches!(opened(dir.path()), Err(Fault::EmptyStore)));
    }
}
