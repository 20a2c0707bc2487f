//! The lines around the rows: where an answer comes from, how far it goes.

use carrack_client::Source;

/// Returns the provenance that stands in every answer about a repo: revision and what is known of the signature.
pub fn provenance(source: &Source) -> String {
    // A commit of version 2 has no revision.
    let rev = if source.rev.is_empty() {
        "none"
    } else {
        &source.rev
    };
    format!("rev {rev} · {}", verdict(source.verdict.as_str()))
}

/// Returns a verdict in a person's words.
///
/// Of its text, so that one of a newer store still shows as what it calls itself.
pub fn verdict(verdict: &str) -> &str {
    match verdict {
        "unchecked" => "signature unchecked",
        "valid" => "signature valid",
        "legacyCommit" => "old commit without a revision",
        other => other,
    }
}

/// Returns a number with its digits in groups of three.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns a count and its noun: `1 record`, `2,000 records`.
pub fn counted(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

#[cfg(test)]
mod tests {
    use super::{count, counted, verdict};

    #[test]
    fn an_unchecked_signature_says_so() {
        assert_eq!(verdict("unchecked"), "signature unchecked");
        assert_eq!(verdict("somethingNew"), "somethingNew");
    }

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "repo"), "1 repo");
        assert_eq!(counted(0, "repo"), "0 repos");
    }
}
