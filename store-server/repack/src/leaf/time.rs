//! Times as records have them: `2024-11-05T12:34:56.789Z`, cut down to a number of their own units since 1970.

use carrack_schema::time::civil;

use std::fmt;

/// How a time is written: digits of its fraction of a second, and `Z` or `+00:00` at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeForm {
    /// 0 to 9; the unit is a second divided by ten so many times.
    digits: u8,
    /// Ends in `+00:00`.
    is_offset: bool,
}

const SECONDS_PER_DAY: i64 = 86_400;
/// Most digits of a fraction: a nanosecond.
const DIGITS_MAX: u8 = 9;
/// Bytes of `2024-11-05T12:34:56`.
const SECONDS_BYTES: usize = 19;
/// Codes of forms that end in `+00:00` start here.
const OFFSET_CODES: u8 = 10;
const POWERS: [i64; 10] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

impl fmt::Display for TimeForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = if self.is_offset { "+00:00" } else { "Z" };
        match self.digits {
            0 => f.write_str(zone),
            digits => write!(f, ".{:0<1$}{zone}", "", usize::from(digits)),
        }
    }
}

impl TimeForm {
    pub(crate) fn code(self) -> u8 {
        self.digits
            .wrapping_add(if self.is_offset { OFFSET_CODES } else { 0 })
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0..OFFSET_CODES => Some(Self {
                digits: code,
                is_offset: false,
            }),
            OFFSET_CODES..20 => Some(Self {
                digits: code.wrapping_sub(OFFSET_CODES),
                is_offset: true,
            }),
            _ => None,
        }
    }

    /// Returns the length of a text of this form.
    pub(crate) fn text_bytes(self) -> usize {
        let fraction = if self.digits == 0 {
            0
        } else {
            usize::from(self.digits).wrapping_add(1)
        };
        let zone = if self.is_offset { 6 } else { 1 };
        SECONDS_BYTES.wrapping_add(fraction).wrapping_add(zone)
    }

    fn units_per_second(self) -> i64 {
        POWERS.get(usize::from(self.digits)).copied().unwrap_or(1)
    }

    /// Reads a time: its form, and how many of its units since the Unix epoch it is; none for a text that the two would
    /// not give back. Times of one form order as their numbers.
    pub fn parse(text: &str) -> Option<(Self, i64)> {
        read(text.as_bytes())
    }

    /// Returns a time's value in microseconds since the Unix epoch, rounded down.
    pub fn micros(self, value: i64) -> i64 {
        const MICROS: i64 = 1_000_000;
        let units = self.units_per_second();
        if units <= MICROS {
            value.saturating_mul(MICROS.checked_div(units).unwrap_or(1))
        } else {
            value.div_euclid(units.checked_div(MICROS).unwrap_or(1))
        }
    }
}

fn two(bytes: &[u8], at: usize) -> Option<i64> {
    let [tens, ones] = *bytes.get(at..)?.first_chunk::<2>()?;
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| {
        i64::from(tens & 15)
            .wrapping_mul(10)
            .wrapping_add(i64::from(ones & 15))
    })
}

/// Reads a time: its form, and how many of its units since 1970 it is. None for a text that would not come back.
pub(crate) fn read(text: &[u8]) -> Option<(TimeForm, i64)> {
    let (body, is_offset) = match text.strip_suffix(b"Z") {
        Some(body) => (body, false),
        None => (text.strip_suffix(b"+00:00")?, true),
    };
    let seconds_text = body.get(..SECONDS_BYTES)?;
    for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if seconds_text.get(at) != Some(&mark) {
            return None;
        }
    }
    let year = two(body, 0)?.wrapping_mul(100).wrapping_add(two(body, 2)?);
    let (month, day) = (two(body, 5)?, two(body, 8)?);
    let (hour, minute, second) = (two(body, 11)?, two(body, 14)?, two(body, 17)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (digits, fraction) = match body.get(SECONDS_BYTES..)? {
        [] => (0, 0),
        [b'.', digits @ ..] if (1..=usize::from(DIGITS_MAX)).contains(&digits.len()) => {
            let mut fraction = 0_i64;
            for &digit in digits {
                if !digit.is_ascii_digit() {
                    return None;
                }
                fraction = fraction
                    .wrapping_mul(10)
                    .wrapping_add(i64::from(digit & 15));
            }
            (u8::try_from(digits.len()).ok()?, fraction)
        }
        _ => return None,
    };
    let form = TimeForm { digits, is_offset };
    let clock = hour
        .wrapping_mul(3_600)
        .wrapping_add(minute.wrapping_mul(60))
        .wrapping_add(second);
    let seconds = days_from_civil(year, month, day)
        .checked_mul(SECONDS_PER_DAY)?
        .checked_add(clock)?;
    let value = seconds
        .checked_mul(form.units_per_second())?
        .checked_add(fraction)?;
    Some((form, value))
}

