//! Every limit of the daemon, with its reason. Those of the wire are in [`keyd_client::limits`].

use std::time::Duration;

/// Connections at once. A lease is a connection: a thousand attached disks and room for commands.
pub const CONNECTIONS_MAX: usize = 2048;

/// Open files: one a connection of the socket, of HTTPS and of the identity endpoint, and some for the daemon itself.
pub const OPEN_FILES: u64 = CONNECTIONS_MAX as u64 + 2 * HTTP_CONNECTIONS_MAX as u64 + 64;

/// A connection that asks nothing for this long is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Stack of a connection's thread, bytes: the deepest path (RSA, then JSON) with the 64 KiB that
/// [`keyd_client::dek::page::scrub_stack`] overwrites, several times over.
pub const THREAD_STACK_LEN: usize = 1 << 20;

/// Keys of one vault, deleted ones included: far more than vaults are known to have.
pub const KEYS_MAX: usize = 10_000;

/// Keys in one reply of a list.
pub const KEYS_PER_PAGE: usize = 100;

/// Versions of one key: they are stored together, and all of them must fit one frame of `key show`. One a week makes
/// nearly ten years.
pub const VERSIONS_MAX: usize = 500;

/// Purged versions that are remembered: with the oldest ones forgotten first, it takes making and purging so many keys
/// to be rid of one.
pub const PURGED_MAX: u64 = 65_536;

/// Vaults at once: a list of them must fit one frame.
pub const VAULTS_MAX: usize = 256;

/// Access policies of one vault (Key Vault's own limit).
pub const POLICIES_MAX: usize = 1024;

/// Grants: a user for each of 10,000 disks, twice over. Some commands look through all of them.
pub const GRANTS_MAX: usize = 20_000;

/// Grants in one reply: each of two names and a few words.
pub const GRANTS_PER_PAGE: usize = 1000;

/// Grants that are told of one disk.
pub const GRANTS_PER_DISK: usize = 256;

/// Shortest life of a version under a rotation policy, days (Key Vault's own limit).
pub const VERSION_LIFE_DAYS_MIN: u32 = 28;
/// Shortest time from the making of a version to its rotation, and from there to its expiry, days (likewise).
pub const ROTATION_DAYS_MIN: u32 = 7;
/// When the coming end of a version is told, if its policy does not say, days before (likewise).
pub const NOTICE_DAYS: u16 = 30;

/// Milliseconds of a day.
pub const MILLIS_PER_DAY: u64 = 24 * 3600 * 1000;

/// How long a clock that went further than time passed must stand so before what cannot be undone is done by it,
/// milliseconds of running time: a day, in which somebody sees the warning.
pub const CLOCK_WAIT_MS: i64 = 24 * 3600 * 1000;

/// From how far ahead on such a clock is warned of, milliseconds: a host that is started anew has less.
pub const CLOCK_LONG_MS: i64 = 3600 * 1000;

/// How far the clock may be set without counting as another one, milliseconds: what time servers correct.
pub const CLOCK_JITTER_MS: i64 = 60 * 1000;

/// No time before this is right, milliseconds since 1970: 2020-01-01. A host without a battery starts in 1970.
pub const CLOCK_EARLIEST_MS: u64 = 1_577_836_800_000;

/// Longest grace of a set, milliseconds: a week. What may run longer without its key should not be told to halt.
pub const GRACE_MS_MAX: u64 = 7 * MILLIS_PER_DAY;

/// What Azure's disks take to notice the loss of a key, milliseconds.
pub const AZURE_GRACE_MS: u64 = 3600 * 1000;

/// How often what is due by the clock is looked for: graces, expiries, rotations, retentions.
pub const TICK: Duration = Duration::from_secs(1);

/// A rotation that failed by itself is tried again after this time, milliseconds.
pub const ROTATION_RETRY_MS: u64 = 60_000;

/// How long a command may wait for holders' confirmations, milliseconds: longer than the longest lease.
pub const WAIT_MS_MAX: u64 = 2 * 3600 * 1000;

/// How long a command waits for the daemon's wrapping DEKs anew: a million of them under RSA-4096.
pub const LONG_WORK_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

