//! The instances of a recurring object: rules, dates, exceptions and overridden instances put together
//! (RFC 5545 §3.8.5, §3.8.4.4).

use std::collections::{BTreeSet, HashSet};

use super::moment::{Length, Moment};
use super::zone::{Zone, Zones};
use crate::limits;
use crate::object::{Component, Property};
use crate::recur::{Budget, Occurrences, Rule, TooMany, Until};
use crate::request::TimeRange;
use crate::time::{DAY, Seconds};

/// All components of one type in an object: they have one UID and make one set of instances.
#[derive(Debug)]
pub struct Series<'o> {
    master: Option<Master<'o>>,
    overrides: Vec<Override<'o>>,
}

/// The component without RECURRENCE-ID.
#[derive(Debug)]
struct Master<'o> {
    component: &'o Component<'o>,
    start: Option<Moment<'o>>,
    length: Length,
    rules: Vec<Rule>,
    /// RDATE: times on the clock of DTSTART, some with a length of their own.
    dates: Vec<(Seconds, Option<Length>)>,
    /// EXDATE, in UTC.
    excluded: HashSet<Seconds>,
    /// EXDATE that name whole days of a series that has times, as midnights on its clock.
    excluded_days: HashSet<Seconds>,
}

/// A component with RECURRENCE-ID.
#[derive(Debug)]
struct Override<'o> {
    component: &'o Component<'o>,
    id: Moment<'o>,
    /// The same in UTC.
    utc: Seconds,
    and_future: bool,
    start: Option<Moment<'o>>,
    length: Length,
}

impl Override<'_> {
    /// How much later it begins than the instance it takes the place of, on the clock of its series: it may itself
    /// be written in another zone.
    fn shift(&self, zone: &Zone) -> Seconds {
        self.start.map_or(0, |start| zone.to_local(start.utc()) - zone.to_local(self.utc))
    }
}

/// One instance.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'o> {
    /// The component that describes it.
    pub component: &'o Component<'o>,
    /// Which of its series it is, by its original beginning; none when nothing recurs.
    pub id: Option<Moment<'o>>,
    /// When it begins; none for what has no DTSTART and no DUE.
    pub start: Option<Moment<'o>>,
    /// When it ends, in UTC; equal to its beginning when it says nothing.
    pub end: Seconds,
    /// How long it lasts.
    pub length: Length,
}

impl Instance<'_> {
    /// When it begins, in UTC.
    pub fn start_utc(&self) -> Option<Seconds> {
        self.start.map(Moment::utc)
    }

    /// Seconds by which it begins later than its component says: the distance from DTSTART.
    pub fn shift(&self, zones: &Zones<'_>) -> Seconds {
        let own = self.component.property("DTSTART").or(self.component.property("DUE"));
        let own = own.and_then(|property| Moment::of(property, zones));
        match (self.start, own) {
            (Some(start), Some(own)) => start.utc() - own.utc(),
            _ => 0,
        }
    }
}

