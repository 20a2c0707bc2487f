//! Names of rows and groups: their order, and the 13-character form that fits in a word.
//!
//! The order of a segment is the order of the bytes of `group + '/' + name`. A group's name holds no slash, so no
//! `group + '/'` is the beginning of another, and the order is that of `group + '/'`, then of the name.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

/// What stands between a group and a name, and in no group.
pub(crate) const SLASH: u8 = b'/';

/// The sortable base32 alphabet: ascending in ASCII, so that the words' order is the text's order.
const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
/// Characters of a name that fits in a word: 65 bits, of which the first is zero.
const SORTABLE_CHARS: usize = 13;
/// Digits the first character may be, `2` to `j`: the others would need the 65th bit.
const FIRST_DIGITS: u8 = 16;

/// A row's name, without allocation: bytes in the file, or 13 characters decoded from a word.
#[derive(Clone, Copy)]
pub struct Name<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    Text(&'a [u8]),
    Sortable([u8; SORTABLE_CHARS]),
}

impl<'a> Name<'a> {
    pub(crate) fn text(bytes: &'a [u8]) -> Self {
        Self(Form::Text(bytes))
    }

    pub(crate) fn sortable(word: u64) -> Self {
        Self(Form::Sortable(encode(word)))
    }

    /// Returns the name's bytes; the same as dereferencing.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Text(bytes) => bytes,
            Form::Sortable(chars) => chars,
        }
    }
}

impl Deref for Name<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name<'_> {}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.escape_ascii())
    }
}

/// Compares two group names, which hold no slash, as if a slash followed each.
pub(crate) fn compare_groups(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.len().min(b.len());
    let (a_start, a_rest) = a.split_at_checked(common).unwrap_or((a, &[]));
    let (b_start, b_rest) = b.split_at_checked(common).unwrap_or((b, &[]));
    a_start
        .cmp(b_start)
        .then_with(|| match (a_rest.first(), b_rest.first()) {
            (None, None) => Ordering::Equal,
            (a, b) => a.unwrap_or(&SLASH).cmp(b.unwrap_or(&SLASH)),
        })
}

/// Returns a name's word, if the name is the 13 characters of one.
pub(crate) fn decode(name: &[u8]) -> Option<u64> {
    match bound(name) {
        Bound::Exact(word) => Some(word),
        _ => None,
    }
}

/// Returns the 13 characters of a word.
pub(crate) fn encode(word: u64) -> [u8; SORTABLE_CHARS] {
    let mut chars = [0; SORTABLE_CHARS];
    let mut left = word;
    for char in chars.iter_mut().rev() {
        let digit = (left & 31) as usize;
        *char = ALPHABET.get(digit).copied().unwrap_or_default();
        left >>= 5;
    }
    chars
}

/// Where a name stands among the names that are words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The name is this word.
    Exact(u64),
    /// The name is no word; this is the least word above it.
    Above(u64),
    /// Every word is below the name.
    End,
}

/// The character's digit, or else the digit of the least character above it; 32 if there is none.
const DIGITS: [(bool, u8); 256] = {
    let mut digits = [(false, 32_u8); 256];
    let mut byte = 255_usize;
    let mut above = 32_u8;
    loop {
        let is_digit = matches!(byte as u8, b'2'..=b'7' | b'a'..=b'z');
        if is_digit {
            above = if byte as u8 <= b'7' {
                byte as u8 - b'2'
            } else {
                byte as u8 - b'a' + 6
            };
        }
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler only")]
        {
            digits[byte] = (is_digit, above);
        }
        if byte == 0 {
            break;
        }
        byte -= 1;
    }
    digits
};

