//! Bech32 (BIP 173), as age writes its keys: a prefix, 32 bytes in groups of five bits, a checksum. Of any case, but of
//! one; longer than BIP 173 allows.

const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
const CHECKSUM_LEN: usize = 6;

/// The bytes of a key with a prefix, which is in lower case, straight into `key`. Nothing if it is none.
pub(super) fn decode(text: &str, prefix: &str, key: &mut [u8; 32]) -> Option<()> {
    let mixed = text.bytes().any(|b| b.is_ascii_lowercase())
        && text.bytes().any(|b| b.is_ascii_uppercase());
    let (found, data) = text.rsplit_once('1')?;
    let whole = data.len() == (32usize * 8).div_ceil(5) + CHECKSUM_LEN;
    if mixed || !whole || !found.eq_ignore_ascii_case(prefix) {
        return None;
    }
    let mut checksum = checksum_of_prefix(prefix);
    let (mut bits, mut count, mut filled) = (0u32, 0, key.iter_mut());
    for (at, byte) in data.bytes().enumerate() {
        let value = value(byte)?;
        checksum = step(checksum, value);
        if at < data.len() - CHECKSUM_LEN {
            (bits, count) = (bits << 5 | value, count + 5);
            if count >= 8 {
                count -= 8;
                // Only the lowest bits are still to be written.
                *filled.next()? = (bits >> count & 0xff) as u8;
            }
        }
    }
    let padding_is_zero = bits & ((1 << count) - 1) == 0;
    (checksum == 1 && padding_is_zero).then_some(())
}

fn value(byte: u8) -> Option<u32> {
    let found = CHARSET.iter().position(|c| *c == byte.to_ascii_lowercase())?;
    u32::try_from(found).ok()
}

fn checksum_of_prefix(prefix: &str) -> u32 {
    let high = prefix.bytes().map(|byte| u32::from(byte >> 5));
    let low = prefix.bytes().map(|byte| u32::from(byte & 31));
    high.chain([0]).chain(low).fold(1, step)
}

fn step(checksum: u32, value: u32) -> u32 {
    let top = checksum >> 25;
    let next = (checksum & 0x1ff_ffff) << 5 ^ value;
    GENERATOR.iter().enumerate().fold(next, |next, (bit, generator)| {
        if top >> bit & 1 == 1 { next ^ generator } else { next }
    })
}
