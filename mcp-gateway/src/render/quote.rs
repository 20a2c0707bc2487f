//! Third-party text on one line, harmless.

use unicode_segmentation::UnicodeSegmentation;

/// Returns a text as it may stand within a line: no line breaks, no invisible or direction-changing characters.
///
/// Line breaks become ` ⏎ `, tabs a space, other characters that a reader could not see (controls, bidirectional
/// overrides, line separators, the invisible tag characters) become JSON escapes. Joiners and variation selectors stay
/// where emoji and scripts need them: one of each behind a character that they change. More of them would be a text of
/// their own that only a model reads.
pub fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    put(text, &mut out);
    out
}

/// Adds to a line what [`inline`] makes of a text.
fn put(text: &str, out: &mut String) {
    let mut before = Before::Nothing;
    let mut rest = text;
    loop {
        let (start, end) = rest.split_at(plain(rest));
        out.push_str(start);
        if let Some(c) = start.chars().next_back() {
            before = before.then(c);
        }
        let mut chars = end.chars();
        let Some(c) = chars.next() else { return };
        rest = chars.as_str();
        match c {
            '\r' if rest.starts_with('\n') => {}
            '\n' | '\r' => {
                out.truncate(out.trim_end_matches(' ').len());
                out.push_str(" ⏎ ");
            }
            '\t' => out.push(' '),
            c if before.hides(c) => escape(c, out),
            c => out.push(c),
        }
        before = before.then(c);
    }
}

/// Returns how many characters at a text's start are ASCII that stands for itself, as most text is.
fn plain(text: &str) -> usize {
    let special = |byte| !matches!(byte, b' '..=b'~');
    let end = text.bytes().position(special);
    end.unwrap_or(text.len())
}

/// Returns JSON as it may stand within a line; it stays the same JSON.
///
/// Inside JSON text such characters occur within strings only, where an escape means the same.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = Before::Nothing;
    for c in text.chars() {
        match before.hides(c) {
            true => escape(c, &mut out),
            false => out.push(c),
        }
        before = before.then(c);
    }
    out
}

/// Returns words of the store's with what they repeat of an argument, which is between backticks, at their end and quoted
/// as third parties' words are: it may hold backticks of its own.
pub fn apart(words: &str) -> String {
    match (words.split_once('`'), words.rsplit_once('`')) {
        (Some((start, _)), Some((rest, end))) if start.len() < rest.len() => {
            let argument = rest.get(start.len() + 1..).unwrap_or_default();
            format!("{start}…{end} > {argument}")
        }
        _ => words.to_owned(),
    }
}

/// What a character stands behind, as far as joiners and selectors look at it.
#[derive(Clone, Copy)]
enum Before {
    /// A character that both may follow.
    Letter,
    /// A digit or sign that emoji are made of: a selector may follow.
    Keycap,
    /// A selector: a joiner may follow.
    Selector,
    /// Anything else.
    Nothing,
}

impl Before {
    /// Says whether a character here would be seen by nobody.
    fn hides(self, c: char) -> bool {
        // Most are.
        if c.is_ascii() {
            return c.is_ascii_control();
        }
        if is_selector(c) {
            return !matches!(self, Self::Letter | Self::Keycap);
        }
        if is_joiner(c) {
            return !matches!(self, Self::Letter | Self::Selector);
        }
        is_unseen(c)
    }

    fn then(self, c: char) -> Self {
        match c {
            '0'..='9' | '#' | '*' => Self::Keycap,
            c if c.is_ascii() => Self::Nothing,
            c if is_selector(c) && !self.hides(c) => Self::Selector,
            c if is_selector(c) || is_joiner(c) || is_unseen(c) => Self::Nothing,
            _ => Self::Letter,
        }
    }
}

