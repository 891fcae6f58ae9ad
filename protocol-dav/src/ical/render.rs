//! An object as `calendar-data` asks for it (RFC 4791 §9.6).

use super::moment::{Length, Moment};
use super::series::{Instance, Series};
use super::zone::{Zone, Zones};
use crate::limits;
use crate::object::{Component, Property};
use crate::recur::{Budget, TooMany};
use crate::request::{CalendarDataRequest, ComponentSelection, PropertySelection, Selected, TimeRange};
use crate::time::write_date_time;

/// PRODID of what is made here.
pub(crate) const PRODUCT: &str = "-//Inbox//EN";

/// The types of component that recur.
const RECURRING: [&str; 3] = ["VEVENT", "VTODO", "VJOURNAL"];
/// What an instance no longer has (§9.6.5).
const SET: [&str; 4] = ["RRULE", "RDATE", "EXDATE", "EXRULE"];

/// Writes what of an object was asked for. Times without a zone are in `floating`.
pub fn render(
    request: &CalendarDataRequest,
    object: &Component<'_>,
    floating: &Zone,
    budget: &mut Budget,
) -> Result<String, TooMany> {
    let zones = Zones::of(object, floating);
    let mut object = match (request.expand, request.limit_recurrence_set) {
        (Some(range), _) => expanded(object, range, &zones, budget)?,
        (None, Some(range)) => limited(object, range, &zones, budget)?,
        (None, None) => object.clone(),
    };
    if let Some(range) = request.limit_freebusy_set {
        for component in object.components.iter_mut().filter(|c| c.is("VFREEBUSY")) {
            limit_free_busy(component, range);
        }
    }
    if let Some(selection) = &request.component {
        object = selected(&object, selection);
    }
    Ok(object.to_string())
}

/// Each instance as a component of its own, in UTC, without time zones.
fn expanded<'c>(
    object: &Component<'c>,
    range: TimeRange,
    zones: &Zones<'_>,
    budget: &mut Budget,
) -> Result<Component<'c>, TooMany> {
    let mut out = Component { components: Vec::new(), ..object.clone() };
    out.components.extend(
        object.components.iter().filter(|c| !c.is("VTIMEZONE") && !RECURRING.contains(&&*c.name)).cloned(),
    );
    let mut octets = 0;
    for name in RECURRING {
        let series = Series::of(object, name, zones);
        let recurring = series.is_recurring();
        for instance in series.instances(range, budget)? {
            octets += instance.component.octets();
            if octets > limits::EXPANDED_OCTETS_MAX {
                return Err(TooMany);
            }
            out.components.push(instance_of(&instance, recurring, zones).into_owned());
        }
    }
    Ok(out)
}

fn instance_of<'c>(instance: &Instance<'c>, recurring: bool, zones: &Zones<'_>) -> Component<'c> {
    let mut component = instance.component.clone();
    component.remove(&SET);
    component.properties = component.properties.into_iter().map(|p| in_utc(p, zones)).collect();
    let Some(start) = instance.start else { return component };
    let end = instance.end;
    let due_only = component.property("DTSTART").is_none();
    if !due_only {
        replace(&mut component, "DTSTART", start);
    }
    let end_name = if component.is("VTODO") { "DUE" } else { "DTEND" };
    if due_only || component.property(end_name).is_some() {
        let value = match instance.length {
            _ if due_only => start.utc_value(),
            Length::Local(seconds) => start.at(start.local + seconds).utc_value(),
            _ => {
                let mut out = String::new();
                write_date_time(end, true, &mut out);
                out
            }
        };
        replace_value(&mut component, end_name, &value, start.is_date);
    }
    component.remove(&["RECURRENCE-ID"]);
    if let Some(id) = instance.id.filter(|_| recurring) {
        replace(&mut component, "RECURRENCE-ID", id);
    }
    component
}

fn replace(component: &mut Component<'_>, name: &str, moment: Moment<'_>) {
    replace_value(component, name, &moment.utc_value(), moment.is_date);
}

fn replace_value(component: &mut Component<'_>, name: &str, value: &str, is_date: bool) {
    let parameters: &[(&str, &str)] = if is_date { &[("VALUE", "DATE")] } else { &[] };
    component.set(Property::new(name, parameters, value));
}