/// Appends a time's text. A value that no text has given makes one that is no time.
pub(crate) fn write(form: TimeForm, value: i64, out: &mut Vec<u8>) {
    let units = form.units_per_second();
    let (seconds, mut fraction) = (value.div_euclid(units), value.rem_euclid(units));
    let (days, clock) = (
        seconds.div_euclid(SECONDS_PER_DAY),
        seconds.rem_euclid(SECONDS_PER_DAY),
    );
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000000000";
    let mut put = |at: usize, value: i64| {
        if let Some([tens, ones]) = text
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut::<2>())
        {
            *tens = b'0'.wrapping_add((value / 10 % 10) as u8);
            *ones = b'0'.wrapping_add((value % 10) as u8);
        }
    };
    put(0, year.div_euclid(100));
    put(2, year.rem_euclid(100));
    put(5, month);
    put(8, day);
    put(11, clock / 3_600);
    put(14, clock / 60 % 60);
    put(17, clock % 60);
    let digits = usize::from(form.digits);
    let end = if digits == 0 {
        SECONDS_BYTES
    } else {
        SECONDS_BYTES.wrapping_add(1).wrapping_add(digits)
    };
    if let Some(slots) = text.get_mut(SECONDS_BYTES.wrapping_add(1)..end) {
        for slot in slots.iter_mut().rev() {
            *slot = b'0'.wrapping_add((fraction % 10) as u8);
            fraction /= 10;
        }
    }
    out.extend_from_slice(text.get(..end).unwrap_or_default());
    out.extend_from_slice(if form.is_offset { b"+00:00" } else { b"Z" });
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

// Days since 1970 of the proleptic Gregorian calendar, counted in years that begin in March and eras of 400 years.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

#[expect(
    clippy::arithmetic_side_effects,
    reason = "a year of four digits and constants: far inside 64 bits"
)]
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn back(form: TimeForm, value: i64) -> String {
        let mut out = Vec::new();
        write(form, value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_come_back_as_they_were() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1_000),
            ("2024-02-29T12:00:00.5Z", 1_709_208_000_500_000),
            ("2000-02-29T00:00:00.123456Z", 951_782_400_123_456),
            ("2024-11-05T12:34:56.789000+00:00", 1_730_810_096_789_000),
            ("0001-01-01T00:00:00.000Z", -62_135_596_800_000_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999_000),
            ("0000-03-01T00:00:00Z", -62_162_035_200_000_000),
        ] {
            let (form, value) = read(text.as_bytes()).unwrap();
            assert_eq!(back(form, value), text);
            assert_eq!(form.micros(value), micros, "{text}");
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "Z",
            "2024-11-05",
            "2024-11-05T12:34:56",
            "2024-11-05T12:34:56z",
            "2024-11-05t12:34:56Z",
            "2024-13-05T12:34:56Z",
            "2024-00-05T12:34:56Z",
            "2024-11-31T12:34:56Z",
            "2023-02-29T12:34:56Z",
            "1900-02-29T12:34:56Z",
            "2024-11-05T24:34:56Z",
            "2024-11-05T12:60:56Z",
            "2024-11-05T12:34:60Z",
            "2024-11-05T12:34:56.Z",
            "2024-11-05T12:34:56.1234567890Z",
            "2024-11-05T12:34:56.12a4Z",
            "2024-11-05T12:34:56+01:00",
            "2024-11-05T12:34:56-00:00",
            "+024-11-05T12:34:56Z",
            // A nanosecond count of this year does not fit.
            "9999-11-05T12:34:56.123456789Z",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_comes_back(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|\\+00:00)"
        ) {
            if let Some((form, value)) = read(text.as_bytes()) {
                prop_assert_eq!(back(form, value), text);
                prop_assert_eq!(TimeForm::from_code(form.code()), Some(form));
            }
        }

        #[test]
        fn no_value_panics(code in 0..20_u8, value: i64) {
            back(TimeForm::from_code(code).unwrap(), value);
        }
    }
}
