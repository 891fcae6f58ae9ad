//! `CALDAV:calendar-data` and `CARDDAV:address-data` in an answer.

use std::borrow::Cow;

use super::{Answered, DataRequest, Viewer};
use crate::ical;
use crate::recur::Budget;
use crate::refusal::Condition;
use crate::resource::{Kind, Resource};
use crate::vcard;
use crate::xml::escape_text;

/// The part of a resource's content that was asked for, in the form that was asked for.
pub fn content<'d>(
    request: &DataRequest,
    data: &'d str,
    viewer: Viewer<'_>,
) -> Result<Cow<'d, str>, Condition> {
    match request {
        DataRequest::Calendar(request) if request.is_whole() => Ok(Cow::Borrowed(data)),
        DataRequest::Calendar(request) => {
            let object = ical::parse(data).map_err(|_| Condition::ValidCalendarData)?;
            let rendered = ical::render(request, &object, viewer.zone, &mut Budget::default());
            rendered.map(Cow::Owned).map_err(|_| Condition::MaxInstances)
        }
        DataRequest::Card(request) if request.is_whole() => Ok(Cow::Borrowed(data)),
        DataRequest::Card(request) => {
            let card = vcard::parse(data).map_err(|_| Condition::ValidAddressData)?;
            Ok(Cow::Owned(vcard::render(request, &card)))
        }
    }
}

pub(super) fn write(
    request: &DataRequest,
    resource: &Resource<'_>,
    viewer: Viewer<'_>,
    out: &mut String,
) -> Answered {
    let (kind, tag) = match request {
        DataRequest::Calendar(_) => (Kind::CalendarObject, "C:calendar-data"),
        DataRequest::Card(_) => (Kind::Card, "CR:address-data"),
    };
    let Some(data) = resource.data.filter(|_| resource.kind == kind) else { return Answered::Missing };
    match content(request, data, viewer) {
        Ok(data) => {
            out.push_str(&format!("<{tag}>"));
            escape_text(&data, out);
            out.push_str(&format!("</{tag}>"));
            Answered::Found
        }
        Err(condition) => Answered::Refused(condition),
    }
}
