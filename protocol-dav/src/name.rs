//! Qualified names of elements and properties.

use std::fmt;
use std::sync::Arc;

/// The namespace of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// No namespace.
    None,
    /// `DAV:` (RFC 4918).
    Dav,
    /// `urn:ietf:params:xml:ns:caldav` (RFC 4791).
    CalDav,
    /// `urn:ietf:params:xml:ns:carddav` (RFC 6352).
    CardDav,
    /// `http://calendarserver.org/ns/`, for `getctag` and its like.
    CalendarServer,
    /// `http://apple.com/ns/ical/`, for a calendar's colour and order.
    Apple,
    /// `http://www.w3.org/XML/1998/namespace`, for `xml:lang`.
    Xml,
    /// Any other.
    Other(Arc<str>),
}

impl Namespace {
    /// From its URI.
    pub fn of(uri: &str) -> Namespace {
        match uri {
            "" => Namespace::None,
            "DAV:" => Namespace::Dav,
            "urn:ietf:params:xml:ns:caldav" => Namespace::CalDav,
            "urn:ietf:params:xml:ns:carddav" => Namespace::CardDav,
            "http://calendarserver.org/ns/" => Namespace::CalendarServer,
            "http://apple.com/ns/ical/" => Namespace::Apple,
            "http://www.w3.org/XML/1998/namespace" => Namespace::Xml,
            other => Namespace::Other(other.into()),
        }
    }

    /// Its URI; empty for none.
    pub fn uri(&self) -> &str {
        match self {
            Namespace::None => "",
            Namespace::Dav => "DAV:",
            Namespace::CalDav => "urn:ietf:params:xml:ns:caldav",
            Namespace::CardDav => "urn:ietf:params:xml:ns:carddav",
            Namespace::CalendarServer => "http://calendarserver.org/ns/",
            Namespace::Apple => "http://apple.com/ns/ical/",
            Namespace::Xml => "http://www.w3.org/XML/1998/namespace",
            Namespace::Other(uri) => uri,
        }
    }

    /// The prefix that this crate's answers bind to it at their root.
    pub fn prefix(&self) -> Option<&'static str> {
        match self {
            Namespace::Dav => Some("D"),
            Namespace::CalDav => Some("C"),
            Namespace::CardDav => Some("CR"),
            Namespace::CalendarServer => Some("CS"),
            Namespace::Apple => Some("I"),
            Namespace::Xml => Some("xml"),
            Namespace::None | Namespace::Other(_) => None,
        }
    }
}

/// The declarations at the root of each answer, of the prefixes that [`Namespace::prefix`] names.
pub const DECLARATIONS: &str = " xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\" \
     xmlns:CR=\"urn:ietf:params:xml:ns:carddav\" xmlns:CS=\"http://calendarserver.org/ns/\" \
     xmlns:I=\"http://apple.com/ns/ical/\"";

/// A name in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Where it is from.
    pub namespace: Namespace,
    /// The name without a prefix.
    pub local: Arc<str>,
}

impl Name {
    /// A name.
    pub fn new(namespace: Namespace, local: &str) -> Name {
        Name { namespace, local: local.into() }
    }

    /// A name of `DAV:`.
    pub fn dav(local: &str) -> Name {
        Name::new(Namespace::Dav, local)
    }

    /// Both parts, for a `match`.
    pub fn parts(&self) -> (&Namespace, &str) {
        (&self.namespace, &self.local)
    }

    /// Whether it is this one.
    pub fn is(&self, namespace: &Namespace, local: &str) -> bool {
        self.namespace == *namespace && &*self.local == local
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}{}", self.namespace.uri(), self.local)
    }
}
