//! Time as a value. Machines are told what time it is; they never ask.

use core::fmt;
use core::ops::{Add, Sub};
pub use core::time::Duration;

/// Monotonic nanoseconds. The driver picks the epoch; a simulator starts at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Time since `earlier`, zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    /// Saturates: a deadline beyond the end of time is never reached.
    fn add(self, d: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z, without leap seconds. Negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From whole seconds since the epoch.
    pub fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Time since `earlier`, zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The civil date and time in UTC.
    pub fn civil(self) -> Civil {
        Civil::from_unix(self.secs())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A date and time of day in UTC, proleptic Gregorian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, for example 2026.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 is Sunday.
    pub weekday: u8,
}

/// Month names as RFC 5322 §3.3 and RFC 9051 write them.
pub const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl Civil {
    /// From seconds since the epoch.
    pub fn from_unix(secs: i64) -> Civil {
        let days = secs.div_euclid(86_400);
        let rest = secs.rem_euclid(86_400);
        // Days are counted from 0000-03-01, so that the leap day is the last of its year.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: day as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            weekday: (days + 4).rem_euclid(7) as u8,
        }
    }

    /// Seconds since the epoch; `None` when the fields name no time that exists.
    pub fn to_unix(self) -> Option<i64> {
        let in_range = (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && (0..=9999).contains(&self.year);
        if !in_range {
            return None;
        }
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month = i64::from(self.month);
        let month_from_march = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        Some(
            days * 86_400
                + i64::from(self.hour) * 3_600
                + i64::from(self.minute) * 60
                + i64::from(self.second),
        )
    }

    /// As RFC 5322 §3.3 writes it, in UTC: `Mon, 23 Nov 2026 11:26:35 +0000`.
    pub fn write_rfc5322(self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(
            out,
            "{}, {} {} {:04} {:02}:{:02}:{:02} +0000",
            WEEKDAYS[usize::from(self.weekday)],
            self.day,
            MONTHS[usize::from(self.month) - 1],
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }

    /// As RFC 9051 §9 `date-time` without its quotes, in UTC: `23-Nov-2026 11:26:35 +0000`.
    pub fn write_imap(self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(
            out,
            "{:>2}-{}-{:04} {:02}:{:02}:{:02} +0000",
            self.day,
            MONTHS[usize::from(self.month) - 1],
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }
}

fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn known_dates() {
        for (secs, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_795_433_195, "Mon, 23 Nov 2026 11:26:35 +0000"),
            (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
        ] {
            let mut out = String::new();
            Civil::from_unix(secs).write_rfc5322(&mut out).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn civil_and_unix_agree_over_eight_centuries() {
        let mut secs = -12_000_000_000;
        while secs < 14_000_000_000 {
            assert_eq!(Civil::from_unix(secs).to_unix(), Some(secs));
            secs += 86_400 * 11 + 3_607;
        }
    }

    #[test]
    fn times_that_do_not_exist_are_refused() {
        let good = Civil::from_unix(0);
        assert_eq!(Civil { day: 30, month: 2, ..good }.to_unix(), None);
        assert_eq!(Civil { hour: 24, ..good }.to_unix(), None);
        assert_eq!(Civil { month: 0, ..good }.to_unix(), None);
    }
}
