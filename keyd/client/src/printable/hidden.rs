//! Characters that do not show themselves, or change how others show.

use std::cmp::Ordering;

/// First and last of each range, in order. By the Unicode Character Database: general categories Cc (C0, DEL, C1), Cf
/// (among them every control of the reading order and what has no width), Zl, Zp, and Zs but the space itself; the
/// property `Default_Ignorable_Code_Point`; and the blank pattern of Braille.
const RANGES: [(char, char); 30] = [
    ('\0', '\u{1f}'),
    ('\u{7f}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'),
    ('\u{205f}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character must be escaped to be seen.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    if matches!(c, ' '..='~') {
        return false;
    }
    let place = |&(first, last): &(char, char)| match (last < c, c < first) {
        (true, _) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => Ordering::Equal,
    };
    RANGES.binary_search_by(place).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order() {
        assert!(RANGES.is_sorted() && RANGES.iter().all(|(first, last)| first <= last));
    }

    /// By the standard library's tables, which are the Unicode Character Database's.
    #[test]
    fn controls_and_blanks_are_hidden_and_letters_are_not() {
        for c in '\0'..=char::MAX {
            let blank = c.is_control() || (c.is_whitespace() && c != ' ');
            assert!(!blank || is_hidden(c), "{c:?}");
            // Letters that Unicode calls ignorable: fillers, and vowels that are never written.
            let filler = matches!(
                c,
                '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
            );
            assert!(!c.is_alphanumeric() || filler || !is_hidden(c), "{c:?}");
        }
    }

    /// Default_Ignorable_Code_Point of DerivedCoreProperties.txt 16.0, and Bidi_Control of PropList.txt.
    #[test]
    fn what_has_no_width_and_what_turns_text_round_is_hidden() {
        let ignorable = [
            '\u{ad}'..='\u{ad}',
            '\u{34f}'..='\u{34f}',
            '\u{61c}'..='\u{61c}',
            '\u{115f}'..='\u{1160}',
            '\u{17b4}'..='\u{17b5}',
            '\u{180b}'..='\u{180f}',
            '\u{200b}'..='\u{200f}',
            '\u{202a}'..='\u{202e}',
            '\u{2060}'..='\u{206f}',
            '\u{3164}'..='\u{3164}',
            '\u{fe00}'..='\u{fe0f}',
            '\u{feff}'..='\u{feff}',
            '\u{ffa0}'..='\u{ffa0}',
            '\u{fff0}'..='\u{fff8}',
            '\u{1bca0}'..='\u{1bca3}',
            '\u{1d173}'..='\u{1d17a}',
            '\u{e0000}'..='\u{e0fff}',
        ];
        assert!(ignorable.into_iter().flatten().all(is_hidden));
        assert!(
            ['\u{200e}', '\u{200f}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}']
                .into_iter()
                .all(is_hidden)
        );
    }
}
