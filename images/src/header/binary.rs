//! One copy of the header as bytes (LUKS2 spec 1.1.4, section 2.1; `FORMAT.md` draws it). Pure.

use std::{fmt, ops::Range};

use keyd_client::DiskId;
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::limits::{BINARY_LEN, HEADER_COPY_LEN, JSON_AREA_LEN};

const MAGIC_LEN: usize = 6;
const VERSION: Range<usize> = 6..8;
const HDR_SIZE: Range<usize> = 8..16;
const SEQID: Range<usize> = 16..24;
const LABEL: Range<usize> = 24..72;
const CSUM_ALG: Range<usize> = 72..104;
const SALT: Range<usize> = 104..168;
const UUID: Range<usize> = 168..208;
const SUBSYSTEM: Range<usize> = 208..256;
const HDR_OFFSET: Range<usize> = 256..264;
const CSUM: Range<usize> = 448..512;

const SALT_LEN: usize = 64;
const CSUM_ALG_NAME: &[u8] = b"sha256";
const SUBSYSTEM_NAME: &[u8] = b"keyd";

const _: () = assert!(SALT.end - SALT.start == SALT_LEN);
const _: () = assert!(CSUM.end <= BINARY_LEN && BINARY_LEN + JSON_AREA_LEN == HEADER_COPY_LEN);

/// Lengths of a copy, bytes, that LUKS2 allows beside ours (spec section 2.2). Such an image is another program's.
pub(super) const OTHER_COPY_LENS: [u64; 8] =
    [32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];

/// Which copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// At the beginning of the image.
    First,
    /// Right behind it.
    Second,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Second => "second",
        })
    }
}

impl Role {
    pub(super) fn offset(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Second => HEADER_COPY_LEN as u64,
        }
    }

    fn magic(self) -> [u8; MAGIC_LEN] {
        match self {
            Self::First => *b"LUKS\xba\xbe",
            Self::Second => *b"SKUL\xba\xbe",
        }
    }
}

/// What is wrong with one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CopyFault {
    /// Not the six bytes a copy begins with.
    #[error("no LUKS2 magic")]
    Magic,
    /// Another version.
    #[error("LUKS version {0}")]
    Version(u16),
    /// Another version, although all other bytes are those of version 2.
    #[error("its version field says {0}, and all other bytes are right for version 2")]
    VersionField(u16),
    /// Another length than 16 KiB.
    #[error("a copy of {0} bytes where 16384 are served")]
    Size(u64),
    /// The copy belongs elsewhere.
    #[error("it says it lies at byte {0}")]
    Offset(u64),
    /// Another hash.
    #[error("its checksum is not sha256")]
    Algorithm,
    /// The bytes are not those that were written.
    #[error("its checksum is wrong")]
    Checksum,
    /// Not a UUID.
    #[error("its UUID is none")]
    Uuid,
    /// Not text that begins with a brace and ends in zeros.
    #[error("its metadata area is not one JSON text")]
    Text,
}

/// The fields of the binary part that vary. Both salts are kept: they differ and survive updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    pub(super) seqid: u64,
    pub(super) uuid: Uuid,
    label: [u8; LABEL.end - LABEL.start],
    subsystem: [u8; SUBSYSTEM.end - SUBSYSTEM.start],
    pub(super) salts: [[u8; SALT_LEN]; 2],
}

impl Binary {
    /// For a new image.
    pub(super) fn create(disk: DiskId) -> std::io::Result<Self> {
        let mut subsystem = [0; 48];
        subsystem[..SUBSYSTEM_NAME.len()].copy_from_slice(SUBSYSTEM_NAME);
        Ok(Self {
            seqid: 1,
            uuid: disk.0,
            label: [0; 48],
            subsystem,
            salts: [fresh_salt()?, fresh_salt()?],
        })
    }

    /// The same, one write later.
    pub(super) fn successor(&self) -> Self {
        Self { seqid: self.seqid.saturating_add(1), ..self.clone() }
    }

    /// A copy, whole: 16 KiB with its checksum. `json` is at most [`JSON_AREA_LEN`] - 1 bytes: the caller checked.
    pub(super) fn encode(&self, role: Role, json: &[u8]) -> Vec<u8> {
        assert!(json.len() < JSON_AREA_LEN, "the area ends in a zero");
        let mut copy = vec![0; HEADER_COPY_LEN];
        copy[..MAGIC_LEN].copy_from_slice(&role.magic());
        copy[VERSION].copy_from_slice(&2u16.to_be_bytes());
        copy[HDR_SIZE].copy_from_slice(&(HEADER_COPY_LEN as u64).to_be_bytes());
        copy[SEQID].copy_from_slice(&self.seqid.to_be_bytes());
        copy[LABEL].copy_from_slice(&self.label);
        copy[CSUM_ALG][..CSUM_ALG_NAME.len()].copy_from_slice(CSUM_ALG_NAME);
        copy[SALT].copy_from_slice(&self.salts[role as usize]);
        let uuid = self.uuid.hyphenated().to_string();
        copy[UUID][..uuid.len()].copy_from_slice(uuid.as_bytes());
        copy[SUBSYSTEM].copy_from_slice(&self.subsystem);
        copy[HDR_OFFSET].copy_from_slice(&role.offset().to_be_bytes());
        copy[BINARY_LEN..][..json.len()].copy_from_slice(json);
        let sum = checksum(&copy);
        copy[CSUM][..sum.len()].copy_from_slice(&sum);
        copy
    }

