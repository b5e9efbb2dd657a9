//! Every limit of the wire, with its reason.

use std::time::Duration;

/// Longest JSON body of a frame, bytes: a page of a list of disks with room to spare. A longer length is refused
/// before anything is allocated.
pub const BODY_LEN_MAX: usize = 1 << 20;

/// Longest JSON body of a request or of a holder's message, bytes: fifteen tags whose names and values have 256
/// characters, each of which JSON may write in six bytes. What all connections of the daemon together may make it
/// allocate depends on this.
pub const REQUEST_LEN_MAX: usize = 64 << 10;

/// Longest period of a rotation policy, years: nobody plans further, and what is counted from now has a date.
pub const PERIOD_YEARS_MAX: u32 = 1000;

/// Longest word of a command line that is quoted in an error, bytes: a path of some length, a few lines on a terminal.
pub const QUOTED_LEN_MAX: usize = 256;

/// Most audit records in one reply.
pub const AUDIT_TAIL_MAX: u32 = 500;

/// Shortest retention of deleted keys, days (Key Vault's own limit).
pub const RETENTION_DAYS_MIN: u16 = 7;
/// Longest, likewise.
pub const RETENTION_DAYS_MAX: u16 = 90;

/// Disks in one reply of a list; the client asks for the next page with the last id it saw.
pub const DISKS_PER_PAGE: usize = 512;

/// Longest key or DES name, characters (Key Vault's own limit).
pub const NAME_LEN_MAX: usize = 127;

/// Shortest and longest name of a vault, characters (Key Vault's own limits; it is a DNS label).
pub const VAULT_NAME_LEN_MIN: usize = 3;
/// See [`VAULT_NAME_LEN_MIN`].
pub const VAULT_NAME_LEN_MAX: usize = 24;

/// Longest text in a process's account of how it serves its disk, bytes: a reason and what to do, kept for each lease.
pub const SERVING_TEXT_MAX: usize = 512;

/// Disks named in one account of what a verb would hit; beyond it they are only counted.
pub const IMPACT_LISTED_MAX: usize = 2000;

/// A frame that has begun must be whole within this time, else the peer counts as gone.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a command waits for the daemon's answer. Rotation of many disks answers with progress inside it.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest path of a Unix socket, bytes: the kernel's address has 108, and the last is a zero (unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// Shortest lease: below it, scheduling noise on a busy host would fence healthy disks.
pub const LEASE_MIN: Duration = Duration::from_secs(1);

/// Longest lease: this bounds how long a disk may run on after its host lost sight of the daemon.
pub const LEASE_MAX: Duration = Duration::from_secs(3600);

/// What letting go of a key may take: what is at the disk ends, threads are woken. A holder begins so long before its
/// lease is over, so that it holds nothing when the daemon believes that it does not.
pub const LET_GO_TIME: Duration = Duration::from_millis(150);

/// A lease is renewed three times in its life, so two renewals may be lost before the disk is fenced.
pub const RENEWALS_PER_LEASE: u32 = 3;

const _: () = assert!(REQUEST_LEN_MAX <= BODY_LEN_MAX);
const _: () = assert!(LEASE_MIN.as_millis() < LEASE_MAX.as_millis());
const _: () = assert!(
    LET_GO_TIME.as_millis() * (RENEWALS_PER_LEASE as u128) < LEASE_MIN.as_millis(),
    "two renewals of the shortest lease may be lost"
);
const _: () =
    assert!(DISKS_PER_PAGE * 1024 <= BODY_LEN_MAX, "a page of disk records must fit a frame");
