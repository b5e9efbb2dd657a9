//! Every limit of the daemon, with its reason. Those of the wire are in [`keyd_client::limits`].

use std::time::Duration;

/// Connections at once. A lease is a connection: a thousand attached disks and room for commands.
pub const CONNECTIONS_MAX: usize = 2048;

/// Open files: one a connection, and some for the daemon itself.
pub const OPEN_FILES: u64 = CONNECTIONS_MAX as u64 + 64;

/// A connection that asks nothing for this long is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Stack of a connection's thread, bytes: the deepest path (RSA, then JSON) with the 64 KiB that
/// [`keyd_client::dek::page::scrub_stack`] overwrites, several times over.
pub const THREAD_STACK_LEN: usize = 1 << 20;

/// Keys at once: a list of them must fit one frame.
pub const KEYS_MAX: usize = 1000;

/// Versions of one key: all of them must fit one frame of `key show`.
pub const VERSIONS_MAX: usize = 2000;

/// Disk encryption sets at once: a list of them must fit one frame.
pub const SETS_MAX: usize = 1000;

/// Audit records in one reply: each of at most [`AUDIT_DETAIL_MAX`] and two names, so that they fit one frame.
pub const AUDIT_TAIL_MAX: u32 = 500;

/// Longest detail of an audit record, bytes.
pub const AUDIT_DETAIL_MAX: usize = 512;

/// Longest line of the audit log, bytes: more is not a record of ours.
pub const AUDIT_LINE_MAX: usize = 8192;

/// A segment of the audit log is closed at this length, bytes: about 200,000 rows, checked in well under a second, few
/// enough files for years of uses.
pub const AUDIT_SEGMENT_LEN: u64 = 64 << 20;

/// Shortest segment that can be asked for, bytes: one row of the greatest length.
pub const AUDIT_SEGMENT_LEN_MIN: u64 = AUDIT_LINE_MAX as u64;

/// Blocks behind the end of the audit log are reserved in steps of this, bytes: a system call in 3,000 rows.
pub const AUDIT_STEP_LEN: u64 = 1 << 20;

/// What of these blocks uses of keys leave to administrators, bytes: some 700 rows.
pub const AUDIT_KEPT_LEN: u64 = 256 << 10;

/// Length of the ballast, bytes: what administrators may have written on a full disk before they freed any.
pub const BALLAST_LEN: u64 = 8 << 20;

/// What of the ballast is given up at once, bytes: more than any administrator's commit writes anew (some 20 pages of
/// 4 KiB; a thousand keys and their versions fit).
pub const BALLAST_PIECE_LEN: u64 = 512 << 10;

/// Memory for pages of the store, bytes: 10,000 disks fit twice over.
pub const STORE_CACHE_LEN: usize = 64 << 20;

/// How long a commit waits for a copy of its audit record. A copy that takes longer counts as failing, and is waited for
/// no more until it has caught up.
pub const COPY_PATIENCE: Duration = Duration::from_secs(2);

/// DEKs wrapped anew in one commit: a crash repeats no more than these, a commit's two fsyncs are shared by them.
pub const REWRAP_BATCH: usize = 64;

/// Lease of disks in the platform set, milliseconds.
pub const PLATFORM_LEASE_MS: u64 = 60_000;

/// Largest disk, bytes: 64 TiB, the largest managed disk; XTS under one key stays far below its bound.
pub const DISK_SIZE_MAX: u64 = 64 << 40;

/// Smallest data offset of an image, bytes: two LUKS2 header copies of 16 KiB.
pub const DATA_OFFSET_MIN: u64 = 32 << 10;

/// Largest data offset of an image, bytes: LUKS2 headers of the largest size end far below.
pub const DATA_OFFSET_MAX: u64 = 1 << 30;

/// Alignment of the data offset, bytes: what O_DIRECT asks of any device.
pub const DATA_OFFSET_ALIGN: u64 = 4096;

/// PBKDF2 iterations of a volume key's digest. The key is 512 random bits: iterations add nothing but time
/// (cryptsetup's own minimum is 1000).
pub const DIGEST_ITERATIONS: u32 = 1000;

const _: () = assert!(
    AUDIT_TAIL_MAX as usize * (AUDIT_DETAIL_MAX + 1024) <= keyd_client::limits::BODY_LEN_MAX,
    "a tail of the audit log must fit a frame"
);
const _: () = assert!(REWRAP_BATCH > 0);
const _: () = assert!(AUDIT_KEPT_LEN > AUDIT_LINE_MAX as u64 && BALLAST_PIECE_LEN <= BALLAST_LEN);
