//! Free and busy times (RFC 4791 §7.10, RFC 5545 §3.6.4).

use super::series::Series;
use super::zone::{Zone, Zones};
use crate::limits;
use crate::object::{Component, Property};
use crate::recur::{Budget, TooMany};
use crate::request::TimeRange;
use crate::time::{Seconds, read_duration, utc, write_date_time};

/// How busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BusyKind {
    /// `BUSY`.
    Busy,
    /// `BUSY-UNAVAILABLE`.
    Unavailable,
    /// `BUSY-TENTATIVE`.
    Tentative,
}

impl BusyKind {
    /// Its value of FBTYPE.
    pub fn name(self) -> &'static str {
        match self {
            BusyKind::Busy => "BUSY",
            BusyKind::Unavailable => "BUSY-UNAVAILABLE",
            BusyKind::Tentative => "BUSY-TENTATIVE",
        }
    }
}

/// When somebody is busy within a range: collected object by object, so that none has to stay in memory.
#[derive(Clone, Debug)]
pub struct BusyPeriods {
    range: TimeRange,
    periods: Vec<(BusyKind, Seconds, Seconds)>,
}

impl BusyPeriods {
    /// None yet. The range has both ends.
    pub fn new(range: TimeRange) -> BusyPeriods {
        BusyPeriods { range, periods: Vec::new() }
    }

    /// Adds those of an object, in whose `floating` zone times without one are. `owner` is the `mailto:` address of
    /// whose time it is: what they have declined takes none of it.
    pub fn add(
        &mut self,
        object: &Component<'_>,
        floating: &Zone,
        owner: Option<&str>,
        budget: &mut Budget,
    ) -> Result<(), TooMany> {
        let zones = Zones::of(object, floating);
        let range = self.range;
        let mut found = Vec::new();
        Series::of(object, "VEVENT", &zones).visit(range, budget, |instance| {
            if let (Some(kind), Some(start)) = (kind_of(instance.component, owner), instance.start_utc())
                && instance.end > start
            {
                found.push((kind, start, instance.end));
            }
            found.len() <= limits::BUSY_PERIODS_MAX
        })?;
        for component in object.components.iter().filter(|c| c.is("VFREEBUSY")) {
            let listed = listed_periods(component).filter(|(start, end, _)| range.meets(*start, *end));
            found.extend(listed.filter_map(|(start, end, kind)| Some((kind?, start, end))));
        }
        let (from, to) = range.bounds();
        let within = found.into_iter().map(|(kind, start, end)| (kind, start.max(from), end.min(to)));
        self.periods.extend(within);
        if self.periods.len() > limits::BUSY_PERIODS_MAX {
            self.merge();
        }
        if self.periods.len() > limits::BUSY_PERIODS_MAX { Err(TooMany) } else { Ok(()) }
    }

    /// In order of kind and beginning, those of a kind that touch made one.
    pub fn merged(mut self) -> Vec<(BusyKind, Seconds, Seconds)> {
        self.merge();
        self.periods
    }

    fn merge(&mut self) {
        self.periods.sort_unstable();
        let mut merged: Vec<(BusyKind, Seconds, Seconds)> = Vec::new();
        for (kind, start, end) in self.periods.drain(..) {
            match merged.last_mut() {
                Some((last_kind, _, last_end)) if *last_kind == kind && start <= *last_end => {
                    *last_end = end.max(*last_end);
                }
                _ => merged.push((kind, start, end)),
            }
        }
        self.periods = merged;
    }
}

/// What an event does to the time of its owner (RFC 4791 §7.10, RFC 5545 §3.8.2.7, §3.8.1.11).
fn kind_of(event: &Component<'_>, owner: Option<&str>) -> Option<BusyKind> {
    let is = |name: &str, value: &str| event.value(name).is_some_and(|own| own.eq_ignore_ascii_case(value));
    if is("TRANSP", "TRANSPARENT") || is("STATUS", "CANCELLED") {
        return None;
    }
    let own = owner.and_then(|owner| event.all("ATTENDEE").find(|a| a.value().eq_ignore_ascii_case(owner)));
    if own.is_some_and(|attendee| attendee.has("PARTSTAT", "DECLINED")) {
        return None;
    }
    let tentative = own.is_some_and(|attendee| {
        attendee.has("PARTSTAT", "TENTATIVE") || attendee.has("PARTSTAT", "NEEDS-ACTION")
    });
    Some(if is("STATUS", "TENTATIVE") || tentative { BusyKind::Tentative } else { BusyKind::Busy })
}

/// The FREEBUSY periods of a component; no kind for those that say that it is free.
pub(super) fn listed_periods(
    component: &Component<'_>,
) -> impl Iterator<Item = (Seconds, Seconds, Option<BusyKind>)> {
    component.all("FREEBUSY").flat_map(|property| {
        let kind = match property.parameter("FBTYPE").as_deref().map(str::to_ascii_uppercase).as_deref() {
            Some("FREE") => None,
            Some("BUSY-UNAVAILABLE") => Some(BusyKind::Unavailable),
            Some("BUSY-TENTATIVE") => Some(BusyKind::Tentative),
            _ => Some(BusyKind::Busy),
        };
        property.value().split(',').filter_map(move |value| {
            let (start, end) = value.trim().split_once('/')?;
            let start = utc(start)?;
            let end = utc(end).or_else(|| Some(start + read_duration(end)?.total()))?;
            (end > start).then_some((start, end, kind))
        })
    })
}

/// The object that answers: a VFREEBUSY with these properties in front (UID, ORGANIZER, ATTENDEE of an iTIP
/// reply) and the periods. `now` is its DTSTAMP.
pub fn free_busy_object(
    range: TimeRange,
    periods: &[(BusyKind, Seconds, Seconds)],
    method: Option<&str>,
    properties: Vec<Property<'_>>,
    now: Seconds,
) -> String {
    let time = |seconds: Seconds| {
        let mut out = String::new();
        write_date_time(seconds, true, &mut out);
        out
    };
    let mut object = Component::new("VCALENDAR");
    object.properties.push(Property::new("VERSION", &[], "2.0"));
    object.properties.push(Property::new("PRODID", &[], super::render::PRODUCT));
    if let Some(method) = method {
        object.properties.push(Property::new("METHOD", &[], method));
    }
    let mut free_busy = Component::new("VFREEBUSY");
    free_busy.properties = properties;
    let (from, to) = range.bounds();
    for (name, value) in [("DTSTAMP", now), ("DTSTART", from), ("DTEND", to)] {
        free_busy.properties.push(Property::new(name, &[], &time(value)));
    }
    for (kind, start, end) in periods {
        let value = format!("{}/{}", time(*start), time(*end));
        free_busy.properties.push(Property::new("FREEBUSY", &[("FBTYPE", kind.name())], &value));
    }
    object.components.push(free_busy);
    object.to_string()
}
