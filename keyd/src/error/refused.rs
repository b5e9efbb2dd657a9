//! Refusals: the asker's to mend, told in full.

use std::{io, path::PathBuf};

use keyd_client::{
    AppName, DesName, DiskId, KeyId, KeyVersion, Principal, TokenId, VaultName,
    limits::{LEASE_MAX, LEASE_MIN, RETENTION_DAYS_MAX, RETENTION_DAYS_MIN},
    message::{KeyOperation, Refusal, RefusalCode},
    permission::{KeyPermission, Permission},
};
use thiserror::Error;

use super::{NotFollowed, Time};
use crate::{
    amounts::bytes,
    files::Loss,
    kek::{ImportError, KekError},
    limits::{
        APP_CERTIFICATES_MAX, APPS_MAX, DISK_SIZE_MAX, GRACE_MS_MAX, GRANTS_MAX, KEYS_MAX,
        POLICIES_MAX, ROTATION_DAYS_MIN, SETS_MAX, TAG_LEN_MAX, TAGS_MAX, TOKEN_LABEL_LEN_MAX,
        TOKEN_LIFE_MS_MAX, TOKEN_LIFE_MS_MIN, TOKENS_PER_APP_MAX, VAULTS_MAX,
        VERSION_LIFE_DAYS_MIN, VERSIONS_MAX,
    },
    model::version::Part,
    store::Break,
};

/// Who can give a permission: who lacks it is told, or would ask for the permission to give it next.
const RUN_BY: &str = "run by an administrator (the user that keyd runs as is one)";

