//! Columns, the same on a terminal and in a pipe.

/// Rows under a heading, in columns two spaces apart.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let all = || std::iter::once(&heading).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in all() {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one a line.
pub(super) fn list(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {value}\n");
    rows.iter().map(line).collect()
}

/// Names that are granted, or `nothing`.
pub(super) fn names<'n, T: ToString + 'n>(granted: impl IntoIterator<Item = &'n T>) -> String {
    let names: Vec<String> = granted.into_iter().map(ToString::to_string).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(",") }
}

/// Milliseconds as options have them: in the largest unit in which they are whole.
pub(super) fn span(millis: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// `yes` or `no`.
pub(super) fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// An enumeration's name as it has it in JSON.
pub(super) fn name(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Bytes with a binary unit, if they are whole in it.
pub(super) fn bytes(count: u64) -> String {
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
    fn columns_line_up_and_lines_do_not_trail() {
        let rows = [["a".to_owned(), "x".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(["N", "VALUE"], &rows), "N     VALUE\na     x\nlong\n");
    }

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
        assert_eq!(bytes(1536 << 20), "1536 MiB");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(0), "0 B");
    }
}
