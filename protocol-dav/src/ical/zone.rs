//! Time zones: those that an object brings along (VTIMEZONE, RFC 5545 §3.6.5), else those of IANA by their names.

use std::cell::Cell;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::limits;
use crate::object::Component;
use crate::recur::{Budget, Occurrences, Rule, Until};
use crate::time::{DAY, Seconds, read_date_time};

/// A time zone.
#[derive(Clone, Debug)]
pub enum Zone {
    /// UTC.
    Utc,
    /// One of IANA's.
    Iana(Tz),
    /// One that is described where it is used.
    Embedded(Box<Embedded>),
}

impl Zone {
    /// Of IANA, by name. Some programs put something in front of the name.
    pub fn named(tzid: &str) -> Option<Zone> {
        if tzid.eq_ignore_ascii_case("UTC") || tzid == "Z" {
            return Some(Zone::Utc);
        }
        let mut name = tzid.trim_start_matches('/');
        loop {
            if let Ok(zone) = name.parse::<Tz>() {
                return Some(Zone::Iana(zone));
            }
            name = name.split_once('/')?.1;
        }
    }

    /// From an iCalendar object with exactly one VTIMEZONE (`CALDAV:calendar-timezone`, RFC 4791 §5.2.2).
    pub fn of_object(text: &str) -> Option<Zone> {
        let object = super::parse(text).ok()?;
        let mut zones = object.components.iter().filter(|c| c.is("VTIMEZONE"));
        let zone = zones.next()?;
        if zones.next().is_some() {
            return None;
        }
        Some(Zone::Embedded(Box::new(Embedded::of(zone)?)))
    }

    /// Seconds that the clock on the wall is ahead of UTC at a moment.
    pub fn offset_at(&self, utc: Seconds) -> Seconds {
        match self {
            Zone::Utc => 0,
            Zone::Iana(zone) => match DateTime::from_timestamp(utc, 0) {
                Some(time) => {
                    i64::from(zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc())
                }
                None => 0,
            },
            Zone::Embedded(zone) => zone.offset_at(utc),
        }
    }

    /// The clock on the wall at a moment.
    pub fn to_local(&self, utc: Seconds) -> Seconds {
        utc.saturating_add(self.offset_at(utc))
    }

    /// The moment at which the clock on the wall shows a time: of two the first, and a time that is left out is
    /// read with the offset before the gap (RFC 5545 §3.3.5).
    pub fn to_utc(&self, local: Seconds) -> Seconds {
        if matches!(self, Zone::Utc) {
            return local;
        }
        let before = local.saturating_sub(self.offset_at(local.saturating_sub(DAY)));
        if local - self.offset_at(before) == before {
            return before;
        }
        let after = local.saturating_sub(self.offset_at(local.saturating_add(DAY)));
        if local - self.offset_at(after) == after { after } else { before }
    }
}

/// A zone that is described by its observances.
#[derive(Clone, Debug)]
pub struct Embedded {
    observances: Vec<Observance>,
    /// Between which moments which offset is known to hold.
    known: Cell<(Seconds, Seconds, Seconds)>,
    /// Steps that may still be taken.
    steps: Cell<u64>,
}

/// STANDARD or DAYLIGHT.
#[derive(Clone, Debug)]
struct Observance {
    start: Seconds,
    from: Seconds,
    to: Seconds,
    rules: Vec<Rule>,
    /// In order.
    dates: Vec<Seconds>,
}

impl Embedded {
    /// From a VTIMEZONE; none when it is not one.
    pub fn of(component: &Component<'_>) -> Option<Embedded> {
        component.property("TZID")?;
        let mut observances = Vec::new();
        for part in component.components.iter().filter(|c| c.is("STANDARD") || c.is("DAYLIGHT")) {
            observances.push(Observance::of(part)?);
        }
        observances.sort_by_key(|observance| observance.start);
        if observances.is_empty() {
            return None;
        }
        let known = Cell::new((0, 0, observances[0].from));
        Some(Embedded { observances, known, steps: Cell::new(limits::ZONE_STEPS_MAX) })
    }

    fn offset_at(&self, utc: Seconds) -> Seconds {
        let (from, to, offset) = self.known.get();
        // When the steps are used up, the zone stays as it was seen last.
        if (from..to).contains(&utc) || self.steps.get() == 0 {
            return offset;
        }
        let mut budget = Budget::new(self.steps.get(), 0);
        // Before all observances the offset is what the first one changes.
        let mut last = (Seconds::MIN, self.observances[0].from);
        let mut next = Seconds::MAX;
        for observance in &self.observances {
            if budget.spend(1).is_err() {
                break;
            }
            if let Some(onset) = observance.last_onset(utc, &mut budget).filter(|onset| *onset >= last.0) {
                last = (onset, observance.to);
            }
            next = next.min(observance.next_onset(utc, &mut budget).unwrap_or(Seconds::MAX));
        }
        self.steps.set(budget.steps());
        self.known.set((last.0, next, last.1));
        last.1
    }
}

