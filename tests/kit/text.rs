//! Texts people and programs write: sentences, timestamps, names.

use carrack_schema::Tid;
use data_encoding::BASE32_NOPAD;

use crate::rng::Rng;

const WORDS: &[&str] = &[
    "the", "of", "and", "to", "in", "is", "you", "that", "it", "was", "for", "on", "are", "with",
    "they", "be", "at", "one", "have", "this", "from", "by", "hot", "word", "but", "what", "some",
    "we", "can", "out", "other", "were", "all", "there", "when", "up", "use", "your", "how",
    "said", "an", "each", "she", "which", "do", "their", "time", "if", "will", "way", "about",
    "many", "then", "them", "write", "would", "like", "so", "these", "her", "long", "make",
    "thing", "see", "him", "two", "has", "look", "more", "day", "could", "go", "come", "did",
    "number", "sound", "no", "most", "people", "my", "over", "know", "water", "than", "call",
    "first", "who", "may", "down", "side", "been", "now", "find", "any", "new", "work", "part",
    "take", "get", "place", "made", "live", "where", "after", "back", "little", "only", "round",
    "man", "year", "came", "show", "every", "good", "me", "give", "our", "under", "name", "very",
    "through", "just", "form", "sentence", "great", "think", "say", "help", "low", "line",
    "differ", "turn", "cause", "much", "mean", "before", "move", "right", "boy", "old", "too",
    "same", "bluesky", "protocol",
];

/// Words of other scripts, of several code points a letter, or long.
const UNUSUAL_WORDS: &[&str] = &[
    "federation",
    "moderation",
    "✨",
    "🦋",
    "😂",
    "👩‍👩‍👧",
    "café",
    "cafe\u{301}",
    "naïve",
    "日本語",
    "こんにちは",
    "привет",
    "straße",
    "مرحبا",
];

/// Longest text of a post, in characters.
const SENTENCE_CHARS_MAX: usize = 300;

/// Returns a few words, at most 300 characters, some of them not ASCII.
pub fn sentence(rng: &mut Rng) -> String {
    let count = 3 + rng.below(9) + rng.below(30);
    let mut text = String::with_capacity(256);
    for i in 0..count {
        if i > 0 {
            text.push(' ');
        }
        let words = if rng.chance(60) { UNUSUAL_WORDS } else { WORDS };
        let word: &&str = rng.pick(words);
        text.push_str(word);
    }
    text.chars().take(SENTENCE_CHARS_MAX).collect()
}

/// Returns a `did:plc:` of random letters.
pub fn plc_did(rng: &mut Rng) -> String {
    let id = BASE32_NOPAD.encode(&rng.bytes::<15>()).to_ascii_lowercase();
    format!("did:plc:{id}")
}

/// Returns the TID of a time in microseconds since 1970 and a clock id.
pub fn tid(micros: u64, clock_id: u64) -> Tid {
    Tid::from_u64(micros << 10 | clock_id & 1_023)
}

/// Returns a timestamp: mostly to the millisecond, as clients write it, sometimes in another legal form.
pub fn timestamp(rng: &mut Rng, micros: u64) -> String {
    let seconds = seconds_text(micros / 1_000_000);
    let fraction = micros % 1_000_000;
    match rng.below(100) {
        0 => format!("{seconds}Z"),
        1 => format!("{seconds}+00:00"),
        2..4 => format!("{seconds}.{fraction:06}Z"),
        _ => format!("{seconds}.{:03}Z", fraction / 1_000),
    }
}

/// Returns `YYYY-MM-DDTHH:MM:SS`.
fn seconds_text(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Returns year, month and day of a count of days since 1970-01-01.
///
/// Counts in years that start on March 1, so that the leap day comes last:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days / 146_097; // of 400 years
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_match_known_times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_690_000_000, "2023-07-22T04:26:40"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_735_689_600, "2025-01-01T00:00:00"),
        ] {
            assert_eq!(seconds_text(seconds), text);
        }
    }

    #[test]
    fn plc_dids_are_dids() {
        let did = plc_did(&mut Rng::new(1));
        assert_eq!(did.len(), 32);
        did.parse::<carrack_schema::Did>().unwrap();
    }
}