/// How often a command looks how far that is.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Disk encryption sets at once: each is looked at every second.
pub const SETS_MAX: usize = 1000;

/// Disk encryption sets in one reply of a list: each may carry the reasons for which it lost its key.
pub const SETS_PER_PAGE: usize = 100;

/// Longest text in an audit record of who did something, bytes: `app:` and the longest name.
pub const AUDIT_WHO_MAX: usize = 132;

/// Longest text of what it was done to, bytes: a vault, a key and its version; longer paths are cut.
pub const AUDIT_SUBJECT_MAX: usize = 192;

/// Longest outcome, bytes.
pub const AUDIT_OUTCOME_MAX: usize = 48;

/// Longest detail, bytes.
pub const AUDIT_DETAIL_MAX: usize = 512;

/// Longest line of a record, bytes: JSON makes two of a quotation mark, and the rest are names, numbers and a hash.
pub const AUDIT_ROW_LEN_MAX: usize =
    2 * (AUDIT_WHO_MAX + AUDIT_SUBJECT_MAX + AUDIT_OUTCOME_MAX + AUDIT_DETAIL_MAX) + 288;

/// Longest line of the audit log, bytes: more is not a record of ours.
pub const AUDIT_LINE_MAX: usize = 8192;

/// Longest line of the daemon's log, bytes: a refusal in full with the names in it, and no path of a peer's as it came.
pub const LOG_LINE_MAX: usize = 1024;

/// Longest path of a URL in a line of the log, bytes: those of the API have fewer.
pub const LOG_PATH_MAX: usize = 256;

/// Kinds of lines that others can cause, each by one of them: as many hosts and users have a line and a count of their
/// own in one minute.
pub const PROVOKED_KINDS_MAX: usize = 1024;

/// Kinds of refusals that have a row of their own in the audit log in one minute, and one that tells their number.
pub const REFUSAL_KINDS_MAX: usize = 1024;

/// How many of them one principal at one address can have: one who may nothing, and tries everything, has 33 rows in a
/// minute and as many that tell numbers.
pub const REFUSAL_KINDS_EACH_MAX: usize = 32;

/// A segment of the audit log is closed at this length, bytes: about 200,000 rows, checked in about a second at each
/// start; few enough files for years of uses.
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

/// How long a commit waits for a copy of its audit record. A copy that takes longer counts as failing, and is waited
/// for no more until it has caught up.
pub const COPY_PATIENCE: Duration = Duration::from_secs(2);

/// A rotation that is under way is waited for so long where it matters that it is over: some thousands of DEKs.
pub const ROTATION_END_TIME: Duration = Duration::from_secs(5);

/// DEKs wrapped anew in one commit: a crash repeats no more than these, a commit's two fsyncs are shared by them.
pub const REWRAP_BATCH: usize = 64;

/// Argon2id's cost for a passphrase, as RFC 9106 (section 4) recommends where 2 GiB are too much: memory in KiB.
pub const ARGON2_MEMORY_KIB: u32 = 64 << 10;

/// Passes over it.
pub const ARGON2_ITERATIONS: u32 = 3;

/// Lanes, computed one after another here: the start waits a fraction of a second.
pub const ARGON2_LANES: u32 = 4;

/// Bounds of a cost read from a file, memory in KiB: below 8 MiB a guess is cheap, above 1 GiB a start may fail.
pub const ARGON2_MEMORY_KIB_MIN: u32 = 8 << 10;
/// See [`ARGON2_MEMORY_KIB_MIN`].
pub const ARGON2_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Most passes: with 1 GiB, about half a minute.
pub const ARGON2_ITERATIONS_MAX: u32 = 16;
/// Most lanes.
pub const ARGON2_LANES_MAX: u32 = 16;

/// Shortest new passphrase, bytes: guessed offline by who has `root.json`; twelve random letters are 56 bits.
pub const PASSPHRASE_LEN_MIN: usize = 12;

/// Longest passphrase, bytes: a sentence or a generated key, in a quarter of a page.
pub const PASSPHRASE_LEN_MAX: usize = 1024;

/// Longest `root.json`, bytes: a wrapped key of RSA-4096 in base64 has 700.
pub const ROOT_DOCUMENT_LEN_MAX: u64 = 16 << 10;