/// Why the daemon will not. The text is one line that says what to do next.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Refused {
    #[error(
        "{who} may not do this: it needs the permission '{permission}', given by 'keyd grant {who} {permission} --add', {RUN_BY}"
    )]
    Forbidden { who: Principal, permission: Permission },
    #[error(
        "{who} may not do this: it needs the permission '{permission}' in vault '{vault}', given by 'keyd vault permit {vault} {who} {permission} --add', {RUN_BY}"
    )]
    ForbiddenIn { who: Principal, vault: VaultName, permission: KeyPermission },
    #[error(
        "{who} may not do this: it needs the permission '{permission}' for set '{set}', given by 'keyd grant {who} {permission} --des {set}', {RUN_BY}"
    )]
    ForbiddenFor { who: Principal, set: DesName, permission: Permission },
    #[error(
        "{who} may not do this: there is no disk {id}, or it needs the permission '{permission}' for it, given by 'keyd grant {who} {permission} --disk {id}', {RUN_BY}"
    )]
    OutOfReach { who: Principal, permission: Permission, id: DiskId },
    #[error(
        "{who} may not do this: there is no disk {id}, or it was made by another user, or without the permission 'create-disk' for it: its maker, with that, or an administrator confirms, abandons or grows it"
    )]
    NotYours { who: Principal, id: DiskId },
    #[error("'{0}' is for some disks: say for which with --des SET or --disk ID, or --all-disks")]
    WhichDisks(Permission),
    #[error("'{0}' is not for some disks but for the daemon as a whole: grant it by itself")]
    NotForDisks(Permission),
    #[error(
        "{0} does not exist, and whoever is made under that name would have this: make it first, or say --future"
    )]
    NobodyYet(Principal),
    #[error("no permission is named: name one, or replace all by none")]
    NoPermission,
    #[error("no vault '{0}': 'keyd vault list' shows the vaults")]
    NoVault(VaultName),
    #[error("no key '{0}': 'keyd key list' shows the keys")]
    NoKey(KeyId),
    #[error("key '{0}' has no version {1}: 'keyd key show {0}' shows them")]
    NoVersion(KeyId, KeyVersion),
    #[error("no application '{0}': 'keyd principal list' shows them")]
    NoApp(AppName),
    #[error("application '{0}' has no token {1}: 'keyd token list {0}' shows them")]
    NoToken(AppName, TokenId),
    #[error("no disk encryption set '{0}': 'keyd des list' shows them")]
    NoSet(DesName),
    #[error("no disk {0}: 'keyd disk list' shows the disks")]
    NoDisk(DiskId),
    #[error("there is a vault '{0}' already: choose another name")]
    VaultExists(VaultName),
    #[error("there is a key '{0}' already: choose another name, or 'keyd key rotate {0}'")]
    KeyExists(KeyId),
    #[error("there is an application '{0}' already: choose another name")]
    AppExists(AppName),
    #[error("the certificate is application '{0}''s already: one certificate is one application's")]
    CertificateTaken(AppName),
    #[error("there is a disk encryption set '{0}' already: choose another name")]
    SetExists(DesName),
    #[error("RSA keys have 2048, 3072 or 4096 bits, not {0}")]
    KeyBits(u32),
    #[error(
        "keyd has no hardware security module: start it with --hsm-module, --hsm-token and --hsm-pin-file"
    )]
    NoHsm,
    #[error("there are {KEYS_MAX} keys in vault '{0}', as many as can be: use another vault")]
    TooManyKeys(VaultName),
    #[error("key '{0}' has {VERSIONS_MAX} versions, as many as can be: make another key")]
    TooManyVersions(KeyId),
    #[error("there are {SETS_MAX} disk encryption sets, as many as can be: use one of them")]
    TooManySets,
    #[error("there are {VAULTS_MAX} vaults, as many as can be: use one of them")]
    TooManyVaults,
    #[error("vault '{0}' has {POLICIES_MAX} access policies, as many as can be: take one away")]
    TooManyPolicies(VaultName),
    #[error(
        "there are {GRANTS_MAX} grants, as many as can be: take one away, or grant for a set what many disks of it need"
    )]
    TooManyGrants,
    #[error("there are {APPS_MAX} applications, as many as can be: remove one")]
    TooManyApps,
    #[error("application '{0}' has {TOKENS_PER_APP_MAX} tokens, as many as can be: revoke one")]
    TooManyTokens(AppName),
    #[error("application '{0}' has at most {APP_CERTIFICATES_MAX} client certificates")]
    TooManyCertificates(AppName),
    #[error(
        "a token is good for {min} to {max}, not {said}",
        min = Time(TOKEN_LIFE_MS_MIN),
        max = Time(TOKEN_LIFE_MS_MAX),
        said = Time(*.0)
    )]
    TokenLife(u64),
    #[error("a token's label has at most {TOKEN_LABEL_LEN_MAX} printable characters")]
    TokenLabel,
    #[error(
        "there is no identity endpoint: start keyd with --identity-listen, such as --identity-listen 127.0.0.1:8444"
    )]
    NoIdentityEndpoint,
    #[error(
        "keyd makes no certificates of its own: start it with --listen, and without --tls-cert"
    )]
    NoCa,
    #[error(
        "the value cannot be decrypted: it is damaged, or was encrypted under another key or by another algorithm"
    )]
    Undecryptable,
    #[error("value: {0}")]
    PlaintextTooLong(KekError),
    #[error("{0}")]
    Unsigned(KekError),
    #[error("{0}")]
    Import(#[from] ImportError),
    #[error("key '{0}' has a version in an HSM: that is backed up with the HSM")]
    InHsm(KeyId),
    #[error(
        "the backup is damaged, or of another daemon: a key is restored by the daemon that backed it up"
    )]
    KeyBackup,
    #[error(
        "a vault keeps deleted keys for {RETENTION_DAYS_MIN} to {RETENTION_DAYS_MAX} days, not {0}"
    )]
    Retention(u16),
    #[error("vault '{0}' has keys, deleted ones included: purge them first")]
    VaultInUse(VaultName),
    #[error("vault '{0}' is keyd's own: it stays as it is")]
    OwnVault(VaultName),
    #[error("key '{0}' is keyd's own, for disks without a key of yours: it cannot be deleted")]
    PlatformKey(KeyId),
    #[error(
        "key '{0}' is keyd's own and has its set already: make a key of yours with 'keyd key create NAME'"
    )]
    PlatformSet(KeyId),
    #[error("{0} is disabled: 'keyd key enable {args}' brings it back", args = .0.arguments())]
    KeyDisabled(Part),
    #[error("key '{0}' is deleted: 'keyd key recover {0}' brings it back")]
    KeyDeleted(KeyId),
    #[error("key '{0}' is not deleted: 'keyd key delete {0}' comes first")]
    NotDeleted(KeyId),
    #[error("{0}")]
    NotFollowed(Box<NotFollowed>),
    #[error(
        "{0} may not {op}: 'keyd key set {args} --operations ...' permits it",
        op = .1.name(),
        args = .0.arguments()
    )]
    Operation(Part, KeyOperation),
    #[error(
        "{0} is not valid yet: 'keyd key set {args} --not-before ...' changes that",
        args = .0.arguments()
    )]
    NotYetValid(Part),
    #[error(
        "{0} has expired: 'keyd key rotate {key}' makes a new version, 'keyd key set {args} --expires ...' prolongs this one",
        key = .0.key,
        args = .0.arguments()
    )]
    Expired(Part),
    // A set that takes the end for a loss cannot open what is wrapped under it: a rotation would stop half way.
    #[error(
        "{0} has expired, and its end takes the disks of this set away: 'keyd key set {args} --expires ...' prolongs it and brings them back",
        args = .0.arguments()
    )]
    Ended(Part),
    #[error(
        "vault '{0}' protects its deleted keys: they are destroyed by themselves when their time is over"
    )]
    PurgeProtection(VaultName),
    #[error(
        "{deks} DEKs are wrapped under key '{key}' and could never be unwrapped again: another principal with the permission 'purge' must ask for it too"
    )]
    SecondPrincipal { key: KeyId, deks: u64 },
    #[error(
        "{versions} versions of the key were purged: another principal with the permission 'restore' in vault '{vault}' must ask to bring them back too, with the same backup"
    )]
    SecondRestorer { vault: VaultName, versions: u64 },
    #[error(
        "the identity des:{set} has no permission '{permission}' in vault '{vault}': 'keyd vault permit {vault} des:{set} get,wrapKey,unwrapKey --add{}' gives it", if *.future { " --future" } else { "" }
    )]
    IdentityLacks { set: DesName, vault: VaultName, permission: KeyPermission, future: bool },
    #[error(
        "{verb} {subject} would hit {hit}: the same command with --dry-run lists them, with --force does it"
    )]
    InUseBy { verb: &'static str, subject: String, hit: String },
    #[error(
        "what {verb} {subject} would hit has changed since token {token} was printed: look again with --dry-run"
    )]
    StaleToken { verb: &'static str, subject: String, token: String },
    #[error(
        "the rotation of disk encryption set '{0}' stopped half way, every disk still has a working key: it goes on by itself when the cause is gone"
    )]
    RotationStopped(DesName),
    #[error(
        "the rotation of disk encryption set '{0}' is under way: it goes on by itself, 'keyd des show {0}' says how far it is"
    )]
    RotationGoesOn(DesName),
    #[error("a rotation policy: {0}")]
    RotationPolicy(PolicyFault),
    #[error(
        "disk encryption set '{0}' has {1} disks, snapshots and images: move or erase them first"
    )]
    SetInUse(DesName, u64),
    #[error("disk encryption set '{0}' is keyd's own: it stays as it is")]
    OwnSet(DesName),
    #[error(
        "disk {disk} has snapshots or images, or was made from one, and those stay in one set, '{set}': copy its data to a new disk of the other set"
    )]
    OneSet { disk: DiskId, set: DesName },
    #[error(
        "{who} may attach the disks of set '{set}' and not disk {disk}, so it may not move the one into the other: somebody else who manages keys can, or 'keyd grant {who} attach --disk {disk}' comes first"
    )]
    MovesToItself { who: Principal, disk: DiskId, set: DesName },
    #[error("{0} is not confirmed yet: nothing is made from it")]
    Unconfirmed(DiskId),
    #[error(
        "a snapshot is taken of a disk, an image of a disk or a snapshot, and a disk is made from either; not this from that"
    )]
    Derivation,
    #[error("{0} is a snapshot or an image: it is attached read-only")]
    ReadOnly(DiskId),
    #[error("a sector has 512 or 4096 bytes, not {0}")]
    SectorSize(u32),
    #[error(
        "a disk of {size} bytes is not 1 or more whole sectors of {sector_size}: round the size up"
    )]
    DiskSize { size: u64, sector_size: u32 },
    #[error("a disk has at most {max}, not {0} bytes: choose a smaller size", max = bytes(DISK_SIZE_MAX))]
    DiskTooLarge(u64),
    #[error(
        "disk {id} has {has} bytes: a disk is never made smaller, as what its guest keeps at the end would be lost"
    )]
    Shrink { id: DiskId, has: u64 },
    #[error(
        "disk {0} is dense: its new sectors would have to be written first; make a larger disk and copy the data"
    )]
    DenseGrowth(DiskId),
    #[error("{0} is a snapshot or an image: only a disk grows; make a disk from it")]
    GrowsNot(DiskId),
    #[error("a data offset of {0} bytes is not a multiple of 4096 between 32 KiB and 1 GiB")]
    DataOffset(u64),
    #[error(
        "a lease of {said} is out of range: choose {min} to {max}",
        said = Time(*.0),
        min = Time(LEASE_MIN.as_millis() as u64),
        max = Time(LEASE_MAX.as_millis() as u64)
    )]
    LeaseLength(u64),
    #[error(
        "version {0} would begin (nbf, --not-before) at or after its end (exp, --expires), and could never be used: change both, or leave one out"
    )]
    NeverValid(KeyVersion),
    #[error("a key has at most {TAGS_MAX} tags, not {0}")]
    TooManyTags(usize),
    #[error("names of tags have 1 to {TAG_LEN_MAX} characters, values at most as many")]
    TagLength,
    #[error(
        "a grace of {said} is too long: choose at most {max}",
        said = Time(*.0),
        max = Time(GRACE_MS_MAX)
    )]
    Grace(u64),
    #[error("disk {0} is confirmed: its key is not forgotten, its image may hold data")]
    Confirmed(DiskId),
    #[error(
        "disk {disk} is held by process {pid}: stop it, or attach read-only beside other read-only holders"
    )]
    InUse { disk: DiskId, pid: u32 },
    #[error("the key was taken away before it could be handed over: wait for it to be enabled")]
    Withheld,
    #[error("the lease is not parked: say that the key is gone first, then ask for it again")]
    NotParked,
    #[error(
        "{0}: keyd uses no key; put back from a copy what was there and start keyd again, or accept it by 'keyd audit reanchor --accept-break'; keys can be taken away"
    )]
    AuditBroken(Break),
    #[error(
        "{0}: keyd uses no key, as what it writes now is gone when it ends; do not stop it: put the very file back (mv), or take 'keyd backup' (in the state directory itself, if keyd may write nowhere else, and move it from there), then stop it and 'keyd restore'; keys can be taken away"
    )]
    StoreLost(Loss),
    #[error("what the break hides is given up by this: say so with --accept-break")]
    AcceptBreak,
    #[error("{} is no absolute path of a directory: make one, and name it from / on", .0.display())]
    ArchivePath(PathBuf),
    #[error("the audit log is not broken: there is no break to accept")]
    NothingBroken,
    #[error(
        "the disk of the state directory is full: keyd uses no key until there is space; free some, 'keyd audit archive --to DIR' moves the audit log's rows to another disk; keys can be taken away"
    )]
    DiskFull,
    #[error(
        "the audit copy {0} is required and cannot be written: {1}; keyd uses no key until it can"
    )]
    AuditCopy(String, String),
    #[error(
        "no file of the audit log has only rows before {0}: name a later row, 'keyd audit tail' shows the newest"
    )]
    NothingToArchive(u64),
    #[error("the audit copy {1} has not got row {0} yet: wait until it has, then archive")]
    NotCopied(u64, String),
    #[error("the state directory is no archive: name another directory")]
    ArchiveHere,
    #[error(
        "the archive cannot be written: {0}; nothing was taken away ('keyd serve --writable DIR' names where it may be)"
    )]
    Archive(#[source] io::Error),
    #[error(
        "{0} is damaged in keyd's store and is not used: 'keyd status' names all that is; 'keyd restore' brings it back from a backup"
    )]
    Damaged(String),
    #[error(
        "the store has {0}, but not what it refers to: 'keyd status' names what is damaged; 'keyd restore' brings it back from a backup"
    )]
    Dangling(String),
    #[error(
        "the store is not what keyd committed ({0}): keyd uses no key; bring the state back with 'keyd restore', or accept it as it is by 'keyd check --accept-damage'; keys can be taken away"
    )]
    StoreBroken(String),
    #[error("the store's records are authenticated already: there is nothing to upgrade")]
    NothingToUpgrade,
    #[error("the store is what keyd committed: there is no damage to accept")]
    NothingDamaged,
    #[error("keyd is ending: ask again when it runs")]
    Stopping,
    #[error("no backup was made: {0}")]
    Backup(String),
    #[error("the answer is longer than a frame: ask for less at once")]
    AnswerTooLong,
}

