//! PROPFIND bodies (RFC 4918 §9.1, §14.20) and `DAV:prop` wherever it stands.

use super::data::{CalendarDataRequest, CardDataRequest};
use super::{bad, within};
use crate::limits;
use crate::name::{Name, Namespace};
use crate::refusal::Refusal;
use crate::xml::Element;

/// The properties asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropSet {
    /// `allprop`: the dead ones and the live ones of RFC 4918, and these.
    All {
        /// `include`.
        include: Vec<PropertyRequest>,
    },
    /// `propname`: the names of those that are there.
    Names,
    /// These.
    Some(Vec<PropertyRequest>),
}

/// One property asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyRequest {
    /// Its name.
    pub name: Name,
    /// How much of the content, for `calendar-data` and `address-data`.
    pub data: Option<DataRequest>,
}

/// How much of a resource's content is asked for, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataRequest {
    /// `CALDAV:calendar-data`.
    Calendar(Box<CalendarDataRequest>),
    /// `CARDDAV:address-data`.
    Card(Box<CardDataRequest>),
}

impl PropSet {
    /// What is asked for when there is no body.
    pub fn all() -> PropSet {
        PropSet::All { include: Vec::new() }
    }

    /// From `DAV:propfind`.
    pub fn of_propfind(root: &Element) -> Result<PropSet, Refusal> {
        if !root.is(&Namespace::Dav, "propfind") {
            return Err(bad("the body of PROPFIND is DAV:propfind"));
        }
        PropSet::among(root)?.ok_or_else(|| bad("PROPFIND asks for allprop, propname or prop"))
    }

    /// The one of `prop`, `allprop` and `propname` that stands in an element; two of them are refused.
    pub(super) fn among(parent: &Element) -> Result<Option<PropSet>, Refusal> {
        let mut found = None;
        for element in parent.elements().filter(|e| e.name.namespace == Namespace::Dav) {
            let set = match &*element.name.local {
                "prop" => PropSet::Some(requests(element)?),
                "allprop" => {
                    let include = parent.child(&Namespace::Dav, "include");
                    PropSet::All { include: include.map(requests).transpose()?.unwrap_or_default() }
                }
                "propname" => PropSet::Names,
                _ => continue,
            };
            if found.replace(set).is_some() {
                return Err(bad("prop, allprop and propname exclude one another"));
            }
        }
        Ok(found)
    }

    /// Whether the content of resources is needed to answer.
    pub fn wants_data(&self) -> bool {
        match self {
            PropSet::Some(requests) | PropSet::All { include: requests } => {
                requests.iter().any(|request| request.data.is_some())
            }
            PropSet::Names => false,
        }
    }
}

/// The properties that an element names by its children.
fn requests(parent: &Element) -> Result<Vec<PropertyRequest>, Refusal> {
    let mut requests: Vec<PropertyRequest> = Vec::new();
    for element in parent.elements() {
        within(requests.len() + 1, limits::PROPERTIES_MAX)?;
        let data = match element.name.parts() {
            (Namespace::CalDav, "calendar-data") => {
                Some(DataRequest::Calendar(Box::new(CalendarDataRequest::parse(element)?)))
            }
            (Namespace::CardDav, "address-data") => {
                Some(DataRequest::Card(Box::new(CardDataRequest::parse(element)?)))
            }
            _ => None,
        };
        if !requests.iter().any(|request| request.name == element.name) {
            requests.push(PropertyRequest { name: element.name.clone(), data });
        }
    }
    Ok(requests)
}
