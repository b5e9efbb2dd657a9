//! Disks, snapshots and images.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{Consent, DiskState, EncryptionType, GrantStatus, Serving, UnixMillis};
use crate::{
    dek::WrappedDek,
    ids::{DesName, DiskId, KeyId, KeyVersion, LeaseId, Principal},
};

/// Shape of a disk: what the header says and the daemon remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Data unit of the cipher and block size of the disk, bytes: 512 or 4096.
    pub sector_size: u32,
    /// Where the data area begins in the image, bytes.
    pub data_offset: u64,
    /// Length of the data area, bytes; a multiple of `sector_size`.
    pub size: u64,
    /// What an all-zero ciphertext sector means.
    pub holes: Holes,
}

/// Whether never-written sectors exist on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holes {
    /// An all-zero ciphertext sector was never written, or was discarded, and reads as zeros.
    Zeros,
    /// Every sector holds ciphertext: the disk is dense and never punched.
    None,
}

/// What a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// A disk that VMs write
    #[default]
    Disk,
    /// The state of a disk at a moment
    Snapshot,
    /// What new disks begin as
    Image,
}

/// Proof of a volume key as LUKS2 writes it: PBKDF2-HMAC-SHA256 over the 64 bytes (LUKS2 spec 1.1.4, section 3.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeKeyDigest {
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// 32 bytes of salt, base64.
    pub salt: String,
    /// 32 bytes of digest, base64.
    pub digest: String,
}

/// The daemon's record of a disk, with which a header must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// The disk, also the UUID of its LUKS2 header.
    pub id: DiskId,
    /// Disk, snapshot or image.
    #[serde(default)]
    pub kind: DiskKind,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DiskId>,
    /// Its disk encryption set.
    pub des: DesName,
    /// The key its DEK, or its customer's share of it, is wrapped under.
    pub key: KeyId,
    /// And which version of it.
    pub key_version: KeyVersion,
    /// Version of the platform key that wraps the other share, under platform and customer keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<KeyVersion>,
    /// Platform key, customer's key, or both.
    pub encryption: EncryptionType,
    /// Shape.
    pub geometry: Geometry,
    /// Proof of the DEK.
    pub digest: VolumeKeyDigest,
    /// Counts the DEKs this disk has had, from 1; bound into the wrapped DEK.
    pub generation: u64,
    /// Whether the image has been confirmed.
    pub confirmed: bool,
    /// When the DEK was made.
    pub created: UnixMillis,
}

/// A disk as lists and `disk show` tell it: the record, and who holds it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// The record.
    #[serde(flatten)]
    pub record: DiskRecord,
    /// The DEK, or the customer's share of it, wrapped: for who has the permission to see that, and in no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<WrappedDek>,
    /// Whether its DEK could be had now.
    pub key_enabled: bool,
    /// Why not, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_lost: Option<String>,
    /// Processes that hold, or wait for, its DEK.
    pub holders: Vec<Holder>,
    /// Its volume key was given out in plaintext, the last time then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<KeyRelease>,
    /// How its last process ended, if none is there and the daemon has seen one since it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<DiskState>,
    /// Who may attach it or make disks from it, of the daemon's administrators too; a list does without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantStatus>,
    /// Whether there are more of those than are told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grants_more: bool,
}

/// A volume key that was given out for good: who has it reads the disk whatever becomes of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRelease {
    /// When.
    pub at: UnixMillis,
    /// To whom.
    pub to: Principal,
    /// By which disk, if that is another one with the same volume key: what it was made from, or what was made from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<DiskId>,
}

/// A process with a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The lease.
    pub lease: LeaseId,
    /// Process id on this host.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// When it attached.
    pub attached: UnixMillis,
    /// What it does now.
    #[serde(flatten)]
    pub state: DiskState,
    /// How it serves the disk, if it has said so: not everybody who has a lease serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<Serving>,
}

/// Make a DEK and its record. The image is written next, then confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskCreate {
    /// Which DES; the built-in `platform` if none.
    pub des: Option<DesName>,
    /// Shape of the disk.
    pub geometry: Geometry,
}

/// Make the record of a snapshot, an image, or a disk made from one: the same DEK, bound to a new id. So it takes the
/// permission to attach the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct DiskDerive {
    /// What it is made from
    pub source: DiskId,
    /// What it is
    #[arg(long, value_enum)]
    pub kind: DiskKind,
    /// Its set, which is its source's
    #[arg(long, value_name = "SET")]
    #[serde(default)]
    pub des: Option<DesName>,
}

/// The image of a new disk is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct DiskConfirm {
    /// The disk's id
    pub id: DiskId,
}

/// The image of a new disk could not be written: forget the DEK. Refused once confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct DiskAbandon {
    /// The disk's id
    pub id: DiskId,
}

/// The image of a disk has become longer: from now on the disk is, too, while it runs. Never shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskGrow {
    /// Which.
    pub id: DiskId,
    /// Length of the data area, bytes.
    pub size: u64,
    /// Only say whether it may grow so, and what it is now.
    #[serde(default)]
    pub dry_run: bool,
}

/// Move a disk to another disk encryption set, while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct DiskMove {
    /// The disk's id
    pub id: DiskId,
    /// The disk encryption set that it is moved to
    #[arg(long = "to", value_name = "SET")]
    pub des: DesName,
    /// How sure the asker is.
    #[command(flatten)]
    #[serde(default)]
    pub consent: Consent,
}

/// Destroy a disk's DEK: what is on its image can never be read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct DiskErase {
    /// The disk's id
    pub id: DiskId,
    /// How sure the asker is.
    #[command(flatten)]
    #[serde(default)]
    pub consent: Consent,
}

/// One page of disks, snapshots and images in order of id. It ends early where a frame would be full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskList {
    /// Only ids after this one.
    pub after: Option<DiskId>,
}

/// One disk, and who holds its DEK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct DiskShow {
    /// The disk's id
    pub id: DiskId,
}

/// Break-glass: the plaintext DEK itself. Its own permission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskReleaseKey {
    /// Which.
    pub id: DiskId,
}