/// A property whose time is in a zone that the answer does not have.
fn in_utc<'c>(property: Property<'c>, zones: &Zones<'_>) -> Property<'c> {
    if property.parameter("TZID").is_none() {
        return property;
    }
    match Moment::of(&property, zones) {
        Some(moment) if !moment.is_date => {
            property.with_parameter("TZID", None).with_value(&moment.utc_value())
        }
        _ => property,
    }
}

/// The master and those overridden instances that have to do with a range: now, or before they were moved
/// (§9.6.6).
fn limited<'c>(
    object: &Component<'c>,
    range: TimeRange,
    zones: &Zones<'_>,
    budget: &mut Budget,
) -> Result<Component<'c>, TooMany> {
    let mut out = Component { components: Vec::new(), ..object.clone() };
    for component in &object.components {
        budget.spend(1)?;
        let id = component.property("RECURRENCE-ID");
        let keep = match id.and_then(|property| Some((property, Moment::of(property, zones)?))) {
            None => true,
            // What it says about the future may be about the range.
            Some((property, id)) if property.has("RANGE", "THISANDFUTURE") => id.utc() < range.bounds().1,
            Some((_, id)) => affects(component, id, range, zones),
        };
        if keep {
            out.components.push(component.clone());
        }
    }
    Ok(out)
}

fn affects(component: &Component<'_>, id: Moment<'_>, range: TimeRange, zones: &Zones<'_>) -> bool {
    let meets = |start: Moment<'_>, length: Length| {
        let (begin, end) = (start.utc(), length.end(start));
        range.meets(begin, end.max(begin + 1))
    };
    let start = component.property("DTSTART").and_then(|property| Moment::of(property, zones));
    let Some(start) = start else { return true };
    let end = component.property("DTEND").or(component.property("DUE"));
    let end = end.and_then(|property| Moment::of(property, zones));
    let length = Length::of(start, end, component.property("DURATION"));
    meets(start, length) || meets(id, length)
}

/// Only the periods that have to do with a range (§9.6.7).
fn limit_free_busy(component: &mut Component<'_>, range: TimeRange) {
    let mut kept = Vec::new();
    for property in std::mem::take(&mut component.properties) {
        if !property.is("FREEBUSY") {
            kept.push(property);
            continue;
        }
        let within: Vec<&str> = property.value().split(',').filter(|v| period_meets(v, range)).collect();
        if !within.is_empty() {
            kept.push(property.with_value(&within.join(",")));
        }
    }
    component.properties = kept;
}

fn period_meets(value: &str, range: TimeRange) -> bool {
    let Some((start, end)) = value.trim().split_once('/') else { return false };
    let Some(start) = crate::time::utc(start) else { return false };
    let duration = || Some(start + crate::time::read_duration(end)?.total());
    crate::time::utc(end).or_else(duration).is_some_and(|end| range.meets(start, end))
}

/// The components and properties that were asked for (§9.6.1).
fn selected<'c>(component: &Component<'c>, selection: &ComponentSelection) -> Component<'c> {
    let mut out = Component::new(&component.name);
    if !component.is(&selection.name) {
        return out;
    }
    out.properties = match &selection.properties {
        Selected::All => component.properties.clone(),
        Selected::These(wanted) => select_properties(&component.properties, wanted),
    };
    out.components = match &selection.components {
        Selected::All => component.components.clone(),
        Selected::These(wanted) => {
            let chosen = component.components.iter().filter_map(|inner| {
                let selection = wanted.iter().find(|selection| inner.is(&selection.name))?;
                Some(selected(inner, selection))
            });
            chosen.collect()
        }
    };
    out
}

/// The properties that were asked for, some without their values.
pub(crate) fn select_properties<'c>(
    properties: &[Property<'c>],
    wanted: &[PropertySelection],
) -> Vec<Property<'c>> {
    let chosen = properties.iter().filter_map(|property| {
        let selection = wanted.iter().find(|selection| property.is(&selection.name))?;
        Some(if selection.no_value { property.with_value("") } else { property.clone() })
    });
    chosen.collect()
}
