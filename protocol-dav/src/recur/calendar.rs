//! Days, weeks and months as numbers.

use protocol_core::time::Civil;

use crate::time::{DAY, Seconds, date};

/// A day: how many after 1970-01-01.
pub(super) type Day = i64;

/// No time after this is looked at: the end of the year 9999.
pub(super) const END_OF_TIME: Seconds = 253_402_300_799;

/// 0 is Monday.
pub(super) fn weekday(day: Day) -> u8 {
    (day + 3).rem_euclid(7) as u8
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(super) fn days_in_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

pub(super) fn days_in_month(year: i64, month: u8) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The first of a month, which is 1 to 12, of a year up to 9999.
pub(super) fn first_of(year: i64, month: u8) -> Day {
    date(year, month, 1).unwrap_or(END_OF_TIME) / DAY
}

/// A day with all that rules ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DayOf {
    pub day: Day,
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub of_month: i64,
    /// 1 to 366.
    pub of_year: i64,
}

impl DayOf {
    pub(super) fn of(day: Day) -> DayOf {
        let civil = Civil::from_unix(day * DAY);
        DayOf {
            day,
            year: civil.year,
            month: civil.month,
            of_month: i64::from(civil.day),
            of_year: day - first_of_year(civil.year) + 1,
        }
    }
}

fn first_of_year(year: i64) -> Day {
    let before = year - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

/// The number of the week that a day is in, and how many weeks the year of that week has. Weeks begin on
/// `week_start`; the first of a year is the first with four days in it (RFC 5545 §3.3.10, BYWEEKNO).
pub(super) fn week_of(day: Day, year: i64, week_start: u8) -> (i64, i64) {
    let first_week = |year: i64| {
        let january_4th = first_of_year(year) + 3;
        january_4th - i64::from((weekday(january_4th) + 7 - week_start) % 7)
    };
    let (this, next) = (first_week(year), first_week(year + 1));
    let (from, to) = if day < this {
        (first_week(year - 1), this)
    } else if day >= next {
        (next, first_week(year + 2))
    } else {
        (this, next)
    };
    ((day - from) / 7 + 1, (to - from) / 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_years() {
        for (text, of_year) in [("20240101", 1), ("20241231", 366), ("19700101", 1), ("16011231", 365)] {
            let day = crate::time::read_date(text).unwrap().div_euclid(DAY);
            assert_eq!(DayOf::of(day).of_year, of_year, "{text}");
            let year: i64 = text[..4].parse().unwrap();
            assert_eq!(first_of(year, 1).max(first_of_year(year)), first_of_year(year), "{text}");
        }
    }

    #[test]
    fn iso_weeks() {
        for (text, week, weeks) in [
            ("20201231", 53, 53),
            ("20210103", 53, 53),
            ("20210104", 1, 52),
            ("20241230", 1, 52),
            ("20260101", 1, 53),
        ] {
            let day = crate::time::read_date(text).unwrap().div_euclid(DAY);
            assert_eq!(week_of(day, DayOf::of(day).year, 0), (week, weeks), "{text}");
        }
    }
}
