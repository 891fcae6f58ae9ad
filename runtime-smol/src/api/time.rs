//! Times as the API writes them (RFC 3339).

use protocol_core::Timestamp;
use protocol_core::time::Civil;

/// In UTC, with milliseconds.
pub fn write(time: Timestamp) -> String {
    let c = time.civil();
    let millis = time.0.rem_euclid(1_000);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

/// Reads a time with its offset; parts of a second beyond milliseconds are cut off. A leap second counts as the
/// one before it.
pub fn parse(text: &str) -> Option<Timestamp> {
    let fixed = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 20 || fixed.iter().any(|(at, want)| bytes.get(*at) != Some(want)) {
        return None;
    }
    if !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let number = |from: usize, to: usize| digits(text.get(from..to)?);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let (millis, zone) = fraction(text.get(19..)?)?;
    let offset = offset_minutes(zone)?;
    let civil = Civil {
        year,
        month: u8::try_from(month).ok()?,
        day: u8::try_from(day).ok()?,
        hour: u8::try_from(hour).ok()?,
        minute: u8::try_from(minute).ok()?,
        second: u8::try_from(second.min(59)).ok()?,
        weekday: 0,
    };
    let secs = civil.to_unix().filter(|_| second <= 60)? - offset * 60;
    Some(Timestamp(secs * 1_000 + millis))
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The part of a second, in milliseconds, and what stands behind it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (part, zone) = rest.split_at(len);
    let millis = format!("{part:0<3}").get(..3).and_then(digits)?;
    (len > 0).then_some((millis, zone))
}

fn offset_minutes(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.as_bytes() {
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (digits(zone.get(1..3)?)?, digits(zone.get(4..6)?)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, want) in [
            ("2026-02-10T12:00:00Z", Some(1_770_724_800_000)),
            ("2026-02-10T12:00:00.5Z", Some(1_770_724_800_500)),
            ("2026-02-10T12:00:00.123456Z", Some(1_770_724_800_123)),
            ("2026-02-10t13:30:00+01:30", Some(1_770_724_800_000)),
            ("2026-02-10 06:00:00-06:00", Some(1_770_724_800_000)),
            ("1970-01-01T00:00:60Z", Some(59_000)),
            ("2026-02-10", None),
            ("2026-02-10T12:00:00", None),
            ("2026-02-10T12:00:00.Z", None),
            ("2026-02-30T12:00:00Z", None),
            ("2026-02-10T24:00:00Z", None),
            ("2026-02-10T12:00:61Z", None),
            ("2026-02-10T12:00:00+25:00", None),
            ("+026-02-10T12:00:00Z", None),
            ("2026-02-10T12:00:00Zx", None),
            ("2026-02-10T12:00:00\u{ff3a}", None),
        ] {
            assert_eq!(parse(text), want.map(Timestamp), "{text}");
        }
        assert_eq!(write(Timestamp(1_770_724_800_005)), "2026-02-10T12:00:00.005Z");
    }
}