impl<'o> Series<'o> {
    /// Of the components of this type in an object.
    pub fn of(object: &'o Component<'o>, name: &str, zones: &'o Zones<'_>) -> Series<'o> {
        let mut series = Series { master: None, overrides: Vec::new() };
        for component in object.components.iter().filter(|c| c.is(name)) {
            let start = start_of(component, zones);
            let length = start.map_or(Length::Unsaid, |start| length_of(component, start, zones));
            let id = component.property("RECURRENCE-ID");
            match id.and_then(|property| Some((property, Moment::of(property, zones)?))) {
                Some((property, id)) => {
                    let and_future = property.has("RANGE", "THISANDFUTURE");
                    let utc = id.utc();
                    series.overrides.push(Override { component, id, utc, and_future, start, length });
                }
                None if series.master.is_none() => {
                    series.master = Some(Master::of(component, start, length, zones));
                }
                // A second one is refused when it is to be stored.
                None => {}
            }
        }
        series.overrides.sort_by_key(|o| o.utc);
        series
    }

    /// Whether there is more than the one instance that a component describes by itself.
    pub fn is_recurring(&self) -> bool {
        !self.overrides.is_empty() || self.master.as_ref().is_some_and(Master::is_recurring)
    }

    /// Shows every instance that meets a range, the overridden ones first, until `see` answers false. An instance
    /// without any time meets every range.
    pub fn visit(
        &self,
        range: TimeRange,
        budget: &mut Budget,
        see: impl FnMut(Instance<'o>) -> bool,
    ) -> Result<(), TooMany> {
        self.visit_of(range, budget, |_| true, see)
    }

    /// As [`Series::visit`], of those components alone that are `wanted`: a series that goes on for ever is not walked
    /// through when none of its instances can matter.
    pub fn visit_of(
        &self,
        range: TimeRange,
        budget: &mut Budget,
        wanted: impl Fn(&Component<'o>) -> bool,
        mut see: impl FnMut(Instance<'o>) -> bool,
    ) -> Result<(), TooMany> {
        let (from, to) = range.bounds();
        let meets = |instance: &Instance<'_>| match instance.start_utc() {
            // What takes no time is in a range that begins with it.
            Some(start) => start < to && (instance.end > from || (start == instance.end && start >= from)),
            None => true,
        };
        for o in self.overrides.iter().filter(|o| wanted(o.component)) {
            budget.spend(1)?;
            let end = o.start.map_or(0, |start| o.length.end(start));
            let (component, length) = (o.component, o.length);
            let instance = Instance { component, id: Some(o.id), start: o.start, end, length };
            if meets(&instance) && !see(instance) {
                return Ok(());
            }
        }
        let Some(master) = &self.master else { return Ok(()) };
        let in_future = self.overrides.iter().any(|o| o.and_future && wanted(o.component));
        if wanted(master.component) || in_future {
            let shown = |i: Instance<'o>| !meets(&i) || !wanted(i.component) || see(i);
            self.visit_master(master, from, to, budget, shown)?;
        }
        Ok(())
    }

    /// All instances that meet a range, each counted against the budget.
    pub fn instances(&self, range: TimeRange, budget: &mut Budget) -> Result<Vec<Instance<'o>>, TooMany> {
        let mut instances = Vec::new();
        let mut left = *budget;
        let mut over = false;
        self.visit(range, budget, |instance| {
            over = left.instance().is_err();
            instances.push(instance);
            !over
        })?;
        if over {
            return Err(TooMany);
        }
        budget.take_instances(instances.len())?;
        instances.sort_by_key(|instance| instance.start_utc());
        Ok(instances)
    }

    fn visit_master(
        &self,
        master: &Master<'o>,
        from: Seconds,
        to: Seconds,
        budget: &mut Budget,
        mut see: impl FnMut(Instance<'o>) -> bool,
    ) -> Result<(), TooMany> {
        let Some(start) = master.start.filter(|_| master.is_recurring() || !self.overrides.is_empty()) else {
            let end = master.start.map_or(0, |start| master.length.end(start));
            let (component, length) = (master.component, master.length);
            see(Instance { component, id: None, start: master.start, end, length });
            return Ok(());
        };
        // Where the clock is changed, a time may be shown this much earlier or later than the offset says.
        const SLACK: Seconds = 3 * 3_600;
        let futures: Vec<(&Override<'o>, Seconds)> =
            self.overrides.iter().filter(|o| o.and_future).map(|o| (o, o.shift(start.zone))).collect();
        let longest = futures.iter().map(|(o, shift)| o.length.most(start.is_date) + shift.max(&0));
        let longest = longest.chain([master.most()]);
        let earliest = futures.iter().map(|(_, shift)| *shift).chain([0]).min().unwrap_or(0);
        let low = start.zone.to_local(from).saturating_sub(longest.max().unwrap_or(0)).saturating_sub(SLACK);
        let high = start.zone.to_local(to).saturating_add(SLACK).saturating_sub(earliest);
        let mut times = Merged::of(master, start, low, high, budget)?;
        while let Some((local, own_length)) = times.next(budget)? {
            let id = start.at(local);
            let utc = id.utc();
            let day = local - local.rem_euclid(DAY);
            let overridden = self.overrides.binary_search_by_key(&utc, |o| o.utc).is_ok();
            if overridden || master.excluded.contains(&utc) || master.excluded_days.contains(&day) {
                continue;
            }
            let future = futures.partition_point(|(o, _)| o.utc <= utc).checked_sub(1).map(|at| futures[at]);
            let (component, begins, length) = match future {
                Some((o, shift)) => (o.component, id.at(local + shift), o.length),
                None => (master.component, id, own_length.unwrap_or(master.length)),
            };
            let end = length.end(begins);
            if !see(Instance { component, id: Some(id), start: Some(begins), end, length }) {
                break;
            }
        }
        Ok(())
    }

    /// The first beginning and the last end, in UTC, for an index: nothing of it lies outside. No end when it goes
    /// on for ever or for longer than can be computed; no beginning when it has no time.
    pub fn span(&self) -> (Option<Seconds>, Option<Seconds>) {
        let mut first: Option<Seconds> = None;
        let mut last: Option<Seconds> = None;
        for o in self.overrides.iter() {
            let Some(start) = o.start else { continue };
            first = Some(first.map_or(start.utc(), |first| first.min(start.utc())));
            last = last.max(Some(o.length.end(start)));
        }
        let Some(master) = &self.master else { return (first, last) };
        let Some(start) = master.start else { return (None, None) };
        first = Some(first.map_or(start.utc(), |first| first.min(start.utc())));
        let shifts = self
            .overrides
            .iter()
            .filter(|o| o.and_future)
            .map(|o| (o.shift(start.zone), o.length.most(start.is_date)));
        let (mut earliest, mut latest) = (0, master.most());
        for (shift, length) in shifts {
            earliest = earliest.min(shift);
            latest = latest.max(shift.max(0) + length);
        }
        let dates = master
            .dates
            .iter()
            .map(|(date, length)| date + length.map_or(0, |length| length.most(start.is_date)));
        let first_date = master.dates.iter().map(|(date, _)| start.at(*date).utc()).min();
        first = first.map(|first| first.min(first_date.unwrap_or(first)) + earliest);
        if !master.is_recurring() {
            return (first, last.max(Some(master.length.end(start))));
        }
        let mut end = dates.max().unwrap_or(start.local).max(start.local);
        for rule in &master.rules {
            match last_of(rule, start) {
                Some(ends) => end = end.max(ends),
                None => return (first, None),
            }
        }
        (first, last.max(Some(start.at(end + latest).utc())))
    }
}

impl<'o> Master<'o> {
    fn of(
        component: &'o Component<'o>,
        start: Option<Moment<'o>>,
        length: Length,
        zones: &Zones<'_>,
    ) -> Master<'o> {
        let mut master = Master {
            component,
            start,
            length,
            rules: component
                .all("RRULE")
                .take(limits::RULES_MAX)
                .filter_map(|p| Rule::parse(p.value()).ok())
                .collect(),
            dates: Vec::new(),
            excluded: HashSet::new(),
            excluded_days: HashSet::new(),
        };
        let Some(start) = start else { return master };
        for property in component.all("RDATE") {
            for value in property.value().split(',') {
                master.dates.extend(read_rdate(property, value.trim(), start, zones));
            }
        }
        for property in component.all("EXDATE") {
            for value in property.value().split(',') {
                match Moment::read(property, value.trim(), zones) {
                    // Some clients leave out whole days of a series that has times.
                    Some(moment) if moment.is_date && !start.is_date => {
                        master.excluded_days.insert(moment.local);
                    }
                    Some(moment) => {
                        master.excluded.insert(moment.utc());
                    }
                    None => {}
                }
            }
        }
        master
    }

    fn is_recurring(&self) -> bool {
        !self.rules.is_empty() || !self.dates.is_empty()
    }

    /// No less than any instance lasts.
    fn most(&self) -> Seconds {
        let is_date = self.start.is_some_and(|start| start.is_date);
        let lengths = self.dates.iter().filter_map(|(_, length)| *length).chain([self.length]);
        lengths.map(|length| length.most(is_date)).max().unwrap_or(DAY)
    }
}

/// DTSTART; of a VTODO that has none, DUE.
fn start_of<'o>(component: &Component<'_>, zones: &'o Zones<'_>) -> Option<Moment<'o>> {
    let due = component.property("DUE").filter(|_| component.is("VTODO"));
    Moment::of(component.property("DTSTART").or(due)?, zones)
}

