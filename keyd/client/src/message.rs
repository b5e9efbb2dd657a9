//! What is said on the socket, as data. Bodies are JSON; a DEK never is: it follows its frame as raw bytes
//! (see [`crate::wire`]).

use serde::{Deserialize, Serialize};

use crate::{
    dek::WrappedDek,
    ids::{DesName, DiskId, KeyName, KeyVersion, LeaseId},
};

/// Milliseconds since 1970-01-01 UTC.
pub type UnixMillis = u64;

/// A request: the first frame of a connection, answered by one [`Reply`] or [`Refusal`]. [`Request::Attach`] turns the
/// connection into a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Make an RSA key.
    KeyCreate {
        /// Its name, not in use yet.
        name: KeyName,
        /// Modulus length: 2048, 3072 or 4096.
        bits: u32,
    },
    /// All keys.
    KeyList,
    /// One key with its versions.
    KeyShow {
        /// Which.
        name: KeyName,
    },
    /// Switch every version of a key on or off. Off halts I/O on every disk under it.
    KeySetEnabled {
        /// Which.
        name: KeyName,
        /// On or off.
        enabled: bool,
    },
    /// Make a new version and re-wrap every DEK under the key's DESs.
    KeyRotate {
        /// Which.
        name: KeyName,
    },
    /// Make a disk encryption set.
    DesCreate {
        /// Its name, not in use yet.
        name: DesName,
        /// The key that wraps its disks' DEKs.
        key: KeyName,
        /// What its disks do when the key is taken away.
        on_revoke: Reaction,
        /// How long a disk runs on without hearing from the daemon, milliseconds.
        lease_ms: u64,
    },
    /// All disk encryption sets.
    DesList,
    /// One disk encryption set.
    DesShow {
        /// Which.
        name: DesName,
    },
    /// Make a DEK and its record. The image is written next, then confirmed.
    DiskCreate {
        /// Which DES; the built-in `platform` if none.
        des: Option<DesName>,
        /// Shape of the disk.
        geometry: Geometry,
    },
    /// The image of a new disk is durable.
    DiskConfirm {
        /// Which.
        id: DiskId,
    },
    /// The image of a new disk could not be written: forget the DEK. Refused once confirmed.
    DiskAbandon {
        /// Which.
        id: DiskId,
    },
    /// One page of disks in order of id.
    DiskList {
        /// Only ids after this one.
        after: Option<DiskId>,
    },
    /// One disk.
    DiskShow {
        /// Which.
        id: DiskId,
    },
    /// Break-glass: the plaintext DEK itself. Its own permission.
    DiskReleaseKey {
        /// Which.
        id: DiskId,
    },
    /// The newest audit records.
    AuditTail {
        /// How many at most.
        count: u32,
    },
    /// Check the audit log's hash chain against its committed head.
    AuditVerify,
    /// Ask for a disk's DEK under a lease. From here the connection speaks [`HolderMessage`] and [`Event`].
    Attach {
        /// Which.
        id: DiskId,
        /// A read-only holder shares the disk with other read-only holders.
        read_only: bool,
        /// If the key is disabled: `false` refuses, `true` waits on this connection for [`Event::Granted`]
        /// (a parked holder that lost its connection comes back so).
        wait: bool,
    },
}

/// What a disk does when its key is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// Hold the guest's requests unanswered; go on where they stood when the key comes back.
    #[default]
    Park,
    /// Answer every request with an I/O error until the key comes back.
    Fail,
}

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

/// What a DES's wrapping rests on (Azure: `encryptionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptionType {
    /// The daemon's own key.
    PlatformKey,
    /// A key of the customer's.
    CustomerKey,
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
    /// Its disk encryption set.
    pub des: DesName,
    /// The key its DEK is wrapped under.
    pub key: KeyName,
    /// And which version of it.
    pub key_version: KeyVersion,
    /// Platform or customer key.
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
    /// The DEK, wrapped.
    pub wrapped: WrappedDek,
}

/// A disk as lists and `disk show` tell it: the record, and who holds it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// The record.
    #[serde(flatten)]
    pub record: DiskRecord,
    /// Whether the key version that wraps it is enabled.
    pub key_enabled: bool,
    /// Processes that hold, or wait for, its DEK.
    pub holders: Vec<Holder>,
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
    /// Since when.
    pub since: UnixMillis,
    /// What it holds.
    pub state: HolderState,
}

/// What a holder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HolderState {
    /// The DEK, under its lease.
    Held,
    /// It was told to let go and has not confirmed yet.
    Revoking,
    /// Nothing: it fenced itself and waits for the key to come back.
    Parked,
}

/// A key as `key show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// Its name.
    pub name: KeyName,
    /// Whether the daemon made it for the `platform` DES.
    pub platform: bool,
    /// Whether its newest version is enabled.
    pub enabled: bool,
    /// Its versions, newest first.
    pub versions: Vec<KeyVersionStatus>,
    /// Disk encryption sets that use it.
    pub sets: Vec<DesName>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersionStatus {
    /// The version.
    pub version: KeyVersion,
    /// RSA modulus length, bits.
    pub bits: u32,
    /// Whether it may wrap and unwrap.
    pub enabled: bool,
    /// When it was made.
    pub created: UnixMillis,
    /// DEKs that are wrapped under it now.
    pub wrapped_deks: u64,
}

