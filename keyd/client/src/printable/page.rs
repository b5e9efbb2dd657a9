//! What a command prints: lines.

use std::fmt;

use serde::Serialize;

use super::{Printable, json};

/// Lines, each printable. Where one ends is decided here, and by no text that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page(String);

impl Page {
    /// A value as JSON for scripts, indented. What cannot be seen in it is escaped, too.
    ///
    /// # Errors
    /// None that happen, for values that derive their form.
    pub fn json(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        Ok(Self(json::to_pretty(value)? + "\n"))
    }

    /// A text that comes in lines of its own: a certificate (PEM).
    #[must_use]
    pub fn of_lines(text: &str) -> Self {
        text.lines().fold(Self::default(), Self::line)
    }

    /// The same with another line.
    #[must_use]
    pub fn line(mut self, line: impl fmt::Display) -> Self {
        self.0 += &Printable::new(line);
        self.0.push('\n');
        self
    }

    /// The same with others behind it.
    #[must_use]
    pub fn and(mut self, page: impl Into<Self>) -> Self {
        self.0 += &page.into().0;
        self
    }

    /// The lines, each with its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Printable> for Page {
    fn from(line: Printable) -> Self {
        Self::default().line(line)
    }
}

impl From<String> for Page {
    fn from(line: String) -> Self {
        Self::default().line(line)
    }
}

impl From<&str> for Page {
    fn from(line: &str) -> Self {
        Self::default().line(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_makes_no_line_of_its_own() {
        let page = Page::from("a\nb").line(format_args!("{}", "c\u{85}d")).and(String::from("e\r"));
        assert_eq!(page.as_str(), "a\\nb\nc\\u{85}d\ne\\r\n");
        assert_eq!(Page::of_lines("x\r\ny\x1b\n").as_str(), "x\ny\\u{1b}\n");
    }
}
