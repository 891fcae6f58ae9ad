//! Whether an object passes the filter of a calendar-query (RFC 4791 §7.8, §9.7, §9.9).

use super::alarm;
use super::moment::Moment;
use super::series::{Instance, Series};
use super::zone::{Zone, Zones};
use crate::object::{Component, Property};
use crate::recur::{Budget, TooMany};
use crate::request::{
    ComponentFilter, ComponentTest, ParameterFilter, PropertyFilter, PropertyTest, TimeRange,
};
use crate::time::{DAY, Seconds};

/// What a filter is evaluated with.
#[derive(Debug)]
pub struct Context<'f> {
    /// The zone of floating times.
    pub floating: &'f Zone,
}

/// Whether a calendar object passes. [`TooMany`] when that cannot be told within the budget.
pub fn matches(
    filter: &ComponentFilter,
    object: &Component<'_>,
    context: &Context<'_>,
    budget: &mut Budget,
) -> Result<bool, TooMany> {
    if !object.is(&filter.name) {
        return Ok(matches!(filter.test, ComponentTest::IsNotDefined));
    }
    let ComponentTest::Passes { properties, components, .. } = &filter.test else { return Ok(false) };
    let zones = Zones::of(object, context.floating);
    if !properties.iter().all(|property| property_passes(property, object, &zones)) {
        return Ok(false);
    }
    for inner in components {
        if !top_passes(inner, object, &zones, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A filter on the components directly in VCALENDAR: those recur.
fn top_passes(
    filter: &ComponentFilter,
    object: &Component<'_>,
    zones: &Zones<'_>,
    budget: &mut Budget,
) -> Result<bool, TooMany> {
    let mut candidates = object.components.iter().filter(|c| c.is(&filter.name)).peekable();
    let ComponentTest::Passes { time_range, properties, components } = &filter.test else {
        return Ok(candidates.peek().is_none());
    };
    if candidates.peek().is_none() {
        return Ok(false);
    }
    let is_timed = |inner: &ComponentFilter| matches!(&inner.test, ComponentTest::Passes { time_range: Some(_), .. } if &*inner.name == "VALARM");
    // What does not depend on when an instance is, is asked of each component once.
    let plain = |c: &Component<'_>| {
        properties.iter().all(|p| property_passes(p, c, zones))
            && components
                .iter()
                .filter(|inner| !is_timed(inner))
                .all(|inner| inner_passes(inner, c, None, zones))
    };
    let alarms = components.iter().any(is_timed);
    let Some(range) = time_range.or(alarms.then_some(TimeRange { start: None, end: None })) else {
        return Ok(candidates.any(plain));
    };
    let series = Series::of(object, &filter.name, zones);
    // An alarm may go off long before or after its instance; what has a range of its own says where to look.
    let window = if alarms { alarm_window(components, range) } else { range };
    let mut passed = false;
    series.visit_of(widened(window), budget, plain, |instance| {
        passed = (time_range.is_none() || instance_meets(&instance, range, zones))
            && components
                .iter()
                .filter(|inner| is_timed(inner))
                .all(|inner| inner_passes(inner, instance.component, Some(&instance), zones));
        !passed
    })?;
    Ok(passed)
}

/// Alarms are looked for within a month around the range they are asked for in.
fn alarm_window(components: &[ComponentFilter], range: TimeRange) -> TimeRange {
    const AROUND: Seconds = 31 * DAY;
    let mut window = range;
    for inner in components {
        if let ComponentTest::Passes { time_range: Some(inner), .. } = &inner.test {
            let start = inner.start.map(|start| start.saturating_sub(AROUND));
            let end = inner.end.map(|end| end.saturating_add(AROUND));
            window = TimeRange { start: window.start.max(start), end: least(window.end, end) };
        }
    }
    window
}

fn least(a: Option<Seconds>, b: Option<Seconds>) -> Option<Seconds> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The tests of §9.9 differ by a second at the edges from what [`Series::visit`] shows; it shows more.
fn widened(range: TimeRange) -> TimeRange {
    TimeRange {
        start: range.start.map(|start| start.saturating_sub(1)),
        end: range.end.map(|end| end.saturating_add(1)),
    }
}

/// The tables of RFC 4791 §9.9.
fn instance_meets(instance: &Instance<'_>, range: TimeRange, zones: &Zones<'_>) -> bool {
    let (from, to) = range.bounds();
    match &*instance.component.name {
        "VTODO" => todo_meets(instance, range, zones),
        "VJOURNAL" => match instance.start {
            None => false,
            Some(start) if start.is_date => {
                let (start, end) = (start.utc(), start.at(start.local + DAY).utc());
                from < end && to > start
            }
            Some(start) => from <= start.utc() && to > start.utc(),
        },
        "VFREEBUSY" => match instance.start_utc() {
            Some(start) if instance.end > start => from <= instance.end && to > start,
            _ => super::freebusy::listed_periods(instance.component)
                .any(|(start, end, _)| from < end && to > start),
        },
        _ => match instance.start_utc() {
            Some(start) if instance.end > start => from < instance.end && to > start,
            Some(start) => from <= start && to > start,
            None => true,
        },
    }
}

fn todo_meets(instance: &Instance<'_>, range: TimeRange, zones: &Zones<'_>) -> bool {
    let (from, to) = range.bounds();
    let component = instance.component;
    let shift = instance.shift(zones);
    let moment = |name: &str| {
        let property = component.property(name)?;
        Some(Moment::of(property, zones)?.utc() + shift)
    };
    let (start, due) = (moment("DTSTART"), moment("DUE"));
    match (start, component.property("DURATION"), due) {
        (Some(start), Some(_), _) => from <= instance.end && (to > start || to >= instance.end),
        (Some(start), None, Some(due)) => (from < due || from <= start) && (to > start || to >= due),
        (Some(start), None, None) => from <= start && to > start,
        (None, _, Some(due)) => from < due && to >= due,
        (None, _, None) => match (moment("COMPLETED"), moment("CREATED")) {
            (Some(completed), Some(created)) => {
                (from <= created || from <= completed) && (to >= created || to >= completed)
            }
            (Some(completed), None) => from <= completed && to >= completed,
            (None, Some(created)) => to > created,
            (None, None) => true,
        },
    }
}

/// A filter on what is within an event: alarms, for the most part.
fn inner_passes(
    filter: &ComponentFilter,
    parent: &Component<'_>,
    instance: Option<&Instance<'_>>,
    zones: &Zones<'_>,
) -> bool {
    let mut candidates = parent.components.iter().filter(|c| c.is(&filter.name)).peekable();
    let ComponentTest::Passes { time_range, properties, components } = &filter.test else {
        return candidates.peek().is_none();
    };
    candidates.any(|c| {
        let timely = match (time_range, instance) {
            (None, _) => true,
            (Some(range), Some(instance)) => {
                let (from, to) = range.bounds();
                alarm::triggers(c, instance, zones).iter().any(|at| from <= *at && to > *at)
            }
            (Some(_), None) => false,
        };
        timely
            && properties.iter().all(|p| property_passes(p, c, zones))
            && components.iter().all(|inner| inner_passes(inner, c, None, zones))
    })
}

fn property_passes(filter: &PropertyFilter, component: &Component<'_>, zones: &Zones<'_>) -> bool {
    let mut candidates = component.all(&filter.name).peekable();
    let PropertyTest::Passes { time_range, text, parameters } = &filter.test else {
        return candidates.peek().is_none();
    };
    candidates.any(|property| {
        time_range.is_none_or(|range| time_meets(property, range, zones))
            && text.as_ref().is_none_or(|text| text.matches(&property.text()))
            && parameters.iter().all(|parameter| parameter_passes(parameter, property))
    })
}

fn time_meets(property: &Property<'_>, range: TimeRange, zones: &Zones<'_>) -> bool {
    let (from, to) = range.bounds();
    match Moment::of(property, zones) {
        Some(moment) if moment.is_date => moment.utc() < to && moment.at(moment.local + DAY).utc() > from,
        Some(moment) => from <= moment.utc() && moment.utc() < to,
        None => false,
    }
}

pub(crate) fn parameter_passes(filter: &ParameterFilter, property: &Property<'_>) -> bool {
    let mut candidates = property.parameters().filter(|parameter| parameter.is(&filter.name)).peekable();
    if filter.is_not_defined {
        return candidates.peek().is_none();
    }
    match &filter.text {
        None => candidates.peek().is_some(),
        Some(text) => candidates.flat_map(|parameter| parameter.values()).any(|value| text.matches(&value)),
    }
}
