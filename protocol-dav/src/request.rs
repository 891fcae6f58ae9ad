//! What request bodies ask for: PROPFIND, PROPPATCH, MKCOL, MKCALENDAR, LOCK and every REPORT.

mod data;
mod filter;
mod lockinfo;
mod propfind;
mod report;
mod update;

#[cfg(test)]
mod tests;

pub use data::{
    CalendarDataRequest, CardDataRequest, CardVersion, ComponentSelection, PropertySelection, Selected,
};
pub use filter::{
    CardFilter, CardPropertyFilter, Collation, ComponentFilter, ComponentTest, MatchKind, ParameterFilter,
    PropertyFilter, PropertyTest, TextMatch, TimeRange,
};
pub use lockinfo::LockInfo;
pub use propfind::{DataRequest, PropSet, PropertyRequest};
pub use report::{
    CalendarQuery, CardQuery, ExpandProperty, Multiget, PrincipalSearch, ReportBody, Substring,
    SyncCollection,
};
pub use update::{MakeBody, Update};

use crate::limits;
use crate::refusal::{Condition, Refusal};
use crate::xml::{self, Element, XmlFault};

/// A body that is well-formed and is not what the method takes.
pub(crate) fn bad(reason: &'static str) -> Refusal {
    Refusal::status(400, reason)
}

/// Reads a body. The status says whose fault it is: too large, entities (RFC 4918 §20.6), or not well-formed.
pub(crate) fn read(body: &[u8]) -> Result<Element, Refusal> {
    xml::parse(body).map_err(|fault| match fault {
        XmlFault::TooLarge => Refusal::status(413, "the XML is larger than this server reads"),
        XmlFault::Entity => {
            let refusal = Refusal::status(400, "document types and entities are not read");
            Refusal { condition: Some(Condition::NoExternalEntities), ..refusal }
        }
        XmlFault::Malformed => bad("the XML is not well-formed"),
        XmlFault::Encoding => Refusal::status(415, "the XML is neither UTF-8 nor UTF-16"),
    })
}

/// A yes-or-no attribute.
fn yes(element: &Element, attribute: &str, default: bool) -> Result<bool, Refusal> {
    match element.attribute(attribute) {
        None => Ok(default),
        Some("yes") => Ok(true),
        Some("no") => Ok(false),
        Some(_) => Err(bad("an attribute is yes or no")),
    }
}

/// A count that must stay within a limit.
fn within(count: usize, most: usize) -> Result<(), Refusal> {
    if count > most { Err(Refusal::status(413, "the request asks for too much at once")) } else { Ok(()) }
}

/// `nresults` of a `limit` element (RFC 6352 §10.6, RFC 6578 §6.3), within [`limits::ROWS_MAX`]. A number that
/// is no number or zero is refused; one too large for us is our own limit.
fn row_limit(element: Option<&Element>) -> Result<Option<usize>, Refusal> {
    let Some(element) = element else { return Ok(None) };
    let Some(count) = element.elements().find(|e| &*e.name.local == "nresults") else {
        return Err(bad("a limit holds nresults"));
    };
    let digits = count.text();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad("nresults is a number"));
    }
    match digits.parse::<usize>().unwrap_or(usize::MAX) {
        0 => Err(bad("nresults is at least one")),
        count => Ok(Some(count.min(limits::ROWS_MAX))),
    }
}
