//! Whole numbers as options take them. The standard library's own words for what is none ("invalid digit found in
//! string") say neither what was expected nor what would do.

use std::ops::RangeInclusive;

/// Reads a whole number of a range for an option, a parser of values as clap takes it. Who writes something else is
/// told the range, and a number that would do.
pub fn number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
    example: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| expected(&range, example))
    }
}

fn expected(range: &RangeInclusive<u64>, example: u64) -> String {
    match (range.start(), range.end()) {
        (0, &u64::MAX) => format!("write a whole number, such as {example}"),
        (least, &u64::MAX) => format!("write a whole number, {least} or more, such as {example}"),
        (least, most) => {
            format!("write a whole number from {least} to {most}, such as {example}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_the_range_are_read() {
        let queues = number::<u16>(1..=64, 4);
        assert_eq!((queues("1"), queues("64")), (Ok(1), Ok(64)));
        assert_eq!(number::<u64>(0..=u64::MAX, 7)("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn who_writes_something_else_is_told_what_would_do() {
        let queues = number::<u16>(1..=64, 4);
        for wrong in ["two", "", "-1", "+1", "1.5", " 1", "0", "65", "99999999999999999999999"] {
            let told = "write a whole number from 1 to 64, such as 4".to_owned();
            assert_eq!(queues(wrong), Err(told), "{wrong:?}");
        }
        let told = number::<u64>(4096..=u64::MAX, 8192)("5").unwrap_err();
        assert_eq!(told, "write a whole number, 4096 or more, such as 8192");
        let told = number::<u64>(0..=u64::MAX, 150_000)("").unwrap_err();
        assert_eq!(told, "write a whole number, such as 150000");
    }
}
