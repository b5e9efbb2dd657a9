//! Where a new image goes: a file that appears whole, or a block device that is overwritten.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use keyd_client::message::{DiskRecord, Holes};
use tempfile::NamedTempFile;

use super::{CreateError, Options};
use crate::{
    limits::{DATA_OFFSET, FILL_PIECE_LEN},
    storage::{Access, ImageFile, Storage, zeros},
};

/// A place that was found fit.
pub(super) enum Target {
    File(PathBuf),
    Device { image: ImageFile, len: u64 },
}

impl Target {
    /// Looks at the path, and refuses what must not be overwritten.
    pub(super) fn examine(options: &Options) -> Result<Self, CreateError> {
        let path = &options.path;
        match path.metadata() {
            Ok(metadata) if metadata.file_type().is_block_device() => {
                let image = ImageFile::open(path, Access::ReadWrite)?;
                let len = image.size().map_err(system("measure", path))?;
                let target = Self::Device { image, len };
                if !options.force {
                    target.refuse_data(path)?;
                }
                Ok(target)
            }
            Ok(_) => Err(CreateError::Exists(path.clone())),
            // A symbolic link to nothing is something, too.
            Err(_) if path.symlink_metadata().is_ok() => Err(CreateError::Exists(path.clone())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::File(path.clone())),
            Err(error) => Err(system("look at", path)(error)),
        }
    }

    /// Bytes of the data area.
    pub(super) fn data_size(&self, options: &Options) -> Result<u64, CreateError> {
        let Self::Device { len, .. } = *self else {
            return options.size.ok_or(CreateError::SizeMissing);
        };
        let unit = u64::from(options.sector_size.bytes());
        let room = len.saturating_sub(DATA_OFFSET) / unit * unit;
        match options.size {
            Some(size) if size > room => {
                Err(CreateError::DeviceTooSmall { path: options.path.clone(), room })
            }
            size => Ok(size.unwrap_or(room)),
        }
    }

    /// Every file system, partition table and volume marks its first or last mebibyte.
    fn refuse_data(&self, path: &Path) -> Result<(), CreateError> {
        let Self::Device { image, len } = self else {
            return Ok(());
        };
        let piece = (FILL_PIECE_LEN as u64).min(*len);
        let mut bytes = vec![0; FILL_PIECE_LEN.min(*len as usize)];
        for offset in [0, len - piece] {
            image.read_at(&mut bytes, offset).map_err(system("read", path))?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Err(CreateError::DeviceHasData(path.to_owned()));
            }
        }
        Ok(())
    }

    /// Space for the image: a sparse file under a name of its own, or the device, blank where it must be.
    pub(super) fn draft(self, record: &DiskRecord) -> Result<Draft, CreateError> {
        let end = record.geometry.data_offset + record.geometry.size;
        match self {
            Self::File(path) => {
                let temporary = temporary_beside(&path)?;
                let file = temporary.as_file();
                file.set_len(end).map_err(system("set the length of", &path))?;
                let file = file.try_clone().map_err(system("open", &path))?;
                let image = ImageFile::made(file, &path, Access::ReadWrite)?;
                Ok(Draft::File { image, temporary, path })
            }
            Self::Device { image, .. } => {
                // Old headers lie at several places in front of the data, and where holes are zeros, old data in a
                // hole would be a guest's garbage. A dense disk is overwritten as a whole anyway.
                let blank = match record.geometry.holes {
                    Holes::Zeros => end,
                    Holes::None => record.geometry.data_offset,
                };
                zeros::write(image.file(), 0..blank).map_err(|source| CreateError::NotZeroed {
                    path: image.path().to_owned(),
                    source,
                })?;
                Ok(Draft::Device(image))
            }
        }
    }
}

/// An image in the making. Dropped, a file leaves nothing behind.
pub(super) enum Draft {
    File { image: ImageFile, temporary: NamedTempFile, path: PathBuf },
    Device(ImageFile),
}

impl Draft {
    pub(super) fn image(&self) -> &ImageFile {
        match self {
            Self::File { image, .. } | Self::Device(image) => image,
        }
    }

    pub(super) fn len(&self) -> Result<u64, CreateError> {
        let image = self.image();
        image.size().map_err(system("measure", image.path()))
    }

    /// Makes the image durable, then visible, then that durable.
    pub(super) fn publish(self) -> Result<Place, CreateError> {
        match self {
            Self::File { image, temporary, path } => {
                temporary.as_file().sync_all().map_err(system("make durable", &path))?;
                temporary.persist_noclobber(&path).map_err(|refused| {
                    match refused.error.kind() {
                        ErrorKind::AlreadyExists => CreateError::Exists(path.clone()),
                        _ => system("create", &path)(refused.error),
                    }
                })?;
                let place = Place { _image: image, file: Some(path) };
                place.sync_directory().inspect_err(|_| place.remove())?;
                Ok(place)
            }
            Self::Device(image) => {
                image.sync().map_err(system("make durable", image.path()))?;
                Ok(Place { _image: image, file: None })
            }
        }
    }
}

/// A finished image, still locked: no backend can have it before the daemon confirmed it.
pub(super) struct Place {
    _image: ImageFile,
    file: Option<PathBuf>,
}

impl Place {
    /// Takes a file away again. A device keeps its header: it names a disk whose key the daemon forgets.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.file {
            // Nothing more can be done about a failure; the cause is being reported already.
            let _ = std::fs::remove_file(path);
        }
    }

    fn sync_directory(&self) -> Result<(), CreateError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let directory = directory_of(path);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(system("make durable", directory))
    }
}

fn temporary_beside(path: &Path) -> Result<NamedTempFile, CreateError> {
    let name = path.file_name().ok_or_else(|| CreateError::Exists(path.to_owned()))?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let directory = directory_of(path);
    // Looked at first: the library's own error names the temporary file, which nobody knows.
    std::fs::metadata(directory).map_err(system("make a file in", directory))?;
    tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".part")
        .tempfile_in(directory)
        .map_err(system("make a file in", directory))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    }
}

fn system(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CreateError {
    let path = path.to_owned();
    move |source| CreateError::System { what, path, source }
}