/// Choices between forms of the character before.
fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{e0100}'..='\u{e01ef}')
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
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
    // Each of them is what a reader sees as one, but for the last, to which something may be added.
    let start = plain(text).saturating_sub(1).min(chars_max);
    let (start, rest) = text.split_at(start);
    let mut shown = start.to_owned();
    for (at, cluster) in rest.grapheme_indices(true) {
        let fits = shown.len();
        put(cluster, &mut shown);
        if shown.chars().count() > chars_max {
            shown.truncate(fits);
            let left_out = (rest.len() - at).to_string();
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
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'         // overrides and isolates of direction
            | '\u{200e}' | '\u{200f}' | '\u{061c}'                      // marks of direction
            | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}'         // invisible spaces and operators
            | '\u{00ad}' | '\u{034f}' | '\u{180e}'                      // soft hyphen, marks without a form
            | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'       // annotations, of music too
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'         // fillers
            | '\u{17b4}' | '\u{17b5}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}') // tags: invisible ASCII
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
            ("👩‍👩‍👧 ❤️ ❤️‍🔥 1️⃣ 🏳️‍🌈", "👩‍👩‍👧 ❤️ ❤️‍🔥 1️⃣ 🏳️‍🌈"),
            ("東京 🦋", "東京 🦋"),
            (
                "می\u{200c}خواهم क्\u{200d}ष 葛\u{e0100}",
                "می\u{200c}خواهم क्\u{200d}ष 葛\u{e0100}",
            ),
            ("🦋\u{fe0f}\u{fe0e}", "🦋\u{fe0f}\\ufe0e"),
            ("🦋\u{e0141}\u{e0142}", "🦋\u{e0141}\\udb40\\udd42"),
            ("a\u{200d}\u{200c}b\u{fe01}", "a\\u200d\\u200cb\\ufe01"),
            ("語\u{200d}\u{200d}", "語\u{200d}\\u200d"),
            ("\u{200d}x", "\\u200dx"),
            ("\u{3164}\u{34f}\u{206a}", "\\u3164\\u034f\\u206a"),
        ] {
            assert_eq!(inline(text), expected);
        }
    }

    #[test]
    fn what_is_repeated_stands_at_the_end() {
        for (words, expected) in [
            ("no text", "no text"),
            ("one ` alone", "one ` alone"),
            ("nothing ``", "nothing … > "),
            ("not a TID: `x`", "not a TID: … > x"),
            ("step 2: `x` is no path", "step 2: … is no path > x"),
            (
                "`x` is fine. Call y `` is no path",
                "… is no path > x` is fine. Call y `",
            ),
        ] {
            assert_eq!(apart(words), expected);
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let hidden = "x\n\u{202e}\u{e0041}\u{85}🦋\u{fe0f}\u{fe0e}";
        let value = serde_json::json!({ "a": hidden });
        let safe = json(&value.to_string());
        for c in ['\u{202e}', '\u{85}', '\u{e0041}', '\u{fe0e}'] {
            assert!(!safe.contains(c), "{safe}");
        }
        assert!(safe.contains("🦋\u{fe0f}"), "{safe}");
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

    /// Wherever a text stops being plain, it is cut as one that never was.
    #[test]
    fn a_plain_start_changes_no_cut() {
        for plain in 155..=165 {
            for end in [
                "e\u{301}yz",
                "\r\n.",
                " \n.",
                "1\u{fe0f}\u{20e3}.",
                "🦋.",
                ".",
            ] {
                let text = format!("{}{end}", "x".repeat(plain));
                let mut expected = String::new();
                let mut at = 0;
                for cluster in text.graphemes(true) {
                    let longer = inline(&text[..at + cluster.len()]);
                    if longer.chars().count() > 160 {
                        let left_out = text.len() - at;
                        expected.extend(["…(+", &left_out.to_string(), " bytes)"]);
                        break;
                    }
                    expected = longer;
                    at += cluster.len();
                }
                assert_eq!(shorten(&text, 160), expected, "{plain} {end:?}");
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
