//! Times an agent writes, and the record keys made at them.
//!
//! Most records are keyed by a TID, the time of their making; so a span of time is a range of keys, which the store
//! finds without reading a record.

use carrack_schema::Tid;

/// Reads `2026-01-31`, `2026-01-31T12:00` or `2026-01-31T12:00:00Z` (UTC, fractions ignored) as microseconds since
/// the Unix epoch.
pub(crate) fn micros(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix('Z').unwrap_or(time)),
        None => (text, "00:00"),
    };
    let [year, month, day] = numbers(date, '-')?;
    let seconds = time.split_once('.').map_or(time, |(whole, _)| whole);
    let [hour, minute, second] = match seconds.matches(':').count() {
        1 => numbers(&format!("{seconds}:00"), ':')?,
        _ => numbers(seconds, ':')?,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let legal = (1970..=9999).contains(&year)
        && (1..=days_in_month).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !legal {
        return None;
    }
    // Years are counted from March, so that the leap day comes last.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    const EPOCH: u64 = 719_468; // 1970-01-01, counted the same way
    let seconds = (days - EPOCH) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000)
}

/// Returns the first key that a record made at this time or later can have.
pub(crate) fn first_key(micros: u64) -> String {
    Tid::from_u64(micros << 10).to_string()
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut next = || {
        let part = parts.next()?;
        let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if digits { part.parse().ok() } else { None }
    };
    let numbers = [next()?, next()?, next()?];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use carrack_schema::time::rfc3339;

    use super::*;

    #[test]
    fn times_are_those_the_store_prints() {
        for (text, printed) in [
            ("1970-01-01", "1970-01-01T00:00:00Z"),
            ("2000-02-29T23:59:59Z", "2000-02-29T23:59:59Z"),
            ("2024-12-31T12:30", "2024-12-31T12:30:00Z"),
            ("2026-01-01T00:14:14.123Z", "2026-01-01T00:14:14Z"),
            ("2026-03-01 01:02:03", "2026-03-01T01:02:03Z"),
        ] {
            let micros = micros(text).unwrap();
            assert_eq!(rfc3339(i64::try_from(micros).unwrap()), printed);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "yesterday",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-01-01T24:00",
            "1969-12-31",
            "2026-01-01T00:00:00+02:00",
            "2026-01-01T1",
            "2026-1-1-1",
            "99999-01-01",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn keys_are_ordered_like_their_times() {
        let (before, after) = (micros("2026-01-01").unwrap(), micros("2026-01-02").unwrap());
        assert!(first_key(before) < first_key(after));
        assert_eq!(first_key(0), "2222222222222");
    }
}
