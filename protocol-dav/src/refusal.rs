//! What is answered when a request is refused: a status and, where an RFC names one, the violated condition.

use std::fmt;

use crate::name::{DECLARATIONS, Name, Namespace};
use crate::xml::escape_text;

/// An HTTP status that this crate answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(pub u16);

impl Status {
    /// The reason phrase of RFC 9110 §15 or RFC 4918 §11.
    pub fn phrase(self) -> &'static str {
        match self.0 {
            200 => "OK",
            201 => "Created",
            204 => "No Content",
            206 => "Partial Content",
            207 => "Multi-Status",
            304 => "Not Modified",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Range Not Satisfiable",
            423 => "Locked",
            424 => "Failed Dependency",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            507 => "Insufficient Storage",
            _ => "Unknown",
        }
    }
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $namespace:ident $local:literal $status:literal,)*) => {
        /// The pre- and postconditions that are answered by name in a `DAV:error` element (RFC 4918 §16).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Condition { $($(#[$doc])* $variant,)* }

        impl Condition {
            /// Every one.
            pub const ALL: &[Condition] = &[$(Condition::$variant,)*];

            /// Its element.
            pub fn name(self) -> Name {
                match self { $(Condition::$variant => Name::new(Namespace::$namespace, $local),)* }
            }

            /// The status it goes with.
            pub fn status(self) -> Status {
                match self { $(Condition::$variant => Status($status),)* }
            }
        }
    };
}

conditions! {
    /// RFC 4918 §16.
    CannotModifyProtectedProperty = Dav "cannot-modify-protected-property" 403,
    /// RFC 4918 §16.
    LockTokenMatchesRequestUri = Dav "lock-token-matches-request-uri" 409,
    /// RFC 4918 §16.
    LockTokenSubmitted = Dav "lock-token-submitted" 423,
    /// RFC 4918 §16.
    NoConflictingLock = Dav "no-conflicting-lock" 423,
    /// RFC 4918 §16.
    NoExternalEntities = Dav "no-external-entities" 403,
    /// RFC 4918 §16.
    PreservedLiveProperties = Dav "preserved-live-properties" 409,
    /// RFC 4918 §16.
    PropfindFiniteDepth = Dav "propfind-finite-depth" 403,
    /// RFC 3744 §6.
    NeedPrivileges = Dav "need-privileges" 403,
    /// draft-pot-webdav-resource-sharing §4.2.
    ValidSharee = Dav "valid-sharee" 403,
    /// RFC 3744 §9.4.
    NumberOfMatchesWithinLimits = Dav "number-of-matches-within-limits" 507,
    /// RFC 3253 §3.6.
    SupportedReport = Dav "supported-report" 403,
    /// RFC 6578 §3.2.
    ValidSyncToken = Dav "valid-sync-token" 403,
    /// RFC 6578 §3.3.
    SyncTraversalSupported = Dav "sync-traversal-supported" 403,
    /// RFC 3253 §1.3.1.
    ResourceMustBeNull = Dav "resource-must-be-null" 405,
    /// RFC 5689 §3.3.
    ValidResourcetype = Dav "valid-resourcetype" 403,
    /// RFC 4331 §6.
    QuotaNotExceeded = Dav "quota-not-exceeded" 507,
    /// RFC 4331 §6.
    SufficientDiskSpace = Dav "sufficient-disk-space" 507,
    /// RFC 4791 §5.3.1.2, for MKCALENDAR.
    InitializeCalendarCollection = CalDav "initialize-calendar-collection" 403,
    /// RFC 4791 §5.3.2.1 and §5.3.1.1.
    CalendarCollectionLocationOk = CalDav "calendar-collection-location-ok" 403,
    /// RFC 4791 §5.3.2.1.
    SupportedCalendarData = CalDav "supported-calendar-data" 403,
    /// RFC 4791 §5.3.2.1.
    ValidCalendarData = CalDav "valid-calendar-data" 403,
    /// RFC 4791 §5.3.2.1.
    ValidCalendarObjectResource = CalDav "valid-calendar-object-resource" 403,
    /// RFC 4791 §5.3.2.1.
    SupportedCalendarComponent = CalDav "supported-calendar-component" 403,
    /// RFC 4791 §5.3.2.1.
    NoUidConflict = CalDav "no-uid-conflict" 409,
    /// RFC 4791 §5.3.2.1.
    MaxResourceSize = CalDav "max-resource-size" 403,
    /// RFC 4791 §5.3.2.1.
    MinDateTime = CalDav "min-date-time" 403,
    /// RFC 4791 §5.3.2.1.
    MaxDateTime = CalDav "max-date-time" 403,
    /// RFC 4791 §5.3.2.1.
    MaxInstances = CalDav "max-instances" 403,
    /// RFC 4791 §5.3.2.1.
    MaxAttendeesPerInstance = CalDav "max-attendees-per-instance" 403,
    /// RFC 4791 §7.8.
    ValidFilter = CalDav "valid-filter" 403,
    /// RFC 4791 §7.8.
    SupportedFilter = CalDav "supported-filter" 403,
    /// RFC 4791 §7.5.1.
    SupportedCollation = CalDav "supported-collation" 403,
    /// RFC 4791 §5.2.2.
    ValidTimezone = CalDav "valid-timezone" 403,
    /// RFC 6638 §3.2.4.1.
    UniqueSchedulingObjectResource = CalDav "unique-scheduling-object-resource" 403,
    /// RFC 6638 §3.2.4.2.
    SameOrganizerInAllComponents = CalDav "same-organizer-in-all-components" 403,
    /// RFC 6638 §3.2.4.3.
    AllowedOrganizerSchedulingObjectChange = CalDav "allowed-organizer-scheduling-object-change" 403,
    /// RFC 6638 §3.2.4.4.
    AllowedAttendeeSchedulingObjectChange = CalDav "allowed-attendee-scheduling-object-change" 403,
    /// RFC 6638 §5.
    ValidSchedulingMessage = CalDav "valid-scheduling-message" 403,
    /// RFC 6638 §5.
    OrganizerAllowed = CalDav "organizer-allowed" 403,
    /// RFC 6352 §6.3.2.1.
    SupportedAddressData = CardDav "supported-address-data" 403,
    /// RFC 6352 §6.3.2.1.
    ValidAddressData = CardDav "valid-address-data" 403,
    /// RFC 6352 §6.3.2.1.
    CardNoUidConflict = CardDav "no-uid-conflict" 409,
    /// RFC 6352 §6.3.2.1.
    AddressbookCollectionLocationOk = CardDav "addressbook-collection-location-ok" 403,
    /// RFC 6352 §6.3.2.1.
    CardMaxResourceSize = CardDav "max-resource-size" 403,
    /// RFC 6352 §8.6.
    CardSupportedFilter = CardDav "supported-filter" 403,
    /// RFC 6352 §8.3.
    CardSupportedCollation = CardDav "supported-collation" 403,
    /// RFC 6352 §8.6.
    SupportedAddressDataConversion = CardDav "supported-address-data-conversion" 403,
}

