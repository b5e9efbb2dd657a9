//! Every limit of the data path, with its reason.

use std::time::Duration;

/// Most virtqueues of one disk: one thread, one ring and one buffer pool each, once its ring has been started.
pub const QUEUES_MAX: u16 = 64;

/// Longest virtqueue. Front ends ask for 64 to 1024.
pub const QUEUE_SIZE_MAX: u16 = 1024;

/// Virtqueue length unless `--queue-size` says otherwise.
pub const QUEUE_SIZE_DEFAULT: u16 = 256;

/// Data segments of one request that the device announces (`seg_max`): what QEMU's own devices say, so that a request
/// with its header and status fits a ring of 128.
pub const SEGMENTS_MAX: u32 = 126;

/// Descriptors in one chain, indirect ones included. More than the longest ring is a loop (virtio 1.2, 2.7.5.3.1).
pub const CHAIN_LEN_MAX: u16 = QUEUE_SIZE_MAX;

/// Longest data of one request, bytes: SEGMENTS_MAX segments of 1 MiB would be more than any driver sends; longer
/// requests get an I/O error instead of an hour of the queue.
pub const REQUEST_LEN_MAX: u64 = 256 << 20;

/// Ranges in one DISCARD or WRITE_ZEROES request (`max_discard_seg`, `max_write_zeroes_seg`).
pub const RANGES_MAX: u32 = 16;

/// Longest range of DISCARD, in 512-byte sectors: 1 GiB.
pub const DISCARD_SECTORS_MAX: u32 = (1 << 30) / 512;

/// Longest range of WRITE_ZEROES, in 512-byte sectors: 64 MiB, as the zeros may have to be written, and the requests
/// behind them wait for that.
pub const ZEROES_SECTORS_MAX: u32 = (64 << 20) / 512;

/// Requests that a queue takes, and bytes that it moves, between two looks at its commands: a millisecond or two.
pub const TURN_REQUESTS: u16 = QUEUE_SIZE_MAX;
/// See [`TURN_REQUESTS`].
pub const TURN_LEN: u64 = 4 << 20;

/// A large I/O buffer, bytes. A longer request goes in pieces of this size, several of them at once.
pub const BUFFER_LEN: usize = 128 << 10;

/// Large I/O buffers of one queue: 2 MiB are at the disk at one time, more than any disk reads in a tenth of a
/// millisecond.
pub const LARGE_BUFFERS: usize = 16;

/// A small I/O buffer, bytes: a page of most databases.
pub const SMALL_BUFFER_LEN: usize = 16 << 10;

/// Small I/O buffers of one queue.
pub const SMALL_BUFFERS: usize = 64;

/// I/O buffers of one queue, and with them the most reads and writes a queue has at the disk.
pub const BUFFERS: usize = LARGE_BUFFERS + SMALL_BUFFERS;

/// Memory of one queue's I/O buffers, bytes: 3 MiB, locked where they are registered with the kernel.
pub const POOL_LEN: usize = LARGE_BUFFERS * BUFFER_LEN + SMALL_BUFFERS * SMALL_BUFFER_LEN;

/// Plaintext of data units that lie in pieces, on its way through one queue, bytes: small enough to stay in the
/// first-level cache, a multiple of every data unit.
pub const TILE_LEN: usize = 4096;

/// Submission entries of one ring: as many as a page holds. A queue that has more to submit than that does it by two
/// system calls.
pub const RING_ENTRIES: u32 = 64;

/// Completion entries of one ring: every operation, the watches, and some of kicks that were not taken yet. With the
/// ring's header they fill no more than a page.
pub const RING_COMPLETIONS: u32 = 128;

/// What a ring counts against the memory lock limit of its user from Linux 6.14 on, bytes: a page of submissions, and
/// one of completions. It cannot be less.
pub const RING_LEN: u64 = 8192;

/// What registered buffers leave of a memory lock limit, bytes, at most: a thousand rings. Of a small limit they leave
/// half. It is shared by all processes of a user: without buffers a disk is a little slower, and without a ring slower
/// than that.
pub const LOCK_RESERVE_MAX: u64 = 8 << 20;

/// Rings that are made in advance where later there can be none and locked memory is limited.
pub const RINGS_IN_ADVANCE: u16 = 4;

/// How long the process that makes rings may take for one.
pub const RING_TIME: Duration = Duration::from_secs(2);

