//! The operating system's files.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Advice, FallocateFlags, fadvise, fallocate},
    io::Errno,
};

use super::{Dir, FileAt, FileId, Found};

/// A directory of the file system.
#[derive(Debug, Clone)]
pub struct SystemDir(PathBuf);

impl SystemDir {
    /// The directory at a path, which exists.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Dir for SystemDir {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn FileAt>>> {
        match OpenOptions::new().read(true).write(true).open(self.0.join(name)) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn FileAt>> {
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // O_EXCL: nothing that was put there meanwhile is followed or written.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            // A name that is no UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn identity(&self) -> io::Result<FileId> {
        Ok(Found::from(&fs::metadata(&self.0)?).id)
    }

    fn look(&self, name: &str) -> io::Result<Option<Found>> {
        match fs::metadata(self.0.join(name)) {
            Ok(about) => Ok(Some(Found::from(&about))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl FileAt for File {
    fn end(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn look(&self) -> io::Result<Found> {
        Ok(Found::from(&self.metadata()?))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn resize(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        match fallocate(self, FallocateFlags::KEEP_SIZE, 0, len) {
            Err(Errno::OPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
            reserved => Ok(reserved?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn forget_cached(&self) -> io::Result<()> {
        Ok(fadvise(self, 0, None, Advice::DontNeed)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn reserved_blocks_are_there_behind_the_end_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let files = SystemDir::new(dir.path());
        let file = files.create("x").unwrap();
        file.write_at(0, b"abc").unwrap();
        match file.reserve(1 << 20) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                println!("skipped: this file system reserves nothing");
                return;
            }
            reserved => reserved.unwrap(),
        }
        let blocks = || fs::metadata(dir.path().join("x")).unwrap().blocks();
        assert_eq!(file.end().unwrap(), 3);
        assert!(blocks() >= 2048, "{}", blocks());
        file.resize(3).unwrap();
        assert!(blocks() <= 16, "{}", blocks());
    }

    #[test]
    fn a_new_file_follows_nothing_that_lies_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join("x")).unwrap();
        SystemDir::new(dir.path()).create("x").unwrap().write_at(0, b"y").unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert!(SystemDir::new(dir.path()).open("none").unwrap().is_none());
    }
}