/// A request refused, with all that its answer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: Status,
    /// The condition that was violated, when an RFC names it.
    pub condition: Option<Condition>,
    /// Hrefs within the condition's element: the resource in the way, the locked one.
    pub hrefs: Vec<String>,
    /// Why, for a person.
    pub reason: &'static str,
    /// Methods of the `Allow` field, for `405`.
    pub allow: Option<&'static str>,
    /// What within the resource was in the way, each with its own status: the answer is then a `207`
    /// (RFC 4918 §9.6.1, §9.10.3).
    pub members: Vec<(String, Status)>,
    /// What became of each property that a new collection was to begin with (RFC 5689 §3.5).
    pub properties: Option<Box<FailedProperties>>,
}

/// The properties of a collection that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedProperties {
    /// Whether it was to be made by MKCALENDAR, whose answer has another name (RFC 4791 §9.4).
    pub calendar: bool,
    /// Those that cannot be set, and why.
    pub refused: Vec<(Name, Condition)>,
    /// The others, which were not set because of these.
    pub others: Vec<Name>,
}

impl Refusal {
    /// With a status alone.
    pub fn status(status: u16, reason: &'static str) -> Refusal {
        Refusal {
            status: Status(status),
            condition: None,
            hrefs: Vec::new(),
            reason,
            allow: None,
            members: Vec::new(),
            properties: None,
        }
    }

    /// With a condition and the status that goes with it.
    pub fn condition(condition: Condition, reason: &'static str) -> Refusal {
        Refusal { condition: Some(condition), ..Refusal::status(condition.status().0, reason) }
    }

    /// With an href in the condition's element.
    #[must_use]
    pub fn at(mut self, href: String) -> Refusal {
        self.hrefs.push(href);
        self
    }

    /// What is not there, or must not be known to be there: both answers are the same to the octet.
    pub fn not_found() -> Refusal {
        Refusal::status(404, "there is nothing at this path")
    }

    /// The whole answer.
    pub fn response(&self) -> Response {
        let mut headers = Vec::new();
        if let Some(allow) = self.allow {
            headers.push(("allow", allow.to_owned()));
        }
        if !self.members.is_empty() {
            headers.push(("content-type", XML_TYPE.to_owned()));
            return Response { status: Status(207), headers, body: self.members_body() };
        }
        if let Some(properties) = &self.properties {
            headers.push(("content-type", XML_TYPE.to_owned()));
            return Response { status: self.status, headers, body: properties.body() };
        }
        let Some(condition) = self.condition else {
            headers.push(("content-type", "text/plain; charset=utf-8".to_owned()));
            return Response {
                status: self.status,
                headers,
                body: format!("{}\n", self.reason).into_bytes(),
            };
        };
        headers.push(("content-type", XML_TYPE.to_owned()));
        let mut body = format!("{XML_DECLARATION}<D:error{DECLARATIONS}>");
        write_condition(condition, &self.hrefs, &mut body);
        body.push_str("<D:responsedescription>");
        escape_text(self.reason, &mut body);
        body.push_str("</D:responsedescription></D:error>\n");
        Response { status: self.status, headers, body: body.into_bytes() }
    }
}