fn length_of(component: &Component<'_>, start: Moment<'_>, zones: &Zones<'_>) -> Length {
    let end = match &*component.name {
        "VTODO" => component.property("DTSTART").and(component.property("DUE")),
        "VEVENT" | "VFREEBUSY" | "VAVAILABILITY" => component.property("DTEND"),
        _ => None,
    };
    Length::of(start, end.and_then(|property| Moment::of(property, zones)), component.property("DURATION"))
}

/// A date of RDATE on the clock of DTSTART; a period has its own length.
fn read_rdate(
    property: &Property<'_>,
    value: &str,
    start: Moment<'_>,
    zones: &Zones<'_>,
) -> Option<(Seconds, Option<Length>)> {
    let (begin, end) = match value.split_once('/') {
        Some((begin, end)) => (begin, Some(end)),
        None => (value, None),
    };
    let begin = Moment::read(property, begin, zones)?;
    let length = match end {
        None => None,
        Some(text) => match Moment::read(property, text, zones) {
            Some(end) => Some(Length::Exact((end.utc() - begin.utc()).max(0))),
            None => {
                let duration = crate::time::read_duration(text)?;
                Some(Length::Nominal { days: duration.days, seconds: duration.seconds })
            }
        },
    };
    let local = if begin.is_date { begin.local } else { start.zone.to_local(begin.utc()) };
    Some((local, length))
}

