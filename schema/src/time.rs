//! Times as people and JSON read them: RFC 3339 UTC, from microseconds since the Unix epoch.

/// Returns `YYYY-MM-DDTHH:MM:SSZ` for a time in microseconds since the Unix epoch.
///
/// Fractions of a second are cut. Times before 1970 or after 9999 are shown as the nearest end.
pub fn rfc3339(micros: i64) -> String {
    const LAST_SECOND: i64 = 253_402_300_799;
    let seconds = micros.div_euclid(1_000_000).clamp(0, LAST_SECOND);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Returns the proleptic Gregorian date of a day counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day is a year's last; eras are 400 years, the calendar's
/// period (146,097 days).
pub const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
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
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Returns the day of a proleptic Gregorian date, counted from 1970-01-01; the inverse of [`civil`].
const fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let era = year_from_march.div_euclid(400);
    let year_of_era = year_from_march.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads a time of RFC 3339, with any offset and fraction: microseconds since the Unix epoch, rounded down.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let midnight = parse_day(text.get(..10)?)?;
    let (mark, clock) = (bytes.get(10)?, bytes.get(11..19)?);
    if (*mark, clock[2], clock[5]) != (b'T', b':', b':') {
        return None;
    }
    let (hour, minute, second) = (
        digits(&clock[..2])?,
        digits(&clock[3..5])?,
        digits(&clock[6..])?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction(bytes.get(19..)?)?;
    let seconds = (hour * 60 + minute) * 60 + second - offset(zone)? * 60;
    Some(midnight + seconds * 1_000_000 + fraction)
}

/// Reads a day, `2026-10-31`: its first microsecond in UTC since the Unix epoch.
pub fn parse_day(text: &str) -> Option<i64> {
    let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
    if (bytes[4], bytes[7]) != (b'-', b'-') {
        return None;
    }
    let (year, month, day) = (
        digits(&bytes[..4])?,
        digits(&bytes[5..7])?,
        digits(&bytes[8..])?,
    );
    if !(1..=12).contains(&month) {
        return None;
    }
    let days = day_of(year, month, day);
    // A day that its month has not comes back as another date.
    (civil(days) == (year, month, day)).then_some(days * 86_400 * 1_000_000)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let all_digits = bytes.iter().all(u8::is_ascii_digit);
    if all_digits { text.parse().ok() } else { None }
}

/// Returns a fraction of a second in microseconds, and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, zone) = rest.split_at(count);
    if fraction.is_empty() {
        return None;
    }
    let micros = (0..6).fold(0, |micros, at| {
        let digit = fraction.get(at).map_or(0, |digit| digit & 15);
        micros * 10 + i64::from(digit)
    });
    Some((micros, zone))
}

/// Returns an offset from UTC in minutes.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, clock) = match zone {
        b"Z" => return Some(0),
        [b'+', clock @ ..] => (1, clock),
        [b'-', clock @ ..] => (-1, clock),
        _ => return None,
    };
    let [_, _, b':', _, _] = clock else {
        return None;
    };
    let (hours, minutes) = (digits(&clock[..2])?, digits(&clock[3..])?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::{parse_day, parse_rfc3339, rfc3339};

    #[test]
    fn times_are_read_back() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00.5Z", 951_782_400_500_000),
            ("2000-02-29T01:30:00.1234567+01:30", 951_782_400_123_456),
            ("2000-02-28T23:00:00-01:00", 951_782_400_000_000),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("0000-03-01T00:00:00Z", -62_162_035_200_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(micros), "{text}");
        }
        for day in (-720_000..720_000).step_by(97) {
            let (year, month, date) = super::civil(day);
            if (0..=9999).contains(&year) {
                let text = format!("{year:04}-{month:02}-{date:02}");
                assert_eq!(parse_day(&text), Some(day * 86_400_000_000), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2000-02-30T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2000-13-01T00:00:00Z",
            "2000-00-01T00:00:00Z",
            "2000-01-01 00:00:00Z",
            "2000-01-01T24:00:00Z",
            "2000-01-01T00:60:00Z",
            "2000-01-01T00:00:60Z",
            "2000-01-01T00:00:00",
            "2000-01-01T00:00:00.Z",
            "2000-01-01T00:00:00+0100",
            "2000-01-01T00:00:00+24:00",
            "2000-01-01T00:00:00Zé",
            "+200-01-01T00:00:00Z",
            "2000-01-0éT00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        assert_eq!(parse_day("2000-01-01T"), None);
        assert_eq!(parse_day("2000-02-30"), None);
    }

    #[test]
    fn known_times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_799, "2024-02-28T23:59:59Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "9999-12-31T23:59:59Z"),
            (-1, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000), text);
        }
    }
}
