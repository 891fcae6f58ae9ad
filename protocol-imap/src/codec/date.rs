//! Dates of SEARCH and date-times of APPEND and INTERNALDATE.

use protocol_core::Timestamp;
use protocol_core::time::{Civil, MONTHS};

use super::read::{Cursor, Fault};
use super::write::Emit;

/// `date`: a day, without time and zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// `date-time`: an instant in whole seconds. Its zone is dropped when it is read and `+0000` when written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime(pub Timestamp);

impl Date {
    /// The day in UTC.
    pub fn of(timestamp: Timestamp) -> Date {
        let civil = timestamp.civil();
        Date { year: u16::try_from(civil.year).unwrap_or(0), month: civil.month, day: civil.day }
    }

    /// Midnight UTC at its beginning; `None` for a day that does not exist.
    pub fn midnight(self) -> Option<Timestamp> {
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

    /// `date`: quoted or not.
    pub(super) fn read(c: &mut Cursor<'_>) -> Result<Date, Fault> {
        let quoted = c.eat(b'"');
        let day = match c.rest().get(1) {
            Some(b'0'..=b'9') => c.digits(2)?,
            _ => c.digits(1)?,
        };
        let date = read_month_and_year(day, c)?;
        if quoted {
            c.expect(b'"', "the end of a quoted date")?;
        }
        Ok(date)
    }

    pub(super) fn emit(self, e: &mut Emit<'_>) {
        e.number(u64::from(self.day));
        e.push(b"-");
        e.push(MONTHS.get(usize::from(self.month).wrapping_sub(1)).unwrap_or(&"Jan").as_bytes());
        e.push(b"-");
        push_padded(u64::from(self.year), 1000, e);
    }
}

fn push_padded(n: u64, mut scale: u64, e: &mut Emit<'_>) {
    while scale > 1 && n < scale {
        e.push(b"0");
        scale /= 10;
    }
    e.number(n);
}

fn read_month_and_year(day: u16, c: &mut Cursor<'_>) -> Result<Date, Fault> {
    c.expect(b'-', "a date")?;
    let name = c.take(3).ok_or(Fault::Expected("a month"))?;
    let month = MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(name));
    let month = month.ok_or(Fault::Expected("a month"))? as u8 + 1;
    c.expect(b'-', "a date")?;
    let year = c.digits(4)?;
    let date = Date { year, month, day: u8::try_from(day).unwrap_or(0) };
    if date.midnight().is_none() { Err(Fault::Value("a day that does not exist")) } else { Ok(date) }
}

impl DateTime {
    /// `date-time`: `"dd-Mon-yyyy hh:mm:ss +zzzz"` with its quotes.
    pub(super) fn read(c: &mut Cursor<'_>) -> Result<DateTime, Fault> {
        c.expect(b'"', "a date-time")?;
        let day = if c.eat(b' ') { c.digits(1)? } else { c.digits(2)? };
        let date = read_month_and_year(day, c)?;
        c.sp()?;
        let hour = c.digits(2)?;
        c.expect(b':', "a time")?;
        let minute = c.digits(2)?;
        c.expect(b':', "a time")?;
        let second = c.digits(2)?;
        c.sp()?;
        let sign = match c.take(1) {
            Some(b"+") => 1,
            Some(b"-") => -1,
            _ => return Err(Fault::Expected("a zone")),
        };
        let (zone_hours, zone_minutes) = (c.digits(2)?, c.digits(2)?);
        c.expect(b'"', "the end of a date-time")?;
        // RFC 9051 §9 lets second be 60, a leap second; it is the same instant as the next minute's 00.
        if hour > 23 || minute > 59 || second > 60 || zone_minutes > 59 {
            return Err(Fault::Value("a time of day that does not exist"));
        }
        let midnight = date.midnight().ok_or(Fault::Value("a day that does not exist"))?;
        let of_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        let zone = sign * (i64::from(zone_hours) * 3600 + i64::from(zone_minutes) * 60);
        Ok(DateTime(Timestamp::from_secs(midnight.secs() + of_day - zone)))
    }

    pub(super) fn emit(self, e: &mut Emit<'_>) {
        let civil = self.0.civil();
        e.push(b"\"");
        if civil.day < 10 {
            e.push(b" ");
        }
        Date::of(self.0).emit(e);
        for (before, n) in [(b" ", civil.hour), (b":", civil.minute), (b":", civil.second)] {
            e.push(before);
            push_padded(u64::from(n), 10, e);
        }
        e.push(b" +0000\"");
    }
}