/// What a rotation policy has against Key Vault's rules; the fields are those of its API, with their options here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PolicyFault {
    /// Versions that end too early.
    #[error(
        "expiryTime (--expires-after) is at least {VERSION_LIFE_DAYS_MIN} days, such as P{VERSION_LIFE_DAYS_MIN}D"
    )]
    Life,
    /// Before what is not.
    #[error(
        "timeBeforeExpiry (--rotate-before-expiry, --notify-before-expiry) needs an expiry time, expiryTime (--expires-after): give one, or a time after creation"
    )]
    NoExpiry,
    /// A rotation that comes too early, or too early before the end.
    #[error(
        "timeAfterCreate or timeBeforeExpiry of Rotate (--rotate-after, --rotate-before-expiry) is at least {ROTATION_DAYS_MIN} days, such as P{ROTATION_DAYS_MIN}D"
    )]
    Early,
    /// A rotation that leaves too little on its other side.
    #[error(
        "timeAfterCreate or timeBeforeExpiry of Rotate (--rotate-after, --rotate-before-expiry) is at least {ROTATION_DAYS_MIN} days shorter than expiryTime (--expires-after)"
    )]
    Late,
}

impl Refused {
    /// The refusal as the wire tells it.
    #[must_use]
    pub fn told(&self) -> Refusal {
        Refusal { code: self.code(), message: self.to_string().into() }
    }

    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Forbidden { .. }
            | Self::ForbiddenIn { .. }
            | Self::ForbiddenFor { .. }
            | Self::OutOfReach { .. }
            | Self::NotYours { .. }
            | Self::PurgeProtection(_)
            | Self::MovesToItself { .. }
            | Self::SecondPrincipal { .. }
            | Self::SecondRestorer { .. } => RefusalCode::Forbidden,
            Self::NoVault(_)
            | Self::NoKey(_)
            | Self::NoVersion(..)
            | Self::NobodyYet(_)
            | Self::NoApp(_)
            | Self::NoToken(..)
            | Self::NoSet(_)
            | Self::NoDisk(_) => RefusalCode::NotFound,
            Self::Damaged(_) | Self::Dangling(_) | Self::StoreBroken(_) => RefusalCode::Unavailable,
            Self::AuditBroken(_)
            | Self::StoreLost(_)
            | Self::DiskFull
            | Self::AuditCopy(..)
            | Self::NotCopied(..) => RefusalCode::Unavailable,
            Self::KeyDisabled(_)
            | Self::Ended(_)
            | Self::KeyDeleted(_)
            | Self::Operation(..)
            | Self::NotYetValid(_)
            | Self::Expired(_)
            | Self::NotFollowed(_)
            | Self::IdentityLacks { .. }
            | Self::Withheld => RefusalCode::KeyDisabled,
            Self::InUseBy { .. } | Self::StaleToken { .. } => RefusalCode::NeedsConsent,
            Self::InUse { .. } => RefusalCode::InUse,
            _ if self.is_malformed() => RefusalCode::BadRequest,
            // Well formed, and at odds with what there is.
            _ => RefusalCode::Conflict,
        }
    }

    /// Whether what was asked makes no sense in any state.
    fn is_malformed(&self) -> bool {
        matches!(
            self,
            Self::KeyBits(_)
                | Self::NoHsm
                | Self::Retention(_)
                | Self::TooManyCertificates(_)
                | Self::TokenLife(_)
                | Self::TokenLabel
                | Self::Undecryptable
                | Self::PlaintextTooLong(_)
                | Self::Import(_)
                | Self::InHsm(_)
                | Self::KeyBackup
                | Self::RotationPolicy(_)
                | Self::Derivation
                | Self::ReadOnly(_)
                | Self::SectorSize(_)
                | Self::DiskSize { .. }
                | Self::DiskTooLarge(_)
                | Self::Shrink { .. }
                | Self::DenseGrowth(_)
                | Self::GrowsNot(_)
                | Self::DataOffset(_)
                | Self::LeaseLength(_)
                | Self::Grace(_)
                | Self::NeverValid(_)
                | Self::Unsigned(_)
                | Self::TooManyTags(_)
                | Self::TagLength
                | Self::NotParked
                | Self::AcceptBreak
                | Self::ArchivePath(_)
                | Self::NothingBroken
                | Self::NothingDamaged
                | Self::NothingToUpgrade
                | Self::NothingToArchive(_)
                | Self::ArchiveHere
                | Self::Archive(_)
                | Self::Backup(_)
                | Self::AnswerTooLong
                | Self::WhichDisks(_)
                | Self::NotForDisks(_)
                | Self::NoPermission
        )
    }

    /// Whether it says that a key, or the right to it, is gone for now: a holder waits for such a one.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        self.code() == RefusalCode::KeyDisabled
    }
}
