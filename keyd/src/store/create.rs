//! The database's file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use redb::Database;

use super::tables;
use crate::error::Fault;

/// Opens the database. The first time it is made under another name and moved into place when it is whole: redb does
/// not open what a crash in the middle of its own first writes leaves behind.
///
/// # Errors
/// [`Fault::Database`], [`Fault::DatabaseFile`].
pub fn database(path: &Path) -> Result<Database, Fault> {
    let exists = path.try_exists().map_err(file_fault(path))?;
    if !exists {
        make(path)?;
    }
    Ok(Database::open(path)?)
}

fn make(path: &Path) -> Result<(), Fault> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(file_fault(&unfinished)(error));
        }
        _ => {}
    }
    let db = Database::create(&unfinished)?;
    tables::prepare(&db)?;
    db.close()?;
    fs::rename(&unfinished, path).map_err(file_fault(path))
}

fn file_fault(path: &Path) -> impl FnOnce(io::Error) -> Fault {
    let path: PathBuf = path.to_owned();
    move |source| Fault::DatabaseFile { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crashed_first_start_left_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        fs::write(dir.path().join("store.new"), [7; 5000]).unwrap();
        drop(database(&path).unwrap());
        assert!(!dir.path().join("store.new").exists());
        database(&path).unwrap();
    }

    #[test]
    fn something_else_under_its_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        fs::write(&path, "precious").unwrap();
        assert!(database(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
