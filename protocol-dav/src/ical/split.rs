//! Files of many events, as programs write and read them: divided into the objects that a calendar holds, and put
//! together of them.

use std::collections::HashMap;

use super::render::PRODUCT;
use crate::object::{Component, ObjectFault, Property};

/// One object for each UID of a file, with the time zones that it uses. Components without a UID stand alone, and
/// whoever stores them gives them one.
pub fn split(text: &str) -> Result<Vec<Component<'_>>, ObjectFault> {
    let mut objects: Vec<Component<'_>> = Vec::new();
    for calendar in Component::parse_file(text)? {
        if !calendar.is("VCALENDAR") {
            return Err(ObjectFault::Malformed);
        }
        let first_of_calendar = objects.len();
        let mut known: HashMap<(&str, &str), usize> = HashMap::new();
        for component in calendar.components.iter().filter(|c| !c.is("VTIMEZONE")) {
            let uid = component.value("UID").filter(|uid| !uid.is_empty());
            let at = match uid {
                Some(uid) => *known.entry((uid, &component.name)).or_insert(objects.len()),
                None => objects.len(),
            };
            match objects.get_mut(at) {
                Some(object) => object.components.push(component.clone()),
                None => objects.push(alone(&calendar, component)),
            }
        }
        for object in &mut objects[first_of_calendar..] {
            add_zones(object, &calendar);
        }
    }
    Ok(objects)
}

/// An object of one component, with what the calendar says of itself.
fn alone<'c>(calendar: &Component<'c>, component: &Component<'c>) -> Component<'c> {
    let mut object = Component::new("VCALENDAR");
    object.properties.push(Property::new("VERSION", &[], "2.0"));
    object.properties.push(match calendar.property("PRODID") {
        Some(product) => product.clone(),
        None => Property::new("PRODID", &[], PRODUCT),
    });
    object.components.push(component.clone());
    object
}

fn add_zones<'c>(object: &mut Component<'c>, calendar: &Component<'c>) {
    let used: Vec<String> = object
        .components
        .iter()
        .flat_map(|c| &c.properties)
        .filter_map(|p| p.parameter("TZID").map(|tzid| tzid.into_owned()))
        .collect();
    let zones = calendar.components.iter().filter(|c| {
        c.is("VTIMEZONE") && c.value("TZID").is_some_and(|tzid| used.iter().any(|name| name == tzid))
    });
    object.components.splice(0..0, zones.cloned());
}

/// All components of several objects in one, each time zone once.
pub fn join<'c>(objects: &[Component<'c>]) -> Component<'c> {
    let mut out = Component::new("VCALENDAR");
    out.properties.push(Property::new("VERSION", &[], "2.0"));
    out.properties.push(Property::new("PRODID", &[], PRODUCT));
    let mut zones: Vec<&str> = Vec::new();
    for component in objects.iter().flat_map(|object| &object.components) {
        if component.is("VTIMEZONE") {
            let tzid = component.value("TZID").unwrap_or("");
            if zones.contains(&tzid) {
                continue;
            }
            zones.push(tzid);
        }
        out.components.push(component.clone());
    }
    out
}
