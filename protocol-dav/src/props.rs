//! Live properties: what the server answers itself, from a plain [`Resource`].

mod acl;
mod content;
mod live;
mod sharing;

#[cfg(test)]
mod tests;

use protocol_core::Timestamp;

pub use crate::request::{DataRequest, PropSet, PropertyRequest};

use crate::ical::Zone;
use crate::name::{Name, Namespace};
use crate::refusal::{Condition, Status, write_empty, write_propstat, write_status};
use crate::resource::Resource;
pub use content::content;
use live::Live;

/// Who is answered, and when.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// The canonical address of who asks.
    pub principal: &'a str,
    /// The time, for what is left of locks.
    pub now: Timestamp,
    /// The zone of floating times: that of the query, else of the calendar (RFC 4791 §7.3).
    pub zone: &'a Zone,
}

/// Whether the server answers a property of this name itself, of some resource.
pub fn is_live(name: &Name) -> bool {
    Live::of(name).is_some()
}

/// Whether a client can set a property that the server has a default for.
pub(crate) fn has_default(name: &Name) -> bool {
    Live::of(name).is_some_and(Live::has_default)
}

/// What became of a property that was asked for.
enum Answered {
    Found,
    Missing,
    Refused(Condition),
}

/// Writes the `propstat` elements of one resource (RFC 4918 §14.22). With `minimal` what is not there is left
/// out (RFC 8144 §2.1).
pub(crate) fn write_propstats(
    set: &PropSet,
    resource: &Resource<'_>,
    viewer: Viewer<'_>,
    minimal: bool,
    out: &mut String,
) {
    let opening = out.len();
    out.push_str("<D:propstat><D:prop>");
    let empty = out.len();
    let mut missing: Vec<&Name> = Vec::new();
    let mut refused: Vec<(&Name, Condition)> = Vec::new();
    let ask = |request: &'_ PropertyRequest, out: &mut String| write_value(request, resource, viewer, out);
    match set {
        PropSet::Names => write_names(resource, viewer, out),
        PropSet::All { include } => {
            write_all(resource, viewer, out);
            for request in include.iter().filter(|request| !is_in_all(request, resource)) {
                match ask(request, out) {
                    Answered::Found => {}
                    Answered::Missing => missing.push(&request.name),
                    Answered::Refused(condition) => refused.push((&request.name, condition)),
                }
            }
        }
        PropSet::Some(requests) => {
            for request in requests {
                match ask(request, out) {
                    Answered::Found => {}
                    Answered::Missing => missing.push(&request.name),
                    Answered::Refused(condition) => refused.push((&request.name, condition)),
                }
            }
        }
    }
    let found = out.len() > empty;
    let others = !refused.is_empty() || (!missing.is_empty() && !minimal);
    if found || !others {
        // One propstat at least stands in a response (§14.24), be it an empty one.
        out.push_str("</D:prop>");
        write_status(Status(200), out);
        out.push_str("</D:propstat>");
    } else {
        out.truncate(opening);
    }
    if !missing.is_empty() && !minimal {
        write_propstat(&missing, Status(404), None, out);
    }
    for (name, condition) in refused {
        write_propstat(&[name], condition.status(), Some(condition), out);
    }
}

fn write_value(
    request: &PropertyRequest,
    resource: &Resource<'_>,
    viewer: Viewer<'_>,
    out: &mut String,
) -> Answered {
    if let Some(data) = &request.data {
        return content::write(data, resource, viewer, out);
    }
    let live = Live::of(&request.name);
    if live.is_none_or(Live::has_default)
        && let Some(dead) = resource.dead(&request.name)
    {
        out.push_str(&dead.fragment);
        return Answered::Found;
    }
    let before = out.len();
    let Some(live) = live else { return Answered::Missing };
    let tag = live.tag();
    out.push_str(&format!("<{tag}>"));
    let inner = out.len();
    if !live::write(live, resource, viewer, out) {
        out.truncate(before);
        return Answered::Missing;
    }
    if out.len() == inner {
        out.truncate(before);
        out.push_str(&format!("<{tag}/>"));
    } else {
        out.push_str(&format!("</{tag}>"));
    }
    Answered::Found
}

/// All that `allprop` answers (RFC 4918 §9.1.5): the live properties of that RFC, and every dead one.
fn write_all(resource: &Resource<'_>, viewer: Viewer<'_>, out: &mut String) {
    for live in Live::all().filter(|live| live.is_in_allprop()) {
        let request = PropertyRequest { name: live.name(), data: None };
        write_value(&request, resource, viewer, out);
    }
    for dead in resource.dead.iter().filter(|dead| !is_in_allprop(&dead.name)) {
        out.push_str(&dead.fragment);
    }
}

fn write_names(resource: &Resource<'_>, viewer: Viewer<'_>, out: &mut String) {
    let mut value = String::new();
    for live in Live::all() {
        value.clear();
        let name = live.name();
        if resource.dead(&name).is_some() || live::write(live, resource, viewer, &mut value) {
            write_empty(&name, out);
        }
    }
    for dead in resource.dead.iter().filter(|dead| !is_live(&dead.name)) {
        write_empty(&dead.name, out);
    }
}

fn is_in_allprop(name: &Name) -> bool {
    Live::of(name).is_some_and(Live::is_in_allprop)
}

fn is_in_all(request: &PropertyRequest, resource: &Resource<'_>) -> bool {
    is_in_allprop(&request.name) || resource.dead(&request.name).is_some()
}

/// The text in a live property's value, without its elements.
pub(crate) fn text_of(name: &Name, resource: &Resource<'_>, viewer: Viewer<'_>) -> Option<String> {
    fn collect(element: &crate::xml::Element, out: &mut String) {
        out.push_str(&element.raw_text());
        for inner in element.elements() {
            out.push(' ');
            collect(inner, out);
        }
    }
    let mut value = format!("<v{}>", crate::name::DECLARATIONS);
    match resource.dead(name) {
        Some(dead) => value.push_str(&dead.fragment),
        None if !live::write(Live::of(name)?, resource, viewer, &mut value) => return None,
        None => {}
    }
    value.push_str("</v>");
    let mut text = String::new();
    collect(&crate::xml::parse(value.as_bytes()).ok()?, &mut text);
    Some(text)
}

/// The hrefs in a live property's value, for `expand-property` (RFC 3253 §3.8).
pub fn hrefs(name: &Name, resource: &Resource<'_>, viewer: Viewer<'_>) -> Vec<String> {
    let mut value = format!("<v{}>", crate::name::DECLARATIONS);
    let Some(live) = Live::of(name) else { return Vec::new() };
    if !live::write(live, resource, viewer, &mut value) {
        return Vec::new();
    }
    value.push_str("</v>");
    let Ok(root) = crate::xml::parse(value.as_bytes()) else { return Vec::new() };
    let direct = root.elements().filter(|e| e.is(&Namespace::Dav, "href"));
    direct.map(crate::xml::Element::text).collect()
}
