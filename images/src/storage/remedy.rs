//! What has to be done for an image that could not be opened. The system's word for it tells nobody who has to do what.

use std::{fmt, fs, io, os::unix::fs::FileTypeExt, path::Path};

use nix::libc;
use rustix::process::geteuid;

/// What has to be done, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// There is no such directory.
    Directory,
    /// There is no such file.
    File,
    /// It, or a directory on the way, is for others than this user.
    User(u32),
    /// It must not be written.
    Writable,
    /// The device is not among those that a service may open.
    Device,
    /// What the system says tells more.
    None,
}

impl Remedy {
    /// For a file that opening gave this error.
    pub(super) fn of(path: &Path, error: &io::Error) -> Self {
        let has_directory = || path.parent().is_none_or(|dir| dir == "" || dir.is_dir());
        let is_device =
            || fs::metadata(path).is_ok_and(|about| about.file_type().is_block_device());
        match error.raw_os_error() {
            Some(libc::ENOENT) if has_directory() => Self::File,
            Some(libc::ENOENT) => Self::Directory,
            Some(libc::EACCES) => Self::User(geteuid().as_raw()),
            Some(libc::EROFS) => Self::Writable,
            Some(libc::EPERM) if is_device() => Self::Device,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("; make that directory, and the image in it"),
            Self::File => f.write_str("; make it with 'image create', or name the one that is there"),
            Self::User(user) => write!(
                f,
                "; this runs as uid {user}: 'chown {user}' gives that user the image, and every directory on the way must let it pass"
            ),
            Self::Writable => f.write_str(
                "; its file system is mounted read-only, or for this service only (a unit's ReadWritePaths= names the image's directory)",
            ),
            Self::Device => f.write_str(
                "; a service opens no device but those that its unit names (DeviceAllow=DEVICE rw)",
            ),
            Self::None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_from_what_is_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let remedy = |path: &str, errno| {
            Remedy::of(&dir.path().join(path), &io::Error::from_raw_os_error(errno))
        };
        assert_eq!(remedy("d.img", libc::ENOENT), Remedy::File);
        assert_eq!(remedy("none/d.img", libc::ENOENT), Remedy::Directory);
        assert_eq!(Remedy::of(Path::new("d.img"), &io::ErrorKind::Other.into()), Remedy::None);
        let relative = Remedy::of(Path::new("d.img"), &io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(relative, Remedy::File);
        assert_eq!(remedy("d.img", libc::EACCES), Remedy::User(geteuid().as_raw()));
        assert_eq!(remedy("d.img", libc::EROFS), Remedy::Writable);
        assert_eq!(remedy("d.img", libc::EPERM), Remedy::None);
        assert_eq!(
            Remedy::of(Path::new("/dev/vda"), &io::Error::from_raw_os_error(libc::EIO)),
            Remedy::None
        );
    }
}
