//! JSON that can be printed. `serde_json` escapes C0 as RFC 8259 asks, and writes DEL, C1 and what turns text round as
//! they are. Here they are escaped as well: a parser reads the same, a terminal obeys nothing.

use std::io;

use serde::Serialize;
use serde_json::{
    Serializer,
    ser::{CompactFormatter, Formatter, PrettyFormatter},
};

use super::is_hidden;

/// A value in one line, without its end.
///
/// # Errors
/// None that happen, for values that derive their form.
pub fn to_line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, Escaping(CompactFormatter)))?;
    Ok(line)
}

/// A value in indented lines.
pub(super) fn to_pretty(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    let mut text = Vec::new();
    let formatter = Escaping(PrettyFormatter::new());
    value.serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Another formatter, of whose strings nothing is hidden.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_hidden(*c)) {
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            // Beyond 16 bits, a pair of surrogates (RFC 8259, section 7).
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_hidden_is_escaped_in_names_and_values() {
        let tags = BTreeMap::from([("a\u{9b}1m", "x\u{202e}\u{7f}\n\u{e0001}ä\"")]);
        let line = r#"{"a\u009b1m":"x\u202e\u007f\n\udb40\udc01ä\""}"#;
        assert_eq!(to_line(&tags).unwrap(), line.as_bytes());
        let pretty = "{\n  \"a\\u009b1m\": \"x\\u202e\\u007f\\n\\udb40\\udc01ä\\\"\"\n}";
        assert_eq!(to_pretty(&tags).unwrap(), pretty);
    }

    proptest! {
        #[test]
        fn a_parser_reads_what_was_written_and_a_terminal_sees_all_of_it(
            value: BTreeMap<String, Vec<(String, u64)>>,
        ) {
            let line = to_line(&value).unwrap();
            let pretty = to_pretty(&value).unwrap();
            let as_others_do = serde_json::to_value(&value).unwrap();
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(&read, &as_others_do);
            let read: serde_json::Value = serde_json::from_str(&pretty).unwrap();
            prop_assert_eq!(&read, &as_others_do);
            prop_assert!(!pretty.chars().any(|c| c != '\n' && is_hidden(c)));
            prop_assert!(!std::str::from_utf8(&line).unwrap().chars().any(is_hidden));
        }
    }
}
