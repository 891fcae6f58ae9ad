//! Dates: of header fields (RFC 5322 §3.3 and §4.3) and of IMAP (RFC 9051 §9 `date`, `date-time`).

use core::fmt;

use crate::time::{Civil, MONTHS, Timestamp};

/// A calendar date without a time: what SENTBEFORE and its kin compare (RFC 9051 §6.4.4, which disregards time
/// and zone).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Date {
    /// An IMAP `date`, with or without quotes: `1-Feb-1994`.
    pub fn parse_imap(text: &[u8]) -> Option<Date> {
        let text = match text {
            [b'"', inner @ .., b'"'] => inner,
            _ => text,
        };
        let mut parts = text.split(|&b| b == b'-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !(1..=2).contains(&day.len()) || year.len() != 4 {
            return None;
        }
        let date = Date { year: number(year)? as u16, month: month_number(month)?, day: number(day)? as u8 };
        date.start()?;
        Some(date)
    }

    /// The date of a time in UTC.
    pub fn of(time: Timestamp) -> Date {
        let civil = time.civil();
        Date { year: civil.year.clamp(0, 9999) as u16, month: civil.month, day: civil.day }
    }

    /// Midnight in UTC at which the date begins; `None` for a date that does not exist.
    pub fn start(self) -> Option<Timestamp> {
        let civil = Civil {
            year: i64::from(self.year),
            month: self.month,
            day: self.day,
            hour: 0,
            minute: 0,
            second: 0,
            weekday: 0,
        };
        civil.to_unix().map(Timestamp::from_secs)
    }
}

impl fmt::Display for Date {
    /// As IMAP's `date-text`: `1-Feb-1994`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let month = MONTHS.get(usize::from(self.month).wrapping_sub(1)).unwrap_or(&MONTHS[0]);
        write!(f, "{}-{month}-{:04}", self.day, self.year)
    }
}

/// A point in time and the zone it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// The point in time.
    pub time: Timestamp,
    /// East of Greenwich, in minutes. Zero for the zones that say nothing (RFC 5322 §4.3).
    pub offset_minutes: i16,
}

impl DateTime {
    /// The date as it was written, in its own zone.
    pub fn date(self) -> Date {
        Date::of(Timestamp::from_secs(self.time.secs().saturating_add(i64::from(self.offset_minutes) * 60)))
    }

    /// A Date field's value (RFC 5322 §3.3), with the obsolete forms of §4.3: years of two and three digits,
    /// zones by name, comments and white space anywhere. The day of the week is not checked. A missing zone
    /// counts as `-0000`, missing seconds as zero; a leap second as the one before it.
    pub fn parse_rfc5322(value: &[u8]) -> Option<DateTime> {
        let mut tokens = Tokens { rest: value };
        let mut token = tokens.next()?;
        if token.first()?.is_ascii_alphabetic() {
            // The weekday; some senders forget its comma.
            token = tokens.next()?;
            if token == b"," {
                token = tokens.next()?;
            }
        }
        let day = small(token, 2)?;
        let mut month = tokens.next()?;
        if month == b"-" {
            month = tokens.next()?;
        }
        let month = month_number(month)?;
        let mut year = tokens.next()?;
        if year == b"-" {
            year = tokens.next()?;
        }
        let year = full_year(year)?;
        let hour = small(tokens.next()?, 2)?;
        (tokens.next()? == b":").then_some(())?;
        let minute = small(tokens.next()?, 2)?;
        let mut zone = tokens.next();
        let mut second = 0;
        if zone == Some(b":") {
            second = small(tokens.next()?, 2)?;
            zone = tokens.next();
        }
        let offset_minutes = match zone {
            None => 0,
            Some(sign @ (b"+" | b"-")) => zone_digits(sign[0], tokens.next()?)?,
            Some(name) => zone_name(name),
        };
        build(year, month, day, [hour, minute, second.min(59)], offset_minutes).filter(|_| second <= 60)
    }

    /// An IMAP `date-time`, with or without quotes: ` 1-Feb-1994 21:52:25 -0800`.
    pub fn parse_imap(text: &[u8]) -> Option<DateTime> {
        let text = match text {
            [b'"', inner @ .., b'"'] => inner,
            _ => text,
        };
        let text: &[u8; 26] = text.try_into().ok()?;
        let fixed = [(2, b'-'), (6, b'-'), (11, b' '), (14, b':'), (17, b':'), (20, b' ')];
        if fixed.iter().any(|&(at, want)| text[at] != want) {
            return None;
        }
        let day = match text[..2] {
            [b' ', digit] => number(&[digit])?,
            _ => number(&text[..2])?,
        };
        let clock =
            [number(&text[12..14])? as u8, number(&text[15..17])? as u8, number(&text[18..20])? as u8];
        let offset = zone_digits(text[21], &text[22..])?;
        build(number(&text[7..11])? as u16, month_number(&text[3..6])?, day as u8, clock, offset)
    }
}

fn build(
    year: u16,
    month: u8,
    day: u8,
    [hour, minute, second]: [u8; 3],
    offset_minutes: i16,
) -> Option<DateTime> {
    let civil = Civil { year: i64::from(year), month, day, hour, minute, second, weekday: 0 };
    let secs = civil.to_unix()? - i64::from(offset_minutes) * 60;
    Some(DateTime { time: Timestamp::from_secs(secs), offset_minutes })
}

