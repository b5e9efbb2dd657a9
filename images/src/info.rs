//! `image info`: what an image is. The header answers alone; the daemon, if it can be reached, adds the key.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use keyd_client::{
    Client, ClientError, DesName, DiskId, KeyId, Page,
    ids::KeyVersion,
    message::{BREAK_GLASS, DiskShow, DiskStatus, EncryptionType, Holes, KeyRelease},
    utc,
};
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::{
    header::{Header, HeaderError, agree::holes_name},
    size,
    storage::{Access, ImageFile, OpenError},
};

/// Why nothing can be told.
#[derive(Debug, Error)]
pub enum InfoError {
    /// Opening or locking.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The header.
    #[error("{path}: {source}")]
    Header {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// Asking the file system.
    #[error("cannot measure {path}: {source}")]
    Measure {
        /// The image.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// An image, told. The JSON form is for scripts: members are added, never changed.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// As it was named.
    pub path: PathBuf,
    /// The header's UUID.
    pub uuid: Uuid,
    /// The same as the daemon's id of the disk.
    pub disk_id: DiskId,
    /// What a guest sees as the disk's serial number, unless 'vhost-backend --serial' says another.
    pub serial: String,
    /// Bytes of the disk a guest sees.
    pub size: u64,
    /// Bytes of a sector.
    pub sector_size: u32,
    /// First byte of the data area in the image.
    pub data_offset: u64,
    /// Cipher, as LUKS2 names it.
    pub cipher: &'static str,
    /// Disk encryption set: the daemon's account, else the header's.
    pub des: DesName,
    /// Bytes the file system spent; none for a block device.
    pub allocated: Option<u64>,
    /// What an all-zero ciphertext sector means.
    pub holes: Holes,
    /// State of the two header copies.
    pub header: String,
    /// Why stock `cryptsetup` refuses the header, if it does.
    pub stock_fault: Option<String>,
    /// Passphrase keyslots that stock tools added.
    pub keyslots: usize,
    /// What the daemon adds; none if it was not reached.
    pub key: Option<KeyInfo>,
    /// Why the daemon added nothing.
    pub keyd_error: Option<String>,
    /// In what the header differs from the daemon's record.
    pub mismatch: Option<String>,
}

/// What the daemon knows.
#[derive(Debug, Clone, Serialize)]
pub struct KeyInfo {
    /// The key that wraps the DEK.
    pub name: KeyId,
    /// Its version.
    pub version: KeyVersion,
    /// Whether that version is enabled.
    pub enabled: bool,
    /// Platform or customer key.
    pub encryption: EncryptionType,
    /// Whether the image was confirmed durable.
    pub confirmed: bool,
    /// When, and to whom, the volume key was given out in plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released: Option<KeyRelease>,
}

impl Info {
    /// What the image tells, and what the daemon behind `socket` adds. That the daemon cannot be reached is no
    /// error: the result says so. Works beside a running backend and never writes.
    ///
    /// # Errors
    /// [`InfoError`].
    pub fn read(path: &Path, socket: &Path) -> Result<Self, InfoError> {
        let image = ImageFile::open(path, Access::Inspect)?;
        let (mut info, header) = Self::look(path, &image)?;
        match show(socket, info.disk_id) {
            Ok(status) => info.add(&header, status),
            Err(error) => info.keyd_error = Some(error.to_string()),
        }
        Ok(info)
    }

    fn look(path: &Path, image: &ImageFile) -> Result<(Self, Header), InfoError> {
        let header = Header::read(image)
            .map_err(|source| InfoError::Header { path: path.to_owned(), source })?;
        let allocated = allocated(image)
            .map_err(|source| InfoError::Measure { path: path.to_owned(), source })?;
        let info = Self::new(path, &header, allocated);
        Ok((info, header))
    }

    fn add(&mut self, header: &Header, status: DiskStatus) {
        let DiskStatus { record, key_enabled, released, .. } = status;
        match header.agrees_with(&record) {
            Ok(layout) => self.size = layout.size(),
            Err(mismatch) => self.mismatch = Some(mismatch.to_string()),
        }
        self.des = record.des;
        self.key = Some(KeyInfo {
            name: record.key,
            version: record.key_version,
            enabled: key_enabled,
            encryption: record.encryption,
            confirmed: record.confirmed,
            released,
        });
    }

    fn new(path: &Path, header: &Header, allocated: Option<u64>) -> Self {
        let layout = header.layout();
        Self {
            path: path.to_owned(),
            uuid: header.disk().0,
            disk_id: header.disk(),
            serial: serial(header.disk()),
            size: layout.size(),
            sector_size: layout.sector_size().bytes(),
            data_offset: layout.data_offset(),
            cipher: "aes-xts-plain64",
            des: header.des().clone(),
            allocated,
            holes: header.holes(),
            header: header.recovery().to_string(),
            stock_fault: header.stock_fault().map(|fault| fault.to_string()),
            keyslots: header.keyslots(),
            key: None,
            keyd_error: None,
            mismatch: None,
        }
    }
}

/// The serial number of a disk that was given no other: the first 20 digits of its id, as virtio has room for no more.
#[must_use]
pub fn serial(disk: DiskId) -> String {
    let mut digits = disk.0.simple().to_string();
    digits.truncate(20);
    digits
}

impl Info {
    /// The table for people.
    #[must_use]
    pub fn page(&self) -> Page {
        let rows = [
            ("image", self.path.display().to_string()),
            ("disk id", self.disk_id.to_string()),
            ("uuid", self.uuid.to_string()),
            ("serial", self.serial.clone()),
            ("size", size::show(self.size)),
            ("sector size", self.sector_size.to_string()),
            ("cipher", self.cipher.to_owned()),
            ("DES", self.des.to_string()),
        ];
        let [key, encryption] = self.key_rows();
        let allocated = self.allocated.map_or_else(|| "a block device".to_owned(), size::show);
        let rows = rows.into_iter().chain([
            ("key", key),
            ("encryption", encryption),
            ("allocated", allocated),
            ("holes", holes_name(self.holes).to_owned()),
            ("header", self.header.clone()),
            ("keyslots", self.keyslots.to_string()),
        ]);
        let unconfirmed = self.key.as_ref().is_some_and(|key| !key.confirmed).then(|| {
            "the image was never confirmed to keyd: its creation did not finish".to_owned()
        });
        let stock = self.stock_fault.as_ref().map(|fault| format!("{fault}; {BREAK_GLASS}"));
        let mark = self.key.as_ref().and_then(|key| key.released.as_ref());
        let released = mark.map(|mark| {
            format!("the volume key was released at {} to {}", utc::text(mark.at), mark.to)
        });
        let warnings = self.mismatch.clone().into_iter().chain(stock).chain(released);
        let warnings = warnings.chain(unconfirmed);
        rows.chain(warnings.map(|warning| ("WARNING", warning)))
            .fold(Page::default(), |page, (name, value)| {
                page.line(format_args!("{name:<12} {value}"))
            })
    }

    fn key_rows(&self) -> [String; 2] {
        match (&self.key, &self.keyd_error) {
            (Some(key), _) => {
                let state = if key.enabled { "enabled" } else { "disabled" };
                let text = format!("{} version {} ({state})", key.name, key.version);
                [text, encryption_name(key.encryption).to_owned()]
            }
            (None, error) => {
                let why = error.as_deref().unwrap_or("not asked");
                let text = format!("unknown: keyd not reached ({why})");
                [text, "unknown: keyd not reached".to_owned()]
            }
        }
    }
}

fn encryption_name(encryption: EncryptionType) -> &'static str {
    match encryption {
        EncryptionType::PlatformKey => "platform-key",
        EncryptionType::CustomerKey => "customer-key",
        EncryptionType::PlatformAndCustomerKeys => "platform-and-customer-keys",
    }
}

fn show(socket: &Path, id: DiskId) -> Result<DiskStatus, ClientError> {
    Client::connect(socket)?.ask(DiskShow { id })
}

/// Blocks of 512 bytes, by the file system's account.
fn allocated(image: &ImageFile) -> io::Result<Option<u64>> {
    if image.is_block_device() {
        return Ok(None);
    }
    Ok(Some(image.file().metadata()?.blocks() * 512))
}