/// How often every record is checked by itself, milliseconds: a disk that rots is found before the last backup from
/// before is gone.
pub const CHECK_INTERVAL_MS: u64 = MILLIS_PER_DAY;

/// Disks whose DEKs are opened in one view of the state, by a check that opens all.
pub const CHECK_BATCH: usize = 256;

/// Damaged records that are told by name: more of them fit no frame, and nobody reads on.
pub const DAMAGE_TOLD_MAX: usize = 1000;

/// A backup that failed is tried again after this time, milliseconds.
pub const BACKUP_RETRY_MS: u64 = 60_000;

/// Backups that are kept, if nothing else is said: of a week, at one an hour.
pub const BACKUPS_KEPT: usize = 168;

/// Rows of a store that is restored in one commit: a few megabytes.
pub const REBUILD_BATCH: usize = 4096;

/// Recipients of a backup: some people and a safe; each has a line in the audit record's detail of at most
/// [`AUDIT_DETAIL_MAX`].
pub const RECIPIENTS_MAX: usize = 8;

/// Longest identity file, bytes: some secret keys and comments.
pub const IDENTITY_LEN_MAX: usize = 4096;

/// Longest row of a store in a backup, bytes: a key with [`VERSIONS_MAX`] versions has less.
pub const ROW_LEN_MAX: u64 = 64 << 20;

/// Longest manifest of a backup, bytes: some hundred for each file of the audit log.
pub const BACKUP_JSON_LEN_MAX: u64 = 16 << 20;

/// Longest header of a sealed backup, bytes: a recipient has about 100.
pub const AGE_HEADER_LEN_MAX: usize = 64 << 10;

/// Disks that are read at once where all are looked through.
pub const DISKS_PER_LOOK: usize = 512;

/// Lines about single disks in `status`: beyond them the list of disks is easier to read.
pub const DISK_WARNINGS_MAX: usize = 20;

/// Disks of which it is remembered how their last holder ended: every disk of a large host.
pub const LAST_HOLDERS_MAX: usize = 16 << 10;

/// Sessions with a token at once: tokens have few, and do one thing at a time. Others wait their turn.
pub const HSM_SESSIONS_MAX: usize = 8;

/// How long a request waits for its turn at the token: a token that takes longer for the requests before it is stuck.
pub const HSM_WAIT: Duration = Duration::from_secs(30);

/// Longest PIN file, bytes: PINs of tokens have 4 to 255 characters, and there may be a line end.
pub const HSM_PIN_LEN_MAX: usize = 256;

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

/// Entries of a list over HTTPS at once (Key Vault's `maxresults`).
pub const LIST_PAGE_MAX: usize = 25;

/// Tags of a key (Key Vault's limit).
pub const TAGS_MAX: usize = 15;

/// Longest name or value of a tag, characters (Key Vault's limit).
pub const TAG_LEN_MAX: usize = 256;

/// Longest query of a URL, bytes: a version, a number, and a token of 4/3 of the longest name.
pub const QUERY_LEN_MAX: usize = 2048;

/// Longest body of an HTTPS request, bytes: an RSA-4096 private key as JWK has about 4,500, and the longest tags
/// [`TAGS_JSON_LEN_MAX`].
pub const BODY_LEN_MAX: usize = 128 << 10;

/// The longest tags as JSON, bytes: a character outside the basic plane is escaped as two of six bytes each, as
/// Python's json writes it.
const TAGS_JSON_LEN_MAX: usize = TAGS_MAX * (2 * TAG_LEN_MAX * 12 + 8);

/// Longest body of a restore over HTTPS, bytes: a key of [`VERSIONS_MAX`] versions, each of which has about 5 KiB
/// (RSA-4096, sealed, in base64), and the longest tags, in which the store escapes a control character as six bytes;
/// all of it in base64 once more.
pub const RESTORE_LEN_MAX: usize = 36 << 20;

/// Applications at once: a list of them must fit one frame.
pub const APPS_MAX: usize = 1000;

/// Client certificates of one application: one in use, one to come, on several hosts.
pub const APP_CERTIFICATES_MAX: usize = 16;

