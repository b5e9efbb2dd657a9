//! Text that can be printed: on a terminal, in a log, in an error, it is one line and shows all of itself.
//!
//! What others say (a user's path, a tag, a name, the error of a peer, a program's name) may carry line ends that begin
//! a forged row, escapes that a terminal obeys, and characters that turn the reading order round or cannot be seen. On
//! its way to people such text becomes a [`Printable`]; programs write to standard output and standard error through
//! [`crate::terminal`], which takes nothing else. The `tidy` test looks for ways around it.

mod hidden;
mod json;
mod page;

use std::{
    fmt::{self, Write},
    ops::Deref,
};

use serde::{Deserialize, Deserializer, Serialize};

pub use hidden::is_hidden;
pub use json::to_line;
pub use page::Page;

/// What stands where a text was cut.
const CUT: &str = "…";

/// One line in which every character can be seen: others stand there as escapes, `\n`, `\u{1b}`, `\u{202e}`.
///
/// A second pass changes nothing, as backslashes stay as they are: a daemon's refusal is escaped where it is made, and
/// where it arrives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Printable(String);

impl Printable {
    /// Whatever it is, made printable.
    #[must_use]
    pub fn new(text: impl fmt::Display) -> Self {
        Self::cut(text, usize::MAX)
    }

    /// The same, of at most `len_max` bytes: a text that was cut ends with `…`. No more of it is looked at.
    #[must_use]
    pub fn cut(text: impl fmt::Display, len_max: usize) -> Self {
        let mut seen = Seen { text: String::new(), len_max, kept: 0 };
        // An error means that there is no more room.
        let _ = write!(seen, "{text}");
        Self(seen.text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// ASCII that is seen.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Takes a text in pieces and keeps it printable.
struct Seen {
    text: String,
    len_max: usize,
    /// Length that leaves room for [`CUT`], at the end of a whole character or escape.
    kept: usize,
}

impl Seen {
    fn push(&mut self, piece: &str) -> fmt::Result {
        if self.text.len() + piece.len() > self.len_max {
            self.text.truncate(self.kept);
            self.text.push_str(CUT);
            return Err(fmt::Error);
        }
        self.text.push_str(piece);
        if self.text.len() + CUT.len() <= self.len_max {
            self.kept = self.text.len();
        }
        Ok(())
    }
}

impl Write for Seen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.len_max.saturating_sub(self.text.len() + CUT.len());
        if text.len() <= room && is_plain(text) {
            return self.push(text);
        }
        let mut buffer = [0; 4];
        text.chars().try_for_each(|c| match is_hidden(c) {
            true => self.push(&c.escape_default().to_string()),
            false => self.push(c.encode_utf8(&mut buffer)),
        })
    }
}

impl Deref for Printable {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Printable {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Printable {
    fn from(text: String) -> Self {
        // Nearly every text: a start reads the audit log's, row after row.
        if is_plain(&text) || !text.chars().any(is_hidden) { Self(text) } else { Self::new(text) }
    }
}

impl PartialEq<str> for Printable {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<String> for Printable {
    fn eq(&self, other: &String) -> bool {
        self.0 == *other
    }
}

impl PartialEq<&str> for Printable {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A peer's text becomes printable as it arrives, whatever the peer did to it.
impl<'de> Deserialize<'de> for Printable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_one_line_that_a_terminal_does_not_obey() {
        for (text, shown) in [
            ("prod", "prod"),
            ("größe 大 🔑 it's \"x\\y\"", "größe 大 🔑 it's \"x\\y\""),
            ("a\nb\r\nc\td", "a\\nb\\r\\nc\\td"),
            ("\x1b[2J\x07\0", "\\u{1b}[2J\\u{7}\\u{0}"),
            // DEL; CSI as one character of C1; the end of a line in C1.
            ("\x7f\u{9b}31m\u{85}", "\\u{7f}\\u{9b}31m\\u{85}"),
            // The reading order turned round, and back.
            (
                "\u{202e}ko\u{2066}x\u{2069}\u{200f}\u{61c}",
                "\\u{202e}ko\\u{2066}x\\u{2069}\\u{200f}\\u{61c}",
            ),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            (
                "pr\u{200b}od\u{feff}\u{ad}\u{2060}\u{200d}",
                "pr\\u{200b}od\\u{feff}\\u{ad}\\u{2060}\\u{200d}",
            ),
            // Blanks that are none, fillers, variation selectors, tags.
            (
                "a\u{a0}\u{3000}b\u{3164}\u{fe0f}\u{e0061}",
                "a\\u{a0}\\u{3000}b\\u{3164}\\u{fe0f}\\u{e0061}",
            ),
        ] {
            assert_eq!(Printable::new(text), shown);
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so() {
        assert_eq!(Printable::cut("abcdef", 6), "abcdef");
        assert_eq!(Printable::cut("abcdefg", 6), "abc…");
        assert_eq!(Printable::cut("ääää", 7), "ää…");
        assert_eq!(Printable::cut("abc\n\n\n", 8), "abc\\n…");
        // Not an escape that says another character.
        assert_eq!(Printable::cut("a\u{202e}b", 8), "a…");
    }

    #[test]
    fn a_peers_text_is_printable_when_it_arrives() {
        let text: Printable = serde_json::from_str(r#""ok\n7 uid:0 \u001b[1m""#).unwrap();
        assert_eq!(text, "ok\\n7 uid:0 \\u{1b}[1m");
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left_and_a_second_pass_changes_nothing(text: String, len_max in 3_usize..80) {
            for once in [Printable::new(&text), Printable::cut(&text, len_max), text.clone().into()] {
                prop_assert!(!once.chars().any(|c| c.is_control() || is_hidden(c)));
                prop_assert_eq!(&Printable::new(&once), &once);
            }
            prop_assert!(Printable::cut(&text, len_max).len() <= len_max);
        }
    }
}
