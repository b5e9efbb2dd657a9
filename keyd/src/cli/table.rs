//! Columns, the same on a terminal and in a pipe.

use keyd_client::{Page, Printable};

/// Rows under a heading, in columns two spaces apart.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Page {
    let rows = rows.iter().map(|row| row.each_ref().map(|text| cell(text)));
    let all: Vec<_> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    all.iter().fold(Page::default(), |page, row| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        page.line(cells.join("  ").trim_end())
    })
}

/// A text that stays in its column: two spaces end one.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in Printable::new(text).chars() {
        match c == ' ' && (cell.is_empty() || cell.ends_with(' ')) {
            true => cell.extend(c.escape_unicode()),
            false => cell.push(c),
        }
    }
    cell
}

/// Names and values, one a line.
pub(super) fn list(rows: &[(&str, String)]) -> Page {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |page: Page, (name, value): &(&str, String)| {
        page.line(format_args!("{name:width$}  {value}"))
    };
    rows.iter().fold(Page::default(), line)
}

/// Names that are granted, or `nothing`.
pub(super) fn names<'n, T: ToString + 'n>(granted: impl IntoIterator<Item = &'n T>) -> String {
    let names: Vec<String> = granted.into_iter().map(ToString::to_string).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(",") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_trail() {
        let rows = [["a".to_owned(), "x".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(["N", "VALUE"], &rows).as_str(), "N     VALUE\na     x\nlong\n");
    }

    #[test]
    fn no_text_makes_a_row_or_a_column() {
        let rows =
            [["a\nok  1".to_owned(), " x".to_owned()], ["b".to_owned(), "y\u{9b}".to_owned()]];
        let shown = "N              VALUE\na\\nok \\u{20}1  \\u{20}x\nb              y\\u{9b}\n";
        assert_eq!(table(["N", "VALUE"], &rows).as_str(), shown);
        let rows = [("name", "a\nstate  enabled".to_owned()), ("state", "lost".to_owned())];
        assert_eq!(list(&rows).as_str(), "name   a\\nstate  enabled\nstate  lost\n");
    }
}