impl Observance {
    fn of(component: &Component<'_>) -> Option<Observance> {
        let (start, _) = read_date_time(component.value("DTSTART")?)?;
        let from = read_offset(component.value("TZOFFSETFROM")?)?;
        let to = read_offset(component.value("TZOFFSETTO")?)?;
        let mut rules = Vec::new();
        for property in component.all("RRULE") {
            let mut rule = Rule::parse(property.value()).ok()?;
            // UNTIL is UTC here and nowhere else on this clock (RFC 5545 §3.6.5).
            if let Some(Until::Utc(until)) = rule.until {
                rule.until = Some(Until::Local(until + from));
            }
            rules.push(rule);
        }
        if rules.len() > limits::RULES_MAX {
            return None;
        }
        let mut dates = vec![start];
        for property in component.all("RDATE") {
            for value in property.value().split(',') {
                dates.push(read_date_time(value.split('/').next()?.trim())?.0);
            }
        }
        dates.sort_unstable();
        Some(Observance { start, from, to, rules, dates })
    }

    /// The last onset that is not after a moment, in UTC.
    fn last_onset(&self, utc: Seconds, budget: &mut Budget) -> Option<Seconds> {
        let local = utc.saturating_add(self.from);
        let listed =
            self.dates.partition_point(|date| *date <= local).checked_sub(1).map(|at| self.dates[at]);
        let ruled = self.rules.iter().filter_map(|rule| self.last_of(rule, local, budget)).max();
        listed.max(ruled).map(|onset| onset - self.from)
    }

    /// The last time of a rule that is not after a time: looked for in longer and longer windows before it.
    fn last_of(&self, rule: &Rule, local: Seconds, budget: &mut Budget) -> Option<Seconds> {
        let end = until(rule).map_or(local, |until| until.min(local));
        let mut window = 370 * DAY;
        loop {
            let from = end.saturating_sub(window);
            let mut occurrences = Occurrences::new(rule, self.start, from, end);
            let mut last = None;
            while let Ok(Some(time)) = occurrences.next(budget) {
                last = Some(time);
            }
            if last.is_some() || from <= self.start || budget.steps() == 0 {
                return last;
            }
            window = window.saturating_mul(4);
        }
    }

    /// The first onset after a moment, in UTC.
    fn next_onset(&self, utc: Seconds, budget: &mut Budget) -> Option<Seconds> {
        let local = utc.saturating_add(self.from);
        let listed = self.dates.get(self.dates.partition_point(|date| *date <= local)).copied();
        let ruled = self.rules.iter().filter_map(|rule| {
            let end = until(rule).unwrap_or(Seconds::MAX);
            Occurrences::new(rule, self.start, local.saturating_add(1), end).next(budget).ok().flatten()
        });
        listed.into_iter().chain(ruled).min().map(|onset| onset - self.from)
    }
}

fn until(rule: &Rule) -> Option<Seconds> {
    rule.until.map(|until| match until {
        Until::Date(until) | Until::Local(until) | Until::Utc(until) => until,
    })
}

/// `utc-offset` (RFC 5545 §3.3.14).
fn read_offset(text: &str) -> Option<Seconds> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = &text[1..];
    if !matches!(digits.len(), 4 | 6) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |at: usize| digits.get(at..at + 2).map_or(Some(0), |two| two.parse::<i64>().ok());
    let (hours, minutes, seconds) = (number(0)?, number(2)?, number(4)?);
    if hours > 26 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(sign * (hours * 3_600 + minutes * 60 + seconds))
}

/// The zones of one object.
#[derive(Debug)]
pub struct Zones<'f> {
    zones: Vec<(Box<str>, Zone)>,
    floating: &'f Zone,
}

