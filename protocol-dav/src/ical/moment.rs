//! DATE and DATE-TIME values with the zone they are in.

use super::zone::{Zone, Zones};
use crate::object::Property;
use crate::time::{DAY, Seconds, read_date, read_date_time, read_duration, write_date, write_date_time};

/// A date or a time on the clock of its zone.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'z> {
    /// Seconds on that clock; midnight for a date.
    pub local: Seconds,
    /// Whether it is a date.
    pub is_date: bool,
    /// The zone; for dates and floating times that of the calendar.
    pub zone: &'z Zone,
    /// Whether it is written with neither zone nor `Z`.
    pub is_floating: bool,
}

impl<'z> Moment<'z> {
    /// From a property with one such value.
    pub fn of(property: &Property<'_>, zones: &'z Zones<'_>) -> Option<Moment<'z>> {
        Moment::read(property, property.value().trim(), zones)
    }

    /// From one value of a property with several.
    pub fn read(property: &Property<'_>, value: &str, zones: &'z Zones<'_>) -> Option<Moment<'z>> {
        if let Some(local) = read_date(value) {
            return Some(Moment { local, is_date: true, zone: zones.floating(), is_floating: true });
        }
        let (local, is_utc) = read_date_time(value)?;
        if is_utc {
            return Some(Moment { local, is_date: false, zone: &Zone::Utc, is_floating: false });
        }
        let (zone, is_floating) = match property.parameter("TZID") {
            Some(tzid) => (zones.find(&tzid), false),
            None => (zones.floating(), true),
        };
        Some(Moment { local, is_date: false, zone, is_floating })
    }

    /// The moment in UTC.
    pub fn utc(self) -> Seconds {
        self.zone.to_utc(self.local)
    }

    /// The same clock at another time.
    #[must_use]
    pub fn at(self, local: Seconds) -> Moment<'z> {
        Moment { local, ..self }
    }

    /// Its value in UTC; a date stays a date.
    pub fn utc_value(self) -> String {
        let mut out = String::new();
        if self.is_date {
            write_date(self.local, &mut out)
        } else {
            write_date_time(self.utc(), true, &mut out)
        }
        out
    }
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// It does not say.
    Unsaid,
    /// Seconds of UTC, between two times.
    Exact(Seconds),
    /// Seconds on the clock on the wall, between two dates.
    Local(Seconds),
    /// As a DURATION says: the clock may change on the way.
    Nominal {
        /// Days on the clock on the wall.
        days: i64,
        /// Seconds of UTC after them.
        seconds: Seconds,
    },
}

impl Length {
    /// From `start` to the moment of `end`, else as `duration` says.
    pub fn of(start: Moment<'_>, end: Option<Moment<'_>>, duration: Option<&Property<'_>>) -> Length {
        if let Some(end) = end {
            return if start.is_date && end.is_date {
                Length::Local((end.local - start.local).max(0))
            } else {
                Length::Exact((end.utc() - start.utc()).max(0))
            };
        }
        match duration.and_then(|property| read_duration(property.value().trim())) {
            Some(duration) if duration.total() >= 0 => {
                Length::Nominal { days: duration.days, seconds: duration.seconds }
            }
            _ => Length::Unsaid,
        }
    }

    /// When what begins at `start` ends, in UTC. What does not say is over at once, or at the end of its day
    /// (RFC 5545 §3.6.1).
    pub fn end(self, start: Moment<'_>) -> Seconds {
        match self {
            Length::Unsaid if start.is_date => start.at(start.local + DAY).utc(),
            Length::Unsaid => start.utc(),
            Length::Exact(seconds) => start.utc() + seconds,
            Length::Local(seconds) => start.at(start.local + seconds).utc(),
            Length::Nominal { days, seconds } => start.at(start.local + days * DAY).utc() + seconds,
        }
    }

    /// No less than it ever comes to, on any clock: a day may be some hours longer where the clock is set back.
    pub fn most(self, is_date: bool) -> Seconds {
        const SET_BACK: Seconds = 3 * 3_600;
        SET_BACK
            + match self {
                Length::Unsaid if is_date => DAY,
                Length::Unsaid => 0,
                Length::Exact(seconds) | Length::Local(seconds) => seconds,
                Length::Nominal { days, seconds } => days * DAY + seconds,
            }
    }
}