/// At most nine digits, and nothing else.
fn number(digits: &[u8]) -> Option<u32> {
    let plain = !digits.is_empty() && digits.len() <= 9 && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0')))
}

fn small(digits: &[u8], len_max: usize) -> Option<u8> {
    number(digits).filter(|_| digits.len() <= len_max).and_then(|n| u8::try_from(n).ok())
}

fn month_number(name: &[u8]) -> Option<u8> {
    let at = MONTHS.iter().position(|m| {
        // Some senders write the name in full.
        name.len() >= 3
            && name[..3].eq_ignore_ascii_case(m.as_bytes())
            && name.iter().all(u8::is_ascii_alphabetic)
    })?;
    Some(at as u8 + 1)
}

/// RFC 5322 §4.3: two digits are 1950 to 2049, three count from 1900.
fn full_year(digits: &[u8]) -> Option<u16> {
    let year = number(digits)? as u16;
    match digits.len() {
        2 if year < 50 => Some(2000 + year),
        2 | 3 => Some(1900 + year),
        4 => Some(year),
        _ => None,
    }
}

/// `+hhmm`; the range of RFC 5322 §3.3.
fn zone_digits(sign: u8, digits: &[u8]) -> Option<i16> {
    if digits.len() != 4 {
        return None;
    }
    let n = number(digits)?;
    let (hours, minutes) = (n / 100, n % 100);
    if minutes > 59 {
        return None;
    }
    let offset = (hours * 60 + minutes) as i16;
    match sign {
        b'+' => Some(offset),
        b'-' => Some(-offset),
        _ => None,
    }
}

/// RFC 5322 §4.3: the North American zones; all others, military ones among them, say nothing.
fn zone_name(name: &[u8]) -> i16 {
    let hours = match name.to_ascii_uppercase().as_slice() {
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        _ => 0,
    };
    hours * 60
}

/// Runs of digits, runs of letters, and single other characters; white space and comments are passed over.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            self.rest = super::header::trim(self.rest);
            if self.rest.first() != Some(&b'(') {
                break;
            }
            self.rest = super::address_list::skip_comment(self.rest).unwrap_or_default();
        }
        let first = *self.rest.first()?;
        let len = if first.is_ascii_digit() {
            self.rest.iter().take_while(|b| b.is_ascii_digit()).count()
        } else if first.is_ascii_alphabetic() {
            self.rest.iter().take_while(|b| b.is_ascii_alphabetic()).count()
        } else {
            1
        };
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn date_fields_of_all_ages() {
        for (value, want) in [
            ("Mon, 23 Nov 2026 11:26:35 +0000", Some((1_795_433_195, 0))),
            ("23 Nov 2026 11:26:35 +0000 (UTC)", Some((1_795_433_195, 0))),
            ("Mon, 23 Nov 2026 12:26:35 +0100", Some((1_795_433_195, 60))),
            ("Mon , 23(c(d))Nov\t2026 11 : 26 : 35\r\n GMT", Some((1_795_433_195, 0))),
            ("Mon 23 November 2026 11:26 UT", Some((1_795_433_160, 0))),
            ("Thu, 1 Jan 70 00:00:00 EST", Some((18_000, -300))),
            ("01 Jan 100 00:00:00 Z", Some((946_684_800, 0))),
            ("1-Jan-1970 00:00:60 -0000", Some((59, 0))),
            ("1 Jan 1970 00:00", Some((0, 0))),
            ("31 Feb 2020 00:00:00 +0000", None),
            ("1 Jan 2020 24:00:00 +0000", None),
            ("1 Jan 2020 00:00:61 +0000", None),
            ("1 Jan 2020 00:00:00 +0060", None),
            ("1 Jan 99999999999999999999 00:00:00 +0000", None),
            ("", None),
            ("(", None),
            ("garbage", None),
        ] {
            let got = DateTime::parse_rfc5322(value.as_bytes()).map(|d| (d.time.secs(), d.offset_minutes));
            assert_eq!(got, want, "{value}");
        }
    }

    #[test]
    fn imap_date_times() {
        let good = DateTime::parse_imap(b"\" 1-Feb-1994 21:52:25 -0800\"").unwrap();
        assert_eq!(good.time.secs(), 760_168_345);
        assert_eq!(good.date(), Date { year: 1994, month: 2, day: 1 });
        for bad in
            [" 1-Feb-1994 21:52:25 -080", "1-Feb-1994 21:52:25 -0800", "31-Feb-1994 21:52:25 -0800", ""]
        {
            assert_eq!(DateTime::parse_imap(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn imap_dates_are_read_and_written() {
        for text in ["1-Feb-1994", "29-Feb-2000", "31-Dec-9999"] {
            assert_eq!(Date::parse_imap(text.as_bytes()).unwrap().to_string(), text);
        }
        assert_eq!(Date::parse_imap(b"\"01-feb-1994\"").unwrap().to_string(), "1-Feb-1994");
        for bad in ["29-Feb-1999", "1-Feb-94", "1-Fex-1994", "1-Feb-1994-1", "001-Feb-1994", "-Feb-1994"] {
            assert_eq!(Date::parse_imap(bad.as_bytes()), None, "{bad}");
        }
    }
}
