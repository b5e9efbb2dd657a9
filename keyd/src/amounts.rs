//! Times and sizes as options have them, and as people are told them: exact, in the largest unit in which they are
//! whole.

/// Milliseconds: `30s`, `1h`, `90d`.
#[must_use]
pub fn span(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// Bytes: `10 GiB`, `1600 MiB`, `513 B`.
#[must_use]
pub fn bytes(count: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fitting = units.iter().find(|(shift, _)| count > 0 && count.is_multiple_of(1 << shift));
    match fitting {
        Some((shift, unit)) => format!("{} {unit}", count >> shift),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_largest_whole_unit() {
        for (millis, text) in [
            (0, "0s"),
            (500, "500ms"),
            (30_000, "30s"),
            (90_000, "90s"),
            (300_000, "5m"),
            (7_200_000, "2h"),
            (604_800_000, "7d"),
        ] {
            assert_eq!(span(millis), text);
        }
    }

    #[test]
    fn bytes_have_the_largest_whole_unit() {
        assert_eq!(bytes(10 << 30), "10 GiB");
        assert_eq!(bytes(1600 << 20), "1600 MiB");
        assert_eq!(bytes(64 << 40), "64 TiB");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(0), "0 B");
    }
}
