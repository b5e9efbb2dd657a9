//! The daemon's log: one line an event, on standard error, where a service manager picks it up.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
};

use crate::clock;

/// Writes one line. Control characters, which a peer's text might carry, are made visible: an event never spreads
/// over two lines, and never imitates another.
pub fn line(event: fmt::Arguments<'_>) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{} {event}", clock::text(clock::now()));
    let mut safe: String = text.chars().flat_map(visible).collect();
    safe.push('\n');
    if cfg!(test) {
        // The harness keeps to itself what a test that passes has said.
        return eprint!("{safe}");
    }
    // A log that cannot be written must not stop the daemon: the audit log is the record that counts.
    let _ = std::io::stderr().write_all(safe.as_bytes());
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

/// An error and its causes, in one line: `cannot open X: permission denied`.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent variants repeat their cause.
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        let shown: String = "a\nb\x1b[0m".chars().flat_map(visible).collect();
        assert_eq!(shown, "a\\nb\\u{1b}[0m");
    }
}
