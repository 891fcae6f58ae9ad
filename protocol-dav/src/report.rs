//! What reports say of rows: which objects a query admits by its index and which pass, and the answers that need no
//! storage.

mod expand;

#[cfg(test)]
mod tests;

pub use expand::expand;

use crate::ical::{self, Context, Index, Zone};
use crate::name::DECLARATIONS;
use crate::path::{Area, Path, PathKind};
use crate::props::{Viewer, text_of};
use crate::recur::{Budget, TooMany};
use crate::refusal::{Condition, Refusal, Response, Status, XML_DECLARATION, XML_TYPE};
use crate::request::{CalendarQuery, CardQuery, Multiget, PrincipalSearch, TimeRange};
use crate::resource::{Components, Kind, Resource};
use crate::vcard;

impl CalendarQuery {
    /// Whether an object can pass, by what the index knows of it. Those that cannot need not be read.
    pub fn admits(&self, component: Components, first: Option<i64>, last: Option<i64>) -> bool {
        let (name, range) = self.filter.hint();
        let Some(name) = name else { return true };
        // Another type than those that an object can be of is looked for as a time zone is: within.
        let wanted = Components::of(name);
        if wanted.is_some_and(|wanted| wanted != component) {
            return false;
        }
        let Some(range) = range.filter(|_| wanted.is_some()) else { return true };
        let (from, to) = range.bounds();
        first.is_none_or(|first| first <= to) && last.is_none_or(|last| last >= from)
    }

    /// The zone of floating times that the query brings along; none when it leaves that to the calendar
    /// (RFC 4791 §7.3).
    pub fn zone(&self) -> Result<Option<Zone>, Refusal> {
        let invalid = || Refusal::condition(Condition::ValidTimezone, "the time zone is not known");
        match (&self.timezone, &self.timezone_id) {
            (Some(text), _) => Zone::of_object(text).map(Some).ok_or_else(invalid),
            (None, Some(name)) => Zone::named(name.trim()).map(Some).ok_or_else(invalid),
            (None, None) => Ok(None),
        }
    }

    /// Whether an object passes. [`TooMany`] is answered for its href alone, as `403` with
    /// [`Condition::MaxInstances`]; what cannot be read does not pass.
    pub fn passes(&self, text: &str, floating: &Zone) -> Result<bool, TooMany> {
        let Ok(object) = ical::parse(text) else { return Ok(false) };
        ical::matches(&self.filter, &object, &Context { floating }, &mut Budget::default())
    }
}

impl CardQuery {
    /// Whether a vCard passes.
    pub fn passes(&self, text: &str) -> bool {
        vcard::parse(text).is_ok_and(|card| vcard::matches(&self.filter, &card))
    }
}

impl Multiget {
    /// The hrefs in the collection or object that was asked, in order: each as it was sent, and its place; those
    /// that name nothing there are without one and are answered with `404`.
    pub fn targets<'m>(&'m self, asked: &'m Path) -> impl Iterator<Item = (&'m str, Option<&'m Path>)> {
        self.hrefs.iter().map(move |(href, path)| {
            let inside = |path: &&Path| path.kind() == PathKind::Object && asked.contains(path);
            (&**href, path.as_ref().filter(inside))
        })
    }
}

/// Whether an object with this index can make somebody busy within a range.
pub fn may_be_busy(index: &Index, range: TimeRange) -> bool {
    let (from, to) = range.bounds();
    let kind = index.component == Components::EVENT || index.component == Components::FREEBUSY;
    kind && index.first.is_none_or(|first| first < to) && index.last.is_none_or(|last| last > from)
}

/// The answer to `CALDAV:free-busy-query`: an iCalendar object (RFC 4791 §7.10).
pub fn free_busy_response(range: TimeRange, busy: ical::BusyPeriods, now: i64) -> Response {
    let text = ical::free_busy_object(range, &busy.merged(), None, Vec::new(), now);
    let headers = vec![("content-type", "text/calendar; charset=utf-8".to_owned())];
    Response { status: Status(200), headers, body: text.into_bytes() }
}

impl PrincipalSearch {
    /// Whether a principal is found (RFC 3744 §9.4).
    pub fn matches(&self, principal: &Resource<'_>, viewer: Viewer<'_>) -> bool {
        let mut found = self.searches.iter().map(|search| {
            let wanted = search.text.to_lowercase();
            search.properties.iter().any(|name| {
                text_of(name, principal, viewer).is_some_and(|text| text.to_lowercase().contains(&wanted))
            })
        });
        if self.all { found.all(|found| found) } else { found.any(|found| found) }
    }
}

/// The answer to `DAV:principal-search-property-set` (RFC 3744 §9.5).
pub fn principal_search_properties() -> Response {
    let mut out = format!("{XML_DECLARATION}<D:principal-search-property-set{DECLARATIONS}>");
    for (property, description) in [
        ("<D:displayname/>", "Name"),
        ("<CS:email-address-set/>", "E-mail address"),
        ("<C:calendar-user-address-set/>", "Calendar user address"),
    ] {
        out.push_str(&format!(
            "<D:principal-search-property><D:prop>{property}</D:prop>\
             <D:description xml:lang=\"en\">{description}</D:description></D:principal-search-property>"
        ));
    }
    out.push_str("</D:principal-search-property-set>\n");
    let headers = vec![("content-type", XML_TYPE.to_owned())];
    Response { status: Status(200), headers, body: out.into_bytes() }
}

/// The resource at a place that is there for every owner and needs no row: what is above the owners, principals,
/// homes, and the scheduling outbox.
pub fn fixed(path: &Path) -> Option<Resource<'_>> {
    let kind = match (path.kind(), path.area()) {
        (PathKind::Root | PathKind::Area, _) => Kind::Above,
        (PathKind::Principal, _) => Kind::Principal,
        (PathKind::Home, _) => Kind::Home,
        (PathKind::ScheduleOutbox, _) => Kind::ScheduleOutbox,
        _ => return None,
    };
    Some(Resource::new(path, kind))
}

/// The places directly in a fixed one that are fixed too: what PROPFIND with Depth 1 shows besides rows. Below
/// `/dav/` nobody sees more than what is their own.
pub fn fixed_members(path: &Path, principal: &str) -> Vec<Path> {
    const AREAS: [Area; 4] = [Area::Principals, Area::Calendars, Area::Books, Area::Files];
    match (path.kind(), path.area()) {
        (PathKind::Root, _) => {
            AREAS.into_iter().filter_map(|area| Path::home(area, principal).parent()).collect()
        }
        (PathKind::Area, Some(area)) => vec![Path::home(area, principal)],
        (PathKind::Home, Some(Area::Calendars)) => vec![Path::schedule_outbox(principal)],
        _ => Vec::new(),
    }
}