/// A disk encryption set as `des show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesStatus {
    /// Its name.
    pub name: DesName,
    /// The key.
    pub key: KeyName,
    /// The version that new DEKs are wrapped under.
    pub active_version: KeyVersion,
    /// Versions that still wrap DEKs of this set while a rotation runs; empty when none does.
    pub previous_versions: Vec<KeyVersion>,
    /// Platform or customer key.
    pub encryption: EncryptionType,
    /// What its disks do when the key is taken away.
    pub on_revoke: Reaction,
    /// Lease of its disks, milliseconds.
    pub lease_ms: u64,
    /// Disks in it.
    pub disks: u64,
    /// When it was made.
    pub created: UnixMillis,
    /// When its active version last changed.
    pub last_rotation: Option<UnixMillis>,
}

/// One audit record as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its number, from 1.
    pub seq: u64,
    /// When.
    pub time: UnixMillis,
    /// Who: a user id, or the daemon itself.
    pub who: String,
    /// What was asked: a verb such as `key-disable`.
    pub operation: String,
    /// On what: a name or an id.
    pub subject: String,
    /// `ok`, or the reason of the refusal.
    pub outcome: String,
    /// More, where there is more: counts, versions, times. Never a secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// SHA-256 of the previous record's line, hexadecimal.
    pub previous: String,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "body", rename_all = "kebab-case")]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// A key.
    Key(KeyStatus),
    /// Keys.
    Keys(Vec<KeyStatus>),
    /// A disabled or enabled key, and how many holders were told.
    KeySwitched {
        /// The key after it.
        key: KeyStatus,
        /// Leases that were told to let go, or that the key is back.
        notified: u32,
    },
    /// A finished rotation.
    Rotated {
        /// The key after it.
        key: KeyStatus,
        /// DEKs wrapped anew.
        rewrapped: u64,
    },
    /// A disk encryption set.
    Des(DesStatus),
    /// Disk encryption sets.
    DesSets(Vec<DesStatus>),
    /// A disk.
    Disk(Box<DiskStatus>),
    /// A page of disks, and whether more follow.
    Disks {
        /// In order of id.
        disks: Vec<DiskStatus>,
        /// Whether more follow.
        more: bool,
    },
    /// The DEK follows the frame.
    ReleasedKey,
    /// Audit records, oldest first.
    Audit(Vec<AuditRecord>),
    /// The audit log is whole.
    AuditWhole {
        /// Records in it.
        records: u64,
        /// Hash of the newest, hexadecimal.
        head: String,
    },
    /// A lease. The DEK follows the frame, unless the key is disabled and the holder asked to wait.
    Attached(Box<Attached>),
    /// Refused; says why and what to do next.
    Refused(Refusal),
}

/// A lease, granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The lease.
    pub lease: LeaseId,
    /// The disk it is for.
    pub record: DiskRecord,
    /// What to do when the key is taken away.
    pub on_revoke: Reaction,
    /// Its length, milliseconds, counted from the moment the holder asked.
    pub lease_ms: u64,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: RefusalCode,
    /// One line for people: what is wrong and what to do next.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The request is malformed or out of range.
    BadRequest,
    /// The caller may not do this.
    Forbidden,
    /// No such key, DES or disk.
    NotFound,
    /// The name is taken, or the state does not allow it.
    Conflict,
    /// The key version is disabled.
    KeyDisabled,
    /// Another process holds the disk.
    InUse,
    /// A fault of the daemon's; its log has the chain.
    Internal,
}

/// What a holder says during its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum HolderMessage {
    /// Still here; prolong the lease.
    Renew,
    /// After [`Event::Revoked`]: I/O has stopped and the key is gone.
    Fenced(FenceReport),
    /// After [`Event::Granted`]: the DEK again, please.
    Reclaim,
}

/// How a fence went, by the holder's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceReport {
    /// When the fence was ordered here.
    pub ordered: UnixMillis,
    /// When the last I/O was completed to the guest; none was if the disk had been idle.
    pub last_io: Option<UnixMillis>,
    /// When the last copy of the key was wiped.
    pub wiped: UnixMillis,
    /// Microseconds from the order to the wipe.
    pub took_us: u64,
    /// Requests held unanswered.
    pub held: u64,
}

/// What the daemon says during a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Answer to [`HolderMessage::Renew`].
    Renewed,
    /// Let go of the key now, then say [`HolderMessage::Fenced`].
    Revoked {
        /// Why, for the log.
        reason: String,
    },
    /// The key is back: say [`HolderMessage::Reclaim`].
    Granted,
    /// Answer to [`HolderMessage::Reclaim`]; the DEK follows the frame.
    Reclaimed,
    /// The reclaim was refused (the key went again); wait for the next [`Event::Granted`].
    StillRevoked(Refusal),
}