impl<'f> Zones<'f> {
    /// Those that an object describes and those that it names. Times without a zone are in `floating`.
    pub fn of(object: &Component<'_>, floating: &'f Zone) -> Zones<'f> {
        let mut zones: Vec<(Box<str>, Zone)> = Vec::new();
        for component in object.components.iter().filter(|c| c.is("VTIMEZONE")) {
            if let (Some(tzid), Some(zone)) = (component.value("TZID"), Embedded::of(component)) {
                zones.push((tzid.into(), Zone::Embedded(Box::new(zone))));
            }
        }
        for component in object.components.iter().filter(|c| !c.is("VTIMEZONE")) {
            for property in &component.properties {
                let Some(tzid) = property.parameter("TZID") else { continue };
                if zones.iter().any(|(known, _)| **known == *tzid) {
                    continue;
                }
                if let Some(zone) = Zone::named(&tzid) {
                    zones.push((tzid.into(), zone));
                }
            }
        }
        Zones { zones, floating }
    }

    /// The zone of times without one.
    pub fn floating(&self) -> &Zone {
        self.floating
    }

    /// The zone of this name; one that is neither described nor known is taken for that of floating times.
    pub fn find(&self, tzid: &str) -> &Zone {
        self.zones.iter().find(|(known, _)| **known == *tzid).map_or(self.floating, |(_, zone)| zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::utc;

    const BERLIN: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VTIMEZONE\r\nTZID:Berlin\r\n\
        BEGIN:DAYLIGHT\r\nDTSTART:19810329T020000\r\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\n\
        TZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\nEND:DAYLIGHT\r\n\
        BEGIN:STANDARD\r\nDTSTART:19961027T030000\r\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\n\
        TZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nEND:VCALENDAR\r\n";

    #[test]
    fn an_embedded_zone_agrees_with_the_one_it_describes() {
        let embedded = Zone::of_object(BERLIN).unwrap();
        let iana = Zone::named("Europe/Berlin").unwrap();
        let mut time = utc("19970101T000000Z").unwrap();
        while time < utc("20370101T000000Z").unwrap() {
            assert_eq!(embedded.offset_at(time), iana.offset_at(time), "{time}");
            assert_eq!(embedded.to_utc(time), iana.to_utc(time), "{time}");
            time += 86_400 * 3 + 1_801;
        }
        for day in ["20260329", "20261025"] {
            for minute in 0..300 {
                let local = crate::time::read_date(day).unwrap() + minute * 60;
                assert_eq!(embedded.to_utc(local), iana.to_utc(local), "{day} {minute}");
            }
        }
    }

    #[test]
    fn gaps_and_repeated_hours() {
        let zone = Zone::named("America/New_York").unwrap();
        let to_utc = |text| zone.to_utc(read_date_time(text).unwrap().0);
        // RFC 5545 §3.3.5: 2:30 in the gap is 3:30 EDT, 1:30 in the repeated hour is the first.
        assert_eq!(to_utc("20070311T023000"), utc("20070311T073000Z").unwrap());
        assert_eq!(to_utc("20071104T013000"), utc("20071104T053000Z").unwrap());
        assert_eq!(to_utc("20071104T030000"), utc("20071104T080000Z").unwrap());
    }

    #[test]
    fn names() {
        for name in ["Europe/Berlin", "/freeassociation.sourceforge.net/Europe/Berlin", "/x/y/Europe/Berlin"]
        {
            assert!(matches!(Zone::named(name), Some(Zone::Iana(_))), "{name}");
        }
        assert!(Zone::named("Nowhere/Else").is_none() && Zone::named("").is_none());
        assert!(matches!(Zone::named("utc"), Some(Zone::Utc)));
    }

    #[test]
    fn what_is_no_zone() {
        for (from, to) in [
            ("TZID:Berlin\r\n", ""),
            ("TZOFFSETTO:+0200", "TZOFFSETTO:0200"),
            ("TZOFFSETTO:+0200", "TZOFFSETTO:+020"),
            ("DTSTART:19810329T020000", "DTSTART:1981"),
            ("FREQ=YEARLY", "FREQ=RARELY"),
            ("VTIMEZONE", "VEVENT"),
        ] {
            assert!(Zone::of_object(&BERLIN.replace(from, to)).is_none(), "{from}");
        }
        let two =
            BERLIN.replace("END:VCALENDAR", "BEGIN:VTIMEZONE\r\nTZID:x\r\nEND:VTIMEZONE\r\nEND:VCALENDAR");
        assert!(Zone::of_object(&two).is_none() && Zone::of_object("").is_none());
    }

    #[test]
    fn dv5_a_zone_that_changes_every_second_takes_no_longer() {
        let bomb = BERLIN.replace("FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "FREQ=SECONDLY;COUNT=2000000000");
        let zone = Zone::of_object(&bomb).unwrap();
        let mut time = 0;
        for _ in 0..1_000 {
            zone.to_utc(time);
            time += 86_400 * 30;
        }
        let Zone::Embedded(zone) = zone else { panic!("embedded") };
        assert_eq!(zone.steps.get(), 0);
    }

    #[test]
    fn limits_of_until() {
        let ended = BERLIN.replace("BYDAY=-1SU", "BYDAY=-1SU;UNTIL=20001101T000000Z");
        let zone = Zone::of_object(&ended).unwrap();
        assert_eq!(zone.offset_at(utc("20000701T000000Z").unwrap()), 7_200);
        assert_eq!(zone.offset_at(utc("20260701T000000Z").unwrap()), 3_600);
        assert_eq!(zone.offset_at(utc("19700101T000000Z").unwrap()), 3_600);
    }
}
