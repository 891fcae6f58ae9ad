//! Which method is possible where: one table.

use crate::path::{Area, Path, PathKind};
use crate::refusal::{Condition, Refusal, Response, Status};

/// The compliance classes of the `DAV` field (RFC 4918 §10.1 and the RFCs that add to it).
pub const DAV_CLASSES: &str = "1, 2, 3, access-control, extended-mkcol, calendar-access, calendar-auto-schedule, addressbook, \
     calendarserver-sharing, resource-sharing";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Options,
    Propfind,
    Proppatch,
    Mkcol,
    Mkcalendar,
    Get,
    Head,
    Put,
    Post,
    Delete,
    Copy,
    Move,
    Lock,
    Unlock,
    Report,
}

impl Method {
    const ALL: [(&str, Method); 15] = [
        ("OPTIONS", Method::Options),
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("COPY", Method::Copy),
        ("MOVE", Method::Move),
        ("MKCOL", Method::Mkcol),
        ("MKCALENDAR", Method::Mkcalendar),
        ("PROPFIND", Method::Propfind),
        ("PROPPATCH", Method::Proppatch),
        ("LOCK", Method::Lock),
        ("UNLOCK", Method::Unlock),
        ("REPORT", Method::Report),
    ];

    pub(super) fn of(name: &str) -> Option<Method> {
        Method::ALL.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }
}

const READ: &str = "OPTIONS, PROPFIND, REPORT";
const SETTABLE: &str = "OPTIONS, PROPFIND, PROPPATCH, REPORT";
const OUTBOX: &str = "OPTIONS, PROPFIND, POST, REPORT";
const CALENDAR: &str =
    "OPTIONS, DELETE, COPY, MOVE, MKCOL, MKCALENDAR, POST, PROPFIND, PROPPATCH, LOCK, UNLOCK, REPORT";
const BOOK: &str = "OPTIONS, DELETE, COPY, MOVE, MKCOL, POST, PROPFIND, PROPPATCH, LOCK, UNLOCK, REPORT";
const OBJECT: &str = "OPTIONS, GET, HEAD, PUT, DELETE, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, REPORT";
const INBOX_OBJECT: &str = "OPTIONS, GET, HEAD, DELETE, PROPFIND, REPORT";
const FILES_HOME: &str = "OPTIONS, PROPFIND, PROPPATCH, LOCK, UNLOCK, REPORT";
const FILE: &str =
    "OPTIONS, GET, HEAD, PUT, DELETE, COPY, MOVE, MKCOL, PROPFIND, PROPPATCH, LOCK, UNLOCK, REPORT";

/// The methods that are possible at a place, for the `Allow` field.
pub fn allow(path: &Path) -> &'static str {
    match (path.kind(), path.area()) {
        (PathKind::Root | PathKind::Area | PathKind::Nowhere, _) => READ,
        (PathKind::Principal | PathKind::Home | PathKind::ScheduleInbox, _) => SETTABLE,
        (PathKind::ScheduleOutbox, _) => OUTBOX,
        (PathKind::Collection, Some(Area::Calendars)) => CALENDAR,
        (PathKind::Collection, _) => BOOK,
        (PathKind::Object, _) if in_schedule_inbox(path) => INBOX_OBJECT,
        (PathKind::Object, _) => OBJECT,
        (PathKind::FilesHome, _) => FILES_HOME,
        (PathKind::File, _) => FILE,
    }
}

/// Whether the place is an object of the scheduling inbox: only the server puts something there.
fn in_schedule_inbox(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.kind() == PathKind::ScheduleInbox)
}

/// Refuses a method that is never possible at a place, whatever is there.
pub(super) fn check(method: Method, path: &Path) -> Result<(), Refusal> {
    let name = Method::ALL.iter().find(|(_, known)| *known == method).map_or("", |(name, _)| name);
    let allowed = allow(path);
    if allowed.split(", ").any(|known| known == name) {
        return Ok(());
    }
    let makes = matches!(method, Method::Mkcol | Method::Mkcalendar);
    Err(match path.kind() {
        // Nothing is there, and nothing ever will be.
        PathKind::Nowhere | PathKind::Object if makes => location(path),
        PathKind::Nowhere if method == Method::Put => location(path),
        PathKind::Nowhere => Refusal::not_found(),
        PathKind::Collection if method == Method::Mkcalendar => location(path),
        PathKind::File if method == Method::Mkcalendar => location(path),
        _ if makes => {
            let refusal =
                Refusal::condition(Condition::ResourceMustBeNull, "there is something at this path");
            Refusal { allow: Some(allowed), ..refusal }
        }
        _ => {
            let refusal = Refusal::status(405, "this method is not possible here");
            Refusal { allow: Some(allowed), ..refusal }
        }
    })
}

/// A collection cannot be made here (RFC 4791 §5.3.1.1, RFC 6352 §6.3.2.1).
pub(super) fn location(path: &Path) -> Refusal {
    let condition = match path.area() {
        Some(Area::Books) => Condition::AddressbookCollectionLocationOk,
        _ => Condition::CalendarCollectionLocationOk,
    };
    Refusal::condition(condition, "this cannot be made here")
}

/// The answer to OPTIONS.
pub fn options(path: &Path) -> Response {
    let headers = vec![("dav", DAV_CLASSES.to_owned()), ("allow", allow(path).to_owned())];
    Response { status: Status(200), headers, body: Vec::new() }
}