/// Room at the disk beyond one operation for each buffer. Flushes and punches, which have none, may take all the room
/// there is: requests wait for some as they wait for buffers, in their order.
pub const BARE_OPERATIONS_MAX: usize = 32;

/// Threads of one queue where io_uring is not to be had, and with them the most operations it has at the disk: what a
/// fast disk (80 us) makes 100,000 operations a second of.
pub const WORKERS: usize = 8;

/// How often an operation is tried again when the kernel says EAGAIN or EINTR.
pub const ATTEMPTS_MAX: u16 = 1000;

/// How long a fence waits for operations at the disk before it drops the key under them.
pub const DRAIN_TIME: Duration = Duration::from_millis(100);

/// First and longest pause before requests that found no space below the image are tried again: soon enough that nobody
/// waits for it who has just made some, and too seldom to be a load.
pub const SPACE_RETRY_TIME: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(1));

/// How long the lease thread waits for every queue to confirm a fence before it ends the process.
pub const FENCE_TIME: Duration = Duration::from_secs(2);

/// How long the control thread waits for a queue to drain before it gives up on the front end's stop.
pub const STOP_TIME: Duration = Duration::from_secs(30);

/// How long a queue without work looks for more before it sleeps, at most.
pub const SPIN_TIME_MAX: Duration = Duration::from_micros(50);

/// Descriptors that may be wanted at one time once the process serves. For each queue: its kick, its call, those of the
/// session's, and one that takes the place of another; and those that it is made of when it is started: its doorbell,
/// twice, the image, twice, and a ring, or what threads are watched by. For all: the regions of a guest, as many of a
/// new table, as many in a message that is to be refused; the connections, in-flight memory.
#[must_use]
pub const fn files_wanted(queues: u16) -> u64 {
    11 * queues as u64 + 3 * MEMORY_REGIONS_MAX as u64 + 16
}

/// Descriptors of a process that serves besides those of queues and front ends: standard ones, image, sockets, the
/// signal's, mailboxes; and some that a parent left open.
pub const FILES_AT_START: u64 = 48;

/// Memory regions of a guest (what the vhost-user crates allow in one message).
pub const MEMORY_REGIONS_MAX: usize = 32;

/// Longest line of the log, bytes: an error and its causes, with paths in it.
pub const LOG_LINE_MAX: usize = 1024;

/// Lines of one kind that a guest or a front end can have written one by one; more are counted, and their number is
/// told each minute.
pub const PROVOKED_LINES_MAX: u32 = 10;

/// Kinds of such lines: more than there are.
pub const PROVOKED_KINDS_MAX: usize = 32;

/// Between attempts to accept a front end for which there is no descriptor; less than a second.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A front end that has begun a message must finish it within this time.
pub const MESSAGE_TIME: Duration = Duration::from_secs(2);

/// How long the first attempt to attach anew may take, as the daemon may be hung, and any attempt, as it may be slow.
pub const ATTACH_TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// First and longest pause between attempts to reach a key daemon that is gone.
pub const RECONNECT_TIME: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));

/// Longest pause between attempts to have a disk that the daemon refuses, or that is another one by its record: nothing
/// but somebody's doing changes that, and each attempt is a refusal in its log.
pub const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(30);

const _: () = assert!(BUFFER_LEN.is_multiple_of(TILE_LEN));
const _: () = assert!(SMALL_BUFFER_LEN.is_multiple_of(4096), "buffers lie at page boundaries");
const _: () = assert!(TURN_LEN >= POOL_LEN as u64, "a turn can fill every buffer");
const _: () = assert!(TILE_LEN.is_multiple_of(4096), "a tile holds whole data units");
const _: () = assert!(BUFFERS + BARE_OPERATIONS_MAX + 8 <= RING_COMPLETIONS as usize);
const _: () = assert!(64 * RING_ENTRIES <= 4096, "entries of 64 bytes fill a page");
const _: () = assert!(SEGMENTS_MAX + 2 <= CHAIN_LEN_MAX as u32);
const _: () = assert!(DRAIN_TIME.as_millis() * 2 < FENCE_TIME.as_millis());
const _: () = assert!(DRAIN_TIME.as_millis() < keyd_client::limits::LET_GO_TIME.as_millis());

/// For so long an image or a disk that is in use is tried again at the start: whoever replaces a process that was
/// killed comes before everything of it has ended.
pub const TAKE_OVER_TIME: Duration = Duration::from_secs(2);

/// Between those tries.
pub const TAKE_OVER_PAUSE: Duration = Duration::from_millis(10);
