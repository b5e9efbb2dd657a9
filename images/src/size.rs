//! Sizes as people write and read them, in binary units.

use thiserror::Error;

const UNITS: [(char, u32); 5] = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50)];

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SizeError {
    /// It is no number and unit.
    #[error(
        "'{0}' is not a size: write bytes, or a whole number with K, M, G, T or P (binary units), such as 10G"
    )]
    NotOne(String),
    /// No disk is so large.
    #[error("'{0}' is larger than any disk can be: choose a smaller size, such as 10G")]
    TooLarge(String),
}

/// Bytes of `512`, `10K`, `10M`, `10G`, `2T`, `1P`; also with `iB` behind the unit. K is 1024.
///
/// # Errors
/// [`SizeError`]: no digits, another unit, a fraction; more than 64 bits.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let quoted = || text.chars().take(40).collect::<String>();
    let wrong = || SizeError::NotOne(quoted());
    let too_large = || SizeError::TooLarge(quoted());
    let (digits, shift) = match text.strip_suffix("iB").unwrap_or(text).char_indices().next_back() {
        Some((end, last)) if !last.is_ascii_digit() => {
            let unit = UNITS.iter().find(|(name, _)| *name == last.to_ascii_uppercase());
            (&text[..end], unit.ok_or_else(wrong)?.1)
        }
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    // Digits alone: what does not parse is too large.
    let number: u64 = digits.parse().map_err(|_| too_large())?;
    number.checked_mul(1 << shift).ok_or_else(too_large)
}

/// `10 GiB (10737418240 bytes)`, in the largest unit in which it is whole: what is printed is never more or less than
/// what there is.
#[must_use]
pub fn show(bytes: u64) -> String {
    let whole = |shift: u32| bytes > 0 && bytes.trailing_zeros() >= shift;
    match UNITS.iter().rev().find(|(_, shift)| whole(*shift)) {
        Some((unit, shift)) => format!("{} {unit}iB ({bytes} bytes)", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

/// How far something is: `421 of 1600 MiB`, in the largest unit of which the whole has a thousand or more. The whole is
/// exact; what is done is no less than that.
#[must_use]
pub fn done(done: u64, total: u64) -> String {
    let fits = |shift: u32| total >> shift >= 1000 && total.trailing_zeros() >= shift;
    match UNITS.iter().rev().find(|(_, shift)| fits(*shift)) {
        Some((unit, shift)) => format!("{} of {} {unit}iB", done >> shift, total >> shift),
        None => format!("{done} of {total} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        let sizes = [
            ("0", 0),
            ("512", 512),
            ("10K", 10 << 10),
            ("3m", 3 << 20),
            ("10G", 10 << 30),
            ("2TiB", 2 << 40),
            ("1P", 1 << 50),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "G",
            "iB",
            "1.5G",
            "-1",
            "+1",
            "1 G",
            "1X",
            "1KB",
            "1GiBiB",
            "10iB",
            "\u{ff11}G",
            "ä",
            "99999999999999999999",
            "99999999P",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn how_far_something_is_has_the_whole_as_it_is() {
        assert_eq!(done(0, 1600 << 20), "0 of 1600 MiB");
        assert_eq!(done((1600 << 20) - 1, 1600 << 20), "1599 of 1600 MiB");
        assert_eq!(done(1600 << 20, 1600 << 20), "1600 of 1600 MiB");
        assert_eq!(done(8 << 20, 10 << 30), "8 of 10240 MiB");
        assert_eq!(done(1 << 40, 2 << 40), "1024 of 2048 GiB");
        assert_eq!(done(4096, 8 << 20), "4 of 8192 KiB");
        assert_eq!(done(1024, (10 << 30) + 512), "1024 of 10737418752 bytes");
        assert_eq!(done(0, 0), "0 of 0 bytes");
    }

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_divides_it() {
        assert_eq!(show(0), "0 bytes");
        assert_eq!(show(1023), "1023 bytes");
        assert_eq!(show(1536), "1536 bytes");
        assert_eq!(show(1600 << 20), "1600 MiB (1677721600 bytes)");
        assert_eq!(show(10 << 30), "10 GiB (10737418240 bytes)");
        assert_eq!(show((10 << 30) + 512), "10737418752 bytes");
        assert_eq!(show(u64::MAX), "18446744073709551615 bytes");
    }
}