impl FailedProperties {
    fn body(&self) -> Vec<u8> {
        let tag = if self.calendar { "C:mkcalendar-response" } else { "D:mkcol-response" };
        let mut body = format!("{XML_DECLARATION}<{tag}{DECLARATIONS}>");
        for (name, condition) in &self.refused {
            write_propstat(&[name], condition.status(), Some(*condition), &mut body);
        }
        if !self.others.is_empty() {
            let names: Vec<&Name> = self.others.iter().collect();
            write_propstat(&names, Status(424), None, &mut body);
        }
        body.push_str(&format!("</{tag}>\n"));
        body.into_bytes()
    }
}

/// `DAV:propstat` that says the same of several properties, without their values (RFC 4918 §14.22).
pub(crate) fn write_propstat(
    names: &[&Name],
    status: Status,
    condition: Option<Condition>,
    out: &mut String,
) {
    out.push_str("<D:propstat><D:prop>");
    for (at, name) in names.iter().enumerate() {
        if !names[..at].contains(name) {
            write_empty(name, out);
        }
    }
    out.push_str("</D:prop>");
    write_status(status, out);
    if let Some(condition) = condition {
        out.push_str("<D:error>");
        write_condition(condition, &[], out);
        out.push_str("</D:error>");
    }
    out.push_str("</D:propstat>");
}

/// The empty element of a name, whatever its namespace.
pub(crate) fn write_empty(name: &Name, out: &mut String) {
    out.push('<');
    match name.namespace.prefix() {
        Some(prefix) => {
            out.push_str(prefix);
            out.push(':');
            out.push_str(&name.local);
        }
        None if name.namespace == Namespace::None => out.push_str(&name.local),
        None => {
            out.push_str("x:");
            out.push_str(&name.local);
            out.push_str(" xmlns:x=\"");
            crate::xml::escape_attribute(name.namespace.uri(), out);
            out.push('"');
        }
    }
    out.push_str("/>");
}

impl Refusal {
    fn members_body(&self) -> Vec<u8> {
        let mut body = format!("{XML_DECLARATION}<D:multistatus{DECLARATIONS}>");
        for (href, status) in &self.members {
            body.push_str("<D:response>");
            crate::xml::text_element("D:href", href, &mut body);
            write_status(*status, &mut body);
            if let Some(condition) = self.condition.filter(|condition| condition.status() == *status) {
                body.push_str("<D:error>");
                write_condition(condition, &self.hrefs, &mut body);
                body.push_str("</D:error>");
            }
            body.push_str("</D:response>");
        }
        body.push_str("</D:multistatus>\n");
        body.into_bytes()
    }
}

/// `DAV:status` with its status line (RFC 4918 §14.28).
pub(crate) fn write_status(status: Status, out: &mut String) {
    out.push_str(&format!("<D:status>HTTP/1.1 {} {}</D:status>", status.0, status.phrase()));
}

/// The element of a condition, as it stands in `DAV:error`.
pub(crate) fn write_condition(condition: Condition, hrefs: &[String], out: &mut String) {
    let name = condition.name();
    let tag = format!("{}:{}", name.namespace.prefix().unwrap_or("D"), name.local);
    if hrefs.is_empty() {
        out.push_str(&format!("<{tag}/>"));
        return;
    }
    out.push_str(&format!("<{tag}>"));
    for href in hrefs {
        crate::xml::text_element("D:href", href, out);
    }
    out.push_str(&format!("</{tag}>"));
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.0, self.reason)
    }
}

impl std::error::Error for Refusal {}

/// The content type of every XML answer.
pub const XML_TYPE: &str = "application/xml; charset=utf-8";
/// How every XML answer begins.
pub const XML_DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";

/// An answer that is small enough to be whole in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: Status,
    /// Header fields, their names in lower case; without `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// Its content.
    pub body: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_answered_by_its_element() {
        for &condition in Condition::ALL {
            let response = Refusal::condition(condition, "a < b").at("/dav/a&b".to_owned()).response();
            let root = crate::xml::parse(&response.body).unwrap();
            assert!(root.is(&Namespace::Dav, "error"));
            let name = condition.name();
            let element = root.child(&name.namespace, &name.local).expect("its element");
            assert_eq!(element.child(&Namespace::Dav, "href").unwrap().text(), "/dav/a&b");
            assert_eq!(response.status, condition.status());
            assert!(condition.status().phrase() != "Unknown");
        }
    }
}