/// Tokens of one application, expired ones included until another is made: a list of them must fit one frame.
pub const TOKENS_PER_APP_MAX: u64 = 256;

/// Shortest life of a token, milliseconds: it has to be taken somewhere first.
pub const TOKEN_LIFE_MS_MIN: u64 = 1000;

/// Longest life of a token, milliseconds: ten years, which is no life any more.
pub const TOKEN_LIFE_MS_MAX: u64 = 3650 * MILLIS_PER_DAY;

/// Longest label of a token, characters.
pub const TOKEN_LABEL_LEN_MAX: usize = 64;

/// Life of tokens from the identity endpoint, milliseconds.
pub const IDENTITY_TOKEN_MS: u64 = 3600 * 1000;

/// What a token that the identity endpoint gives out has left at least, milliseconds: with less than five minutes
/// clients count it as expired, and would ask again with each call.
pub const IDENTITY_TOKEN_LEFT_MS: u64 = 600 * 1000;

/// Connections by HTTPS at once; more wait in the kernel's queue. A connection takes at most two buffers of
/// [`HTTP_HEAD_LEN_MAX`], those of TLS of about 32 KiB, and a body of [`BODY_LEN_MAX`].
pub const HTTP_CONNECTIONS_MAX: usize = 1024;

/// Threads that serve them all: they only move bytes.
pub const HTTP_THREADS: usize = 2;

/// Threads on which their requests are worked on: commits wait for the disk, RSA for the processor.
pub const HTTP_WORKERS: usize = 16;

/// How many of those may make RSA keys, which takes seconds each.
pub const HTTP_MAKERS: usize = 2;

/// How many of those may have a body longer than [`BODY_LEN_MAX`] in memory.
pub const HTTP_RESTORES: usize = 2;

/// A request that waited this long for a thread is told to come again.
pub const HTTP_QUEUE_TIMEOUT: Duration = Duration::from_secs(20);

/// A TLS handshake is over within this time.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The head of a request is there within this time, else the connection is closed: it is the time of an idle connection
/// too.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The body of a request is there within this time after its head.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A client that takes nothing of its answer for this long is gone.
pub const HTTP_STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// At its end the daemon waits so long for what is worked on for HTTPS clients.
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Longest head of a request, bytes: an SDK's is about 1 KiB with its token.
pub const HTTP_HEAD_LEN_MAX: usize = 16 << 10;

/// Headers of a request.
pub const HTTP_HEADERS_MAX: usize = 64;

/// Life of the certification authority that keyd makes: as long as nobody wants to tell clients of another.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * DAY);

/// Life of the certificates it issues: their key is in memory only, and a leaked one is of use no longer.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * DAY);

/// Age from which they are issued anew.
pub const CERTIFICATE_RENEWAL: Duration = Duration::from_secs(20 * DAY);

/// How far a client's clock may be behind.
pub const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// Certificates at hand: one a vault that is asked for. More are issued each time anew.
pub const CERTIFICATES_MAX: usize = 256;

/// How often the operator's certificate is looked at for a newer one.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);

const DAY: u64 = 24 * 3600;

const _: () = assert!(CERTIFICATE_RENEWAL.as_secs() < CERTIFICATE_LIFE.as_secs());
const _: () = assert!(
    keyd_client::limits::AUDIT_TAIL_MAX as usize * AUDIT_ROW_LEN_MAX
        <= keyd_client::limits::BODY_LEN_MAX,
    "a tail of the audit log must fit a frame"
);
const _: () = assert!(AUDIT_ROW_LEN_MAX <= AUDIT_LINE_MAX);
const _: () = assert!(REWRAP_BATCH > 0);
const _: () = assert!(AUDIT_KEPT_LEN > AUDIT_LINE_MAX as u64 && BALLAST_PIECE_LEN <= BALLAST_LEN);
const _: () = assert!(TAGS_JSON_LEN_MAX + (8 << 10) < BODY_LEN_MAX);
const _: () = assert!(
    VERSIONS_MAX * ((5 << 10) + TAGS_MAX * 2 * TAG_LEN_MAX * 6) / 3 * 4 < RESTORE_LEN_MAX,
    "what is backed up can be restored"
);
