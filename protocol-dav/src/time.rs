//! Times as iCalendar writes them (RFC 5545 §3.3.4, §3.3.5, §3.3.6), as numbers.
//!
//! A time of day without a zone is a count of seconds too: those from 1970-01-01T00:00:00 on the clock on the
//! wall. Only a [`Zone`](crate::ical::Zone) makes one
//! into the other.

use std::fmt::Write as _;

use protocol_core::time::Civil;

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// A date or a time on some clock, in seconds.
pub type Seconds = i64;

/// Seconds of midnight of a date; none when there is no such date.
pub fn date(year: i64, month: u8, day: u8) -> Option<Seconds> {
    Civil { year, month, day, hour: 0, minute: 0, second: 0, weekday: 0 }.to_unix()
}

/// Reads `20260102` as midnight.
pub fn read_date(text: &str) -> Option<Seconds> {
    if text.len() != 8 {
        return None;
    }
    date(number(&text[..4])?, number(&text[4..6])? as u8, number(&text[6..])? as u8)
}

/// Reads `20260102T030405`, and whether a `Z` follows. A leap second is the last second of its minute
/// (RFC 5545 §3.3.12).
pub fn read_date_time(text: &str) -> Option<(Seconds, bool)> {
    let (text, is_utc) = match text.strip_suffix('Z') {
        Some(text) => (text, true),
        None => (text, false),
    };
    if !text.is_ascii() || text.len() != 15 || text.as_bytes()[8] != b'T' {
        return None;
    }
    let day = read_date(&text[..8])?;
    let (hour, minute, second) = (number(&text[9..11])?, number(&text[11..13])?, number(&text[13..])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((day + hour * 3_600 + minute * 60 + second.min(59), is_utc))
}

/// Reads a time in UTC.
pub fn utc(text: &str) -> Option<Seconds> {
    read_date_time(text).filter(|(_, is_utc)| *is_utc).map(|(seconds, _)| seconds)
}

fn number(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Reads a duration (RFC 5545 §3.3.6), and how much of it is whole days: those are added on the clock on the
/// wall, the rest on that of UTC (RFC 5545 §3.3.6).
pub fn read_duration(text: &str) -> Option<Duration> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let mut rest = text.strip_prefix('P')?;
    let (mut days, mut seconds) = (0i64, 0i64);
    let mut in_time = false;
    let mut parts = 0;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            if in_time || after.is_empty() {
                return None;
            }
            in_time = true;
            rest = after;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0 && *end <= 9)?;
        let count: i64 = rest[..end].parse().ok()?;
        match (rest.as_bytes()[end], in_time) {
            (b'W', false) => days += count * 7,
            (b'D', false) => days += count,
            (b'H', true) => seconds += count * 3_600,
            (b'M', true) => seconds += count * 60,
            (b'S', true) => seconds += count,
            _ => return None,
        }
        parts += 1;
        rest = &rest[end + 1..];
    }
    let sign = if negative { -1 } else { 1 };
    (parts > 0).then_some(Duration { days: days * sign, seconds: seconds * sign })
}

/// A duration: whole days, and the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duration {
    /// Days on the clock on the wall.
    pub days: i64,
    /// Seconds on that of UTC.
    pub seconds: i64,
}

impl Duration {
    /// Both together, where no zone changes its offset.
    pub fn total(self) -> Seconds {
        self.days * DAY + self.seconds
    }
}

/// Writes `20260102`.
pub fn write_date(seconds: Seconds, out: &mut String) {
    let civil = Civil::from_unix(seconds);
    let _ = write!(out, "{:04}{:02}{:02}", civil.year, civil.month, civil.day);
}

/// Writes `20260102T030405`, with a `Z` when it is UTC.
pub fn write_date_time(seconds: Seconds, is_utc: bool, out: &mut String) {
    let civil = Civil::from_unix(seconds);
    write_date(seconds, out);
    let _ = write!(out, "T{:02}{:02}{:02}", civil.hour, civil.minute, civil.second);
    if is_utc {
        out.push('Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times() {
        assert_eq!(read_date("20000229"), Some(951_782_400));
        for text in ["20010229", "2001022", "200102290", "+0010101", "20011301", "2001011a"] {
            assert_eq!(read_date(text), None, "{text}");
        }
        assert_eq!(utc("20000229T000001Z"), Some(951_782_401));
        assert_eq!(read_date_time("19970101T235960Z"), read_date_time("19970101T235959Z"));
        for text in
            ["20000229T240000", "20000229T0000", "20000229t000000", "20000229T000061Z", "20000229T00000é"]
        {
            assert_eq!(read_date_time(text), None, "{text}");
        }
        assert_eq!(utc("20000229T000001"), None);
        let mut out = String::new();
        write_date_time(951_782_401, true, &mut out);
        assert_eq!(out, "20000229T000001Z");
    }

    #[test]
    fn durations() {
        let of = |text| read_duration(text).map(|d| (d.days, d.seconds));
        assert_eq!(of("P15DT5H0M20S"), Some((15, 18_020)));
        assert_eq!(of("-P7W"), Some((-49, 0)));
        assert_eq!(of("+PT0S"), Some((0, 0)));
        assert_eq!(of("PT1H"), Some((0, 3_600)));
        for text in ["", "P", "PT", "1D", "P1", "P1H", "PT1D", "PT1HT1M", "P1DT", "P9999999999D", "PTH", "Pé"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
