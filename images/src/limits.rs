//! Every limit of the image format and its tools, with its reason.

use std::time::Duration;

/// One copy of the header, bytes: 4096 binary and 12288 of JSON, as stock `luksFormat` makes it. Larger ones are legal
/// LUKS2 and refused: nothing we write needs them, and a header of one size has its second copy in one place.
pub const HEADER_COPY_LEN: usize = 16 * 1024;

/// The binary part of a copy, bytes (LUKS2 spec 1.1.4, section 2.1).
pub const BINARY_LEN: usize = 4096;

/// The JSON area of a copy, bytes: bounds what the parser is given.
pub const JSON_AREA_LEN: usize = HEADER_COPY_LEN - BINARY_LEN;

/// Both copies, bytes: all that is ever read or written of a header.
pub const HEADER_LEN: u64 = 2 * HEADER_COPY_LEN as u64;

/// Keyslots area of a new image, bytes: stock `luksFormat`'s, room for break-glass passphrases and re-encryption.
pub const KEYSLOTS_LEN: u64 = 16_744_448;

/// Largest keyslots area that stock `cryptsetup` takes, bytes (LUKS2 spec 1.1.4, section 2.3).
pub const KEYSLOTS_LEN_MAX: u64 = 128 << 20;

/// Levels of JSON, the outermost object and the innermost value included, that json-c takes: the parser of stock
/// `cryptsetup`, by its default.
pub const STOCK_JSON_DEPTH_MAX: usize = 32;

/// Where the data area of a new image begins, bytes.
pub const DATA_OFFSET: u64 = HEADER_LEN + KEYSLOTS_LEN;

/// Largest data area, bytes (2^60, an exbibyte): keeps every offset far from the ends of `u64` and `i64`.
pub const DATA_LEN_MAX: u64 = 1 << 60;

/// Most PBKDF2 iterations a digest may ask for: the input is 512 random bits, so a header that asks for more only
/// wants our time.
pub const DIGEST_ITERATIONS_MAX: u32 = 10_000_000;

/// Salt and result of a digest, bytes (LUKS2 spec 1.1.4, section 3.5).
pub const DIGEST_LEN: usize = 32;

/// How long a tool waits for another program to let go of an image's header. `cryptsetup` holds it for an instant.
pub const HEADER_LOCK_WAIT: Duration = Duration::from_secs(5);

/// Piece in which a dense disk is filled, bytes: large enough for the disk, small enough for the cache and for
/// a live progress display.
pub const FILL_PIECE_LEN: usize = 1 << 20;

/// Piece in which the new end of a block device is zeroed, bytes: a disk without means of its own writes it in seconds,
/// so that the display moves.
pub const ZERO_PIECE_LEN: u64 = 256 << 20;

const _: () = assert!(DATA_OFFSET == 16 << 20, "data begins where stock luksFormat puts it");
const _: () =
    assert!(KEYSLOTS_LEN.is_multiple_of(4096), "the spec wants the keyslots area 4 KiB aligned");
const _: () =
    assert!(FILL_PIECE_LEN.is_multiple_of(4096), "a piece is whole sectors of either size");
const _: () = assert!(DATA_LEN_MAX + DATA_OFFSET < i64::MAX as u64, "file offsets are signed");