/// Returns where any name stands among the names that are words.
pub(crate) fn bound(name: &[u8]) -> Bound {
    // The word's first digits, as far as the name gave them.
    let mut word = 0_u64;
    for place in 0..SORTABLE_CHARS {
        let digits_left = SORTABLE_CHARS.saturating_sub(place);
        let Some(&char) = name.get(place) else {
            // The name ended: it is below every word that begins with it.
            return Bound::Above(pad(word, digits_left));
        };
        let (is_digit, digit) = DIGITS.get(usize::from(char)).copied().unwrap_or_default();
        let digits = if place == 0 { FIRST_DIGITS } else { 32 };
        if digit >= digits {
            // No digit is as high as this character: the next word has a higher beginning.
            return after(word, place);
        }
        word = word << 5 | u64::from(digit);
        if !is_digit {
            return Bound::Above(pad(word, digits_left.saturating_sub(1)));
        }
    }
    if name.len() > SORTABLE_CHARS {
        return after(word, SORTABLE_CHARS);
    }
    Bound::Exact(word)
}

/// Returns the least word above all that begin with the `places` digits in `word`.
fn after(word: u64, places: usize) -> Bound {
    // Digits after the first carry into it, and a first digit above 15 into the bit that no word has.
    let bits = u32::try_from(places).unwrap_or(u32::MAX).saturating_mul(5);
    let last = u64::MAX
        .checked_shr(65_u32.saturating_sub(bits))
        .unwrap_or(0);
    if word >= last {
        return Bound::End;
    }
    let digits_left = SORTABLE_CHARS.saturating_sub(places);
    Bound::Above(pad(word.saturating_add(1), digits_left))
}

/// Appends `digits` zero digits.
fn pad(word: u64, digits: usize) -> u64 {
    let bits = u32::try_from(digits).unwrap_or(u32::MAX).saturating_mul(5);
    word.checked_shl(bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_come_back_and_keep_their_order() {
        let mut words = vec![0, 1, 31, 32, 1 << 60, u64::MAX - 1, u64::MAX];
        words.extend((0..64).map(|bit| 1_u64 << bit));
        words.sort_unstable();
        words.dedup();
        for pair in words.windows(2) {
            assert!(encode(pair[0]) < encode(pair[1]));
        }
        for word in words {
            assert_eq!(decode(&encode(word)), Some(word));
        }
        assert_eq!(&encode(u64::MAX), b"jzzzzzzzzzzzz");
        assert_eq!(decode(b"2222222222222"), Some(0));
        for not in [
            "kzzzzzzzzzzzz",
            "222222222222",
            "22222222222222",
            "2222222222220",
            "222222222222A",
            "",
        ] {
            assert_eq!(decode(not.as_bytes()), None, "{not}");
        }
    }

    #[test]
    fn bounds_at_the_edges() {
        let check = |name: &str, expect| assert_eq!(bound(name.as_bytes()), expect, "{name}");
        check("", Bound::Above(0));
        check("k", Bound::End);
        check("j", Bound::Above(15 << 60));
        check("jzzzzzzzzzzzz", Bound::Exact(u64::MAX));
        check("jzzzzzzzzzzzzz", Bound::End);
        check("jzzzzzzzzzzz~", Bound::End);
        check("2222222222222-", Bound::Above(1));
        check("222222222222-", Bound::Above(0));
        check("8", Bound::Above(6 << 60));
        check("2~", Bound::Above(1 << 60));
        check("j~", Bound::End);
    }

    #[test]
    fn groups_compare_as_if_a_slash_followed() {
        let groups: [&[u8]; 9] = [b"", b"a", b"a-", b"a.", b"a-b", b"a.b", b"ab", b"a0", b"b"];
        for a in groups {
            for b in groups {
                let expect = [a, b"/"].concat().cmp(&[b, b"/"].concat());
                assert_eq!(compare_groups(a, b), expect);
            }
        }
    }

    proptest! {
        #[test]
        fn bound_agrees_with_the_order_of_bytes(
            name in proptest::collection::vec(prop_oneof![
                5 => proptest::sample::select(&ALPHABET[..]), 1 => any::<u8>(), 1 => Just(b'z'),
            ], 0..16),
        ) {
            match bound(&name) {
                Bound::Exact(word) => prop_assert_eq!(&encode(word)[..], &name[..]),
                Bound::Above(word) => {
                    prop_assert!(encode(word)[..] > name[..]);
                    prop_assert!(word == 0 || encode(word - 1)[..] < name[..]);
                }
                Bound::End => prop_assert!(encode(u64::MAX)[..] < name[..]),
            }
        }
    }
}
