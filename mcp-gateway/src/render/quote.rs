//! Third-party text on one line, harmless.

use unicode_segmentation::UnicodeSegmentation;

/// Returns a text as it may stand within a line: no line breaks, no invisible or direction-changing characters.
///
/// Line breaks become ` ⏎ `, tabs a space, other characters that a reader could not see (controls, bidirectional
/// overrides, line separators, the invisible tag characters) become JSON escapes. Joiners and variation
/// selectors stay: emoji need them.
pub fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    put(text, &mut out);
    out
}

/// Adds to a line what [`inline`] makes of a text.
fn put(text: &str, out: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' => {
                out.truncate(out.trim_end_matches(' ').len());
                out.push_str(" ⏎ ");
            }
            '\t' => out.push(' '),
            c if is_unseen(c) => escape(c, out),
            c => out.push(c),
        }
    }
}

/// Returns JSON as it may stand within a line; it stays the same JSON.
///
/// Inside JSON text such characters occur within strings only, where an escape means the same.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) {
            escape(c, &mut out);
        } else {
            out.push(c);
        }
    }
    out
}

/// A text as it may stand within a line, or its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// What is shown; of a cut text it says how many bytes were left out.
    pub text: String,
    /// Whether something was left out.
    pub is_cut: bool,
}

/// Returns a text as [`inline`] does, of a longer one its start and how many bytes of it were left out.
///
/// Characters are counted as they are shown. The cut is never within what a reader sees as one character, nor within an
/// escape; a single one that is longer than all that is left is left out.
pub fn short(text: &str, chars_max: usize) -> Short {
    let whole = |text| Short {
        text,
        is_cut: false,
    };
    // Most texts are short, and need no look at what their characters are.
    if text.len() <= 4 * chars_max {
        let shown = inline(text);
        if shown.len() <= chars_max || shown.chars().count() <= chars_max {
            return whole(shown);
        }
    }
    let mut shown = String::new();
    for (at, cluster) in text.grapheme_indices(true) {
        let fits = shown.len();
        put(cluster, &mut shown);
        if shown.chars().count() > chars_max {
            shown.truncate(fits);
            let left_out = (text.len() - at).to_string();
            shown.extend(["…(+", &left_out, " bytes)"]);
            return Short {
                text: shown,
                is_cut: true,
            };
        }
    }
    whole(shown)
}

/// Returns the text of [`short`], for those to whom the note in it is enough.
pub fn shorten(text: &str, chars_max: usize) -> String {
    short(text, chars_max).text
}

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}'                                     // line and paragraph separators
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'         // overrides and isolates of direction
            | '\u{200e}' | '\u{200f}' | '\u{061c}'                      // marks of direction
            | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}'         // invisible spaces and operators
            | '\u{00ad}' | '\u{fff9}'..='\u{fffb}'                      // soft hyphen, annotations
            | '\u{e0000}'..='\u{e007f}') // tags: invisible ASCII
}

fn escape(c: char, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str("\\u");
        for shift in [12, 8, 4, 0] {
            out.push(char::from(HEX[usize::from(*unit >> shift & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_starts_a_line_or_hides() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a\nb", "a ⏎ b"),
            ("a\r\nb\rc", "a ⏎ b ⏎ c"),
            ("a \n\n b", "a ⏎ ⏎  b"),
            ("tab\there", "tab here"),
            ("bell\u{7}", "bell\\u0007"),
            ("\u{202e}evil", "\\u202eevil"),
            ("\u{2028}x", "\\u2028x"),
            ("\u{e0041}", "\\udb40\\udc41"),
            ("👩‍👩‍👧 ❤️", "👩‍👩‍👧 ❤️"),
            ("東京 🦋", "東京 🦋"),
        ] {
            assert_eq!(inline(text), expected);
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ "a": "x\n\u{202e}\u{e0041}\u{85}" });
        let safe = json(&value.to_string());
        assert!(!safe.contains('\u{202e}') && !safe.contains('\u{85}'));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&safe).unwrap(),
            value
        );
    }

    #[test]
    fn a_text_is_cut_beyond_its_limit_and_says_by_how_much() {
        for (c, bytes) in [("x", 1), ("é", 2), ("語", 3), ("🦋", 4)] {
            let (fits, longer) = (c.repeat(160), c.repeat(161));
            assert_eq!(shorten(&fits, 160), fits);
            assert_eq!(shorten(&longer, 160), format!("{fits}…(+{bytes} bytes)"));
            assert!(!short(&fits, 160).is_cut && short(&longer, 160).is_cut);
        }
    }

    /// What a reader sees as one character stays one: letters with their marks, families, flags, line ends, escapes.
    #[test]
    fn no_cut_is_within_a_character() {
        for (cluster, shown, chars) in [
            ("e\u{301}", "e\u{301}", 2),
            ("👩‍👩‍👧", "👩‍👩‍👧", 5),
            ("👍🏽", "👍🏽", 2),
            ("🇩🇪", "🇩🇪", 2),
            ("❤️", "❤️", 2),
            ("\u{1112}\u{1161}\u{11ab}", "\u{1112}\u{1161}\u{11ab}", 3),
            ("\r\n", " ⏎ ", 3),
            ("\u{202e}", "\\u202e", 6),
            ("y\u{e0041}", "y\\udb40\\udc41", 13),
        ] {
            // From all of it down to none of it.
            for left in (0..=chars).rev() {
                let start = "x".repeat(20);
                let text = format!("{start}{cluster}");
                let expected = match left == chars {
                    true => format!("{start}{shown}"),
                    false => format!("{start}…(+{} bytes)", cluster.len()),
                };
                assert_eq!(shorten(&text, 20 + left), expected, "{cluster:?} {left}");
            }
        }
    }

    /// A single character of any length there is: marks without end.
    #[test]
    fn a_character_longer_than_the_limit_is_left_out() {
        let text = format!("a{}b", "\u{301}".repeat(10_000));
        assert_eq!(shorten(&text, 160), "…(+20002 bytes)");
    }
}
