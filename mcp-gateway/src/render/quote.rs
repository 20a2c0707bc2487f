//! Third-party text on one line, harmless.

/// Returns a text as it may stand within a line: no line breaks, no invisible or direction-changing characters.
///
/// Line breaks become ` ⏎ `, tabs a space, other characters that a reader could not see (controls, bidirectional
/// overrides, line separators, the invisible tag characters) become JSON escapes. Joiners and variation
/// selectors stay: emoji need them.
pub fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' => {
                out.truncate(out.trim_end_matches(' ').len());
                out.push_str(" ⏎ ");
            }
            '\t' => out.push(' '),
            c if is_unseen(c) => escape(c, &mut out),
            c => out.push(c),
        }
    }
    out
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

/// Returns the first `chars_max` characters, and says how many bytes were left out.
pub fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}…(+{} bytes)", &text[..cut], text.len() - cut),
    }
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
    fn shortening_counts_what_it_leaves_out() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("日本語", 2), "日本…(+3 bytes)");
    }
}