    /// Judges the bytes of a copy. Of the salts only the copy's own is filled in.
    pub(super) fn decode(role: Role, copy: &[u8]) -> Result<(Self, &str), CopyFault> {
        assert_eq!(copy.len(), HEADER_COPY_LEN);
        check_frame(role, copy)?;
        let mut salts = [[0; SALT_LEN]; 2];
        salts[role as usize] = bytes(copy, SALT);
        let binary = Self {
            seqid: u64::from_be_bytes(bytes(copy, SEQID)),
            uuid: uuid(&copy[UUID])?,
            label: bytes(copy, LABEL),
            subsystem: bytes(copy, SUBSYSTEM),
            salts,
        };
        Ok((binary, text(&copy[BINARY_LEN..])?))
    }
}

pub(super) fn fresh_salt() -> std::io::Result<[u8; SALT_LEN]> {
    let mut salt = [0; SALT_LEN];
    let mut filled = 0;
    while filled < SALT_LEN {
        filled +=
            rustix::rand::getrandom(&mut salt[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(salt)
}

fn check_frame(role: Role, copy: &[u8]) -> Result<(), CopyFault> {
    if copy[..MAGIC_LEN] != role.magic() {
        return Err(CopyFault::Magic);
    }
    let version = u16::from_be_bytes(bytes(copy, VERSION));
    if version != 2 {
        // A flipped bit is damage. A whole header of another version is not: it must not be overwritten.
        let mut mended = copy.to_vec();
        mended[VERSION].copy_from_slice(&2u16.to_be_bytes());
        return Err(match check_frame(role, &mended) {
            Ok(()) => CopyFault::VersionField(version),
            Err(_) => CopyFault::Version(version),
        });
    }
    let size = u64::from_be_bytes(bytes(copy, HDR_SIZE));
    if size != HEADER_COPY_LEN as u64 {
        return Err(CopyFault::Size(size));
    }
    let offset = u64::from_be_bytes(bytes(copy, HDR_OFFSET));
    if offset != role.offset() {
        return Err(CopyFault::Offset(offset));
    }
    if until_zero(&copy[CSUM_ALG]) != CSUM_ALG_NAME {
        return Err(CopyFault::Algorithm);
    }
    if has_right_checksum(copy) { Ok(()) } else { Err(CopyFault::Checksum) }
}

fn has_right_checksum(copy: &[u8]) -> bool {
    let sum = checksum(copy);
    let (stored, rest) = copy[CSUM].split_at(sum.len());
    stored == sum && rest.iter().all(|&byte| byte == 0)
}

/// Whether these are the magic and the version of a copy.
pub(super) fn begins(role: Role, beginning: &[u8; VERSION.end]) -> bool {
    beginning[..MAGIC_LEN] == role.magic() && beginning[VERSION] == 2u16.to_be_bytes()
}

/// Whether a copy of any length, found at byte `offset`, is a sound one.
pub(super) fn is_whole(copy: &[u8], role: Role, offset: u64) -> bool {
    begins(role, &bytes(copy, 0..VERSION.end))
        && bytes(copy, HDR_SIZE) == (copy.len() as u64).to_be_bytes()
        && bytes(copy, HDR_OFFSET) == offset.to_be_bytes()
        && until_zero(&copy[CSUM_ALG]) == CSUM_ALG_NAME
        && has_right_checksum(copy)
}

/// SHA-256 of a whole copy with its checksum field taken as zeros.
fn checksum(copy: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(&copy[..CSUM.start])
        .chain_update([0; CSUM.end - CSUM.start])
        .chain_update(&copy[CSUM.end..])
        .finalize()
        .into()
}

fn uuid(field: &[u8]) -> Result<Uuid, CopyFault> {
    Uuid::try_parse_ascii(until_zero(field)).map_err(|_| CopyFault::Uuid)
}

/// The JSON text: begins with a brace, ends at the first zero, and nothing but zeros follows.
fn text(area: &[u8]) -> Result<&str, CopyFault> {
    let text = until_zero(area);
    let padded = text.len() < area.len() && area[text.len()..].iter().all(|&byte| byte == 0);
    if text.first() != Some(&b'{') || !padded {
        return Err(CopyFault::Text);
    }
    std::str::from_utf8(text).map_err(|_| CopyFault::Text)
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn bytes<const N: usize>(copy: &[u8], range: Range<usize>) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&copy[range]);
    field
}
