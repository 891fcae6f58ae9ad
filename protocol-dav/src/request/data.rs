//! How much of an object is asked for: `CALDAV:calendar-data` (RFC 4791 §9.6) and `CARDDAV:address-data`
//! (RFC 6352 §10.4) in a request.

use super::filter::TimeRange;
use super::{bad, within, yes};
use crate::limits;
use crate::name::Namespace;
use crate::refusal::{Condition, Refusal};
use crate::xml::Element;

/// `calendar-data` in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalendarDataRequest {
    /// Which components and properties; all without it.
    pub component: Option<ComponentSelection>,
    /// Recurring components as their instances, in UTC (§9.6.5).
    pub expand: Option<TimeRange>,
    /// Only the overridden components that affect this range (§9.6.6).
    pub limit_recurrence_set: Option<TimeRange>,
    /// Only the free and busy periods within this range (§9.6.7).
    pub limit_freebusy_set: Option<TimeRange>,
}

/// `comp`: one component and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentSelection {
    /// The component's name in upper case.
    pub name: Box<str>,
    /// Which of its properties.
    pub properties: Selected<PropertySelection>,
    /// Which components in it.
    pub components: Selected<ComponentSelection>,
}

/// All, or those that are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected<T> {
    /// `allprop` or `allcomp`.
    All,
    /// These.
    These(Vec<T>),
}

/// `prop`: one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertySelection {
    /// Its name in upper case.
    pub name: Box<str>,
    /// Whether its value is left out (`novalue`).
    pub no_value: bool,
}

impl CalendarDataRequest {
    pub(super) fn parse(element: &Element) -> Result<CalendarDataRequest, Refusal> {
        check_type(element, "text/calendar", &["2.0"], Condition::SupportedCalendarData)?;
        let mut request = CalendarDataRequest::default();
        let mut budget = limits::FILTERS_MAX;
        for child in element.elements().filter(|e| e.name.namespace == Namespace::CalDav) {
            match &*child.name.local {
                "comp" => request.component = Some(component(child, &mut budget)?),
                "expand" => request.expand = Some(TimeRange::both(child)?),
                "limit-recurrence-set" => request.limit_recurrence_set = Some(TimeRange::both(child)?),
                "limit-freebusy-set" => request.limit_freebusy_set = Some(TimeRange::both(child)?),
                _ => {}
            }
        }
        if request.expand.is_some() && request.limit_recurrence_set.is_some() {
            return Err(bad("expand and limit-recurrence-set exclude one another"));
        }
        Ok(request)
    }

    /// Whether the object is asked for as it is.
    pub fn is_whole(&self) -> bool {
        *self == CalendarDataRequest::default()
    }
}

fn component(element: &Element, budget: &mut usize) -> Result<ComponentSelection, Refusal> {
    take(budget)?;
    let (mut properties, mut components) = (Vec::new(), Vec::new());
    let (mut all_properties, mut all_components) = (false, false);
    for child in element.elements().filter(|e| e.name.namespace == Namespace::CalDav) {
        match &*child.name.local {
            "allprop" => all_properties = true,
            "allcomp" => all_components = true,
            "prop" => properties.push(property(child, budget)?),
            "comp" => components.push(component(child, budget)?),
            _ => {}
        }
    }
    Ok(ComponentSelection {
        name: name(element)?,
        properties: if all_properties { Selected::All } else { Selected::These(properties) },
        components: if all_components { Selected::All } else { Selected::These(components) },
    })
}

fn property(element: &Element, budget: &mut usize) -> Result<PropertySelection, Refusal> {
    take(budget)?;
    Ok(PropertySelection { name: name(element)?, no_value: yes(element, "novalue", false)? })
}

fn take(budget: &mut usize) -> Result<(), Refusal> {
    within(1, *budget)?;
    *budget -= 1;
    Ok(())
}

fn name(element: &Element) -> Result<Box<str>, Refusal> {
    let name = element.attribute("name").filter(|name| !name.is_empty());
    Ok(name.ok_or_else(|| bad("comp and prop have a name"))?.to_ascii_uppercase().into())
}

/// `address-data` in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardDataRequest {
    /// In which version; as it is stored without one.
    pub version: Option<CardVersion>,
    /// Which properties; all without any.
    pub properties: Option<Vec<PropertySelection>>,
}

/// A version of vCard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardVersion {
    /// RFC 2426.
    V3,
    /// RFC 6350.
    V4,
}

impl CardDataRequest {
    pub(super) fn parse(element: &Element) -> Result<CardDataRequest, Refusal> {
        check_type(element, "text/vcard", &["3.0", "4.0"], Condition::SupportedAddressData)?;
        // Without the attribute 3.0 is meant (RFC 6352 §10.4); clients that do not send it take either, and an
        // unconverted card loses nothing.
        let version = match element.attribute("version") {
            Some("3.0") => Some(CardVersion::V3),
            Some("4.0") => Some(CardVersion::V4),
            _ => None,
        };
        let mut properties = Vec::new();
        let mut budget = limits::FILTERS_MAX;
        let mut all = false;
        for child in element.elements().filter(|e| e.name.namespace == Namespace::CardDav) {
            match &*child.name.local {
                "allprop" => all = true,
                "prop" => properties.push(property(child, &mut budget)?),
                _ => {}
            }
        }
        let properties = (!all && !properties.is_empty()).then_some(properties);
        Ok(CardDataRequest { version, properties })
    }

    /// Whether the card is asked for as it is.
    pub fn is_whole(&self) -> bool {
        *self == CardDataRequest::default()
    }
}

fn check_type(element: &Element, own: &str, versions: &[&str], condition: Condition) -> Result<(), Refusal> {
    let media_type = element.attribute("content-type").unwrap_or(own);
    let version = element.attribute("version").unwrap_or(versions[0]);
    // `text/x-vcard` and `text/directory` are older names that clients still use.
    let known = media_type.eq_ignore_ascii_case(own)
        || (own == "text/vcard" && ["text/x-vcard", "text/directory"].contains(&media_type));
    if known && versions.contains(&version) {
        return Ok(());
    }
    Err(Refusal::condition(condition, "this type or version is not served"))
}