/// UNTIL on the clock of DTSTART.
fn until_of(rule: &Rule, start: Moment<'_>) -> Option<Seconds> {
    rule.until.map(|until| match until {
        // A date is meant for a series of dates; for one of times it is the whole day.
        Until::Date(until) | Until::Local(until) => until,
        Until::Utc(until) => start.zone.to_local(until),
    })
}

/// When the last occurrence of a rule begins, or some time after that; none when there is no last one, or it
/// cannot be computed.
fn last_of(rule: &Rule, start: Moment<'_>) -> Option<Seconds> {
    if let Some(until) = until_of(rule, start) {
        return Some(until);
    }
    rule.count?;
    let mut budget = Budget::default();
    let mut occurrences = Occurrences::new(rule, start.local, start.local, Seconds::MAX);
    let mut last = start.local;
    while let Some(time) = occurrences.next(&mut budget).ok()? {
        last = time;
    }
    Some(last)
}

/// DTSTART, rules and dates in order, each time once.
struct Merged {
    rules: Vec<(Option<Seconds>, Occurrences)>,
    dates: std::iter::Peekable<std::vec::IntoIter<(Seconds, Option<Length>)>>,
    high: Seconds,
}

impl Merged {
    fn of(
        master: &Master<'_>,
        start: Moment<'_>,
        low: Seconds,
        high: Seconds,
        budget: &mut Budget,
    ) -> Result<Merged, TooMany> {
        let mut rules = Vec::new();
        for rule in &master.rules {
            let until = until_of(rule, start).unwrap_or(Seconds::MAX).min(high);
            let mut rule = rule.clone();
            if let Some(count) = rule.count {
                // DTSTART is the first instance whether or not the rule yields it, and COUNT counts it.
                let first = Occurrences::new(&rule, start.local, start.local, until).next(budget)?;
                if first != Some(start.local) {
                    rule.count = Some(count - 1);
                }
            }
            let mut occurrences = Occurrences::new(&rule, start.local, low, until);
            rules.push((occurrences.next(budget)?, occurrences));
        }
        let mut seen = BTreeSet::new();
        let mut dates: Vec<(Seconds, Option<Length>)> = master.dates.clone();
        dates.push((start.local, None));
        dates.retain(|(date, _)| *date >= low);
        dates.sort_by_key(|(date, length)| (*date, length.is_none()));
        dates.retain(|(date, _)| seen.insert(*date));
        Ok(Merged { rules, dates: dates.into_iter().peekable(), high })
    }

    fn next(&mut self, budget: &mut Budget) -> Result<Option<(Seconds, Option<Length>)>, TooMany> {
        let listed = self.dates.peek().map(|(date, _)| *date);
        let ruled = self.rules.iter().filter_map(|(time, _)| *time).min();
        let Some(next) = listed.into_iter().chain(ruled).min().filter(|time| *time <= self.high) else {
            return Ok(None);
        };
        budget.spend(self.rules.len() as u64 + 1)?;
        for (time, occurrences) in self.rules.iter_mut().filter(|(time, _)| *time == Some(next)) {
            *time = occurrences.next(budget)?;
        }
        let length = self.dates.next_if(|(date, _)| *date == next).and_then(|(_, length)| length);
        Ok(Some((next, length)))
    }
}
