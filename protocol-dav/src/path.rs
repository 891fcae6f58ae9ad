//! Where resources are: `/dav/principals/{address}/`, `/dav/cal/{address}/{calendar}/{object}`,
//! `/dav/card/{address}/{book}/{object}`, `/dav/files/{address}/...`.
//!
//! A path is read strictly and written in one way only, so two spellings of one resource are one [`Path`], and
//! no spelling leads out of its owner's tree.

use std::fmt;

use protocol_core::address::Canonical;

use crate::limits;

/// The first name below `/dav/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// `/dav/principals/`.
    Principals,
    /// `/dav/cal/`.
    Calendars,
    /// `/dav/card/`.
    Books,
    /// `/dav/files/`.
    Files,
}

impl Area {
    /// Its name in a path.
    pub fn name(self) -> &'static str {
        match self {
            Area::Principals => "principals",
            Area::Calendars => "cal",
            Area::Books => "card",
            Area::Files => "files",
        }
    }
}

/// A place in the tree, with names decoded. Nothing says that something is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    area: Option<Area>,
    owner: Option<Box<str>>,
    names: Vec<Box<str>>,
}

/// What can be at a place, by its position alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// `/dav/`.
    Root,
    /// `/dav/cal/` and its like.
    Area,
    /// `/dav/principals/{address}/`.
    Principal,
    /// `/dav/cal/{address}/` or `/dav/card/{address}/`: collections are made in it.
    Home,
    /// `/dav/cal/{address}/{calendar}/` or `/dav/card/{address}/{book}/`.
    Collection,
    /// An object of a calendar, an address book or the scheduling inbox.
    Object,
    /// `/dav/cal/{address}/inbox/` (RFC 6638 §2.2).
    ScheduleInbox,
    /// `/dav/cal/{address}/outbox/` (RFC 6638 §2.1).
    ScheduleOutbox,
    /// `/dav/files/{address}/`.
    FilesHome,
    /// Anything below it: a folder or a file.
    File,
    /// Below an object, where nothing ever is.
    Nowhere,
}

/// Why a request target or an href is no path of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It is not written as RFC 3986 has it, or holds what no name may.
    Syntax,
    /// It is longer than the limits allow.
    TooLong,
    /// It is not below `/dav/`, or the address in it is none.
    Unknown,
    /// It names another server.
    OtherServer,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathFault::Syntax => "the path is not valid",
            PathFault::TooLong => "the path is too long",
            PathFault::Unknown => "there is nothing at this path",
            PathFault::OtherServer => "the path is on another server",
        })
    }
}

impl std::error::Error for PathFault {}

const SCHEDULE_INBOX: &str = "inbox";
const SCHEDULE_OUTBOX: &str = "outbox";

impl Path {
    /// `/dav/`.
    pub fn root() -> Path {
        Path { area: None, owner: None, names: Vec::new() }
    }

    /// The top of an owner's tree in an area: the principal, the home, the files.
    pub fn home(area: Area, owner: &str) -> Path {
        Path { area: Some(area), owner: Some(owner.into()), names: Vec::new() }
    }

    /// `/dav/cal/{owner}/inbox/`.
    pub fn schedule_inbox(owner: &str) -> Path {
        Path::home(Area::Calendars, owner).join(SCHEDULE_INBOX)
    }

    /// `/dav/cal/{owner}/outbox/`.
    pub fn schedule_outbox(owner: &str) -> Path {
        Path::home(Area::Calendars, owner).join(SCHEDULE_OUTBOX)
    }

    /// From a request target, an href in a body, or a URL in a header. Absolute URLs must name `host`, which
    /// is the request's own `Host`. A query is cut off.
    pub fn parse(target: &str, host: &str) -> Result<Path, PathFault> {
        if target.len() > limits::HREF_MAX {
            return Err(PathFault::TooLong);
        }
        let path = local_part(target, host)?;
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let mut segments = path.strip_prefix('/').ok_or(PathFault::Syntax)?.split('/').collect::<Vec<_>>();
        // One slash at the end says no more than that the client thinks of a collection.
        if segments.last() == Some(&"") {
            segments.pop();
        }
        let mut names = Vec::with_capacity(segments.len());
        for segment in segments {
            names.push(decode_segment(segment)?);
        }
        Path::from_names(names)
    }

    fn from_names(names: Vec<String>) -> Result<Path, PathFault> {
        let mut names = names.into_iter();
        if names.next().as_deref() != Some("dav") {
            return Err(PathFault::Unknown);
        }
        let area = match names.next().as_deref() {
            None => return Ok(Path::root()),
            Some("principals") => Area::Principals,
            Some("cal") => Area::Calendars,
            Some("card") => Area::Books,
            Some("files") => Area::Files,
            Some(_) => return Err(PathFault::Unknown),
        };
        let owner = match names.next() {
            None => None,
            Some(address) => {
                let address = Canonical::parse(&address).map_err(|_| PathFault::Unknown)?;
                Some(address.to_string().into_boxed_str())
            }
        };
        let names: Vec<Box<str>> = names.map(String::into_boxed_str).collect();
        if names.len() > limits::SEGMENTS_MAX {
            return Err(PathFault::TooLong);
        }
        Ok(Path { area: Some(area), owner, names })
    }

    /// The area, none for `/dav/` itself.
    pub fn area(&self) -> Option<Area> {
        self.area
    }

    /// The canonical address of the owner, none above the owners.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The names below the owner.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The last name below the owner.
    pub fn name(&self) -> Option<&str> {
        self.names.last().map(|name| &**name)
    }

    /// What can be here.
    pub fn kind(&self) -> PathKind {
        let Some(area) = self.area else { return PathKind::Root };
        if self.owner.is_none() {
            return PathKind::Area;
        }
        let first = self.names.first().map(|name| &**name);
        match (area, self.names.len(), first) {
            (Area::Principals, 0, _) => PathKind::Principal,
            (Area::Principals, ..) => PathKind::Nowhere,
            (Area::Files, 0, _) => PathKind::FilesHome,
            (Area::Files, ..) => PathKind::File,
            (_, 0, _) => PathKind::Home,
            (Area::Calendars, 1, Some(SCHEDULE_INBOX)) => PathKind::ScheduleInbox,
            (Area::Calendars, 1, Some(SCHEDULE_OUTBOX)) => PathKind::ScheduleOutbox,
            (Area::Calendars, 2, Some(SCHEDULE_OUTBOX)) => PathKind::Nowhere,
            (_, 1, _) => PathKind::Collection,
            (_, 2, _) => PathKind::Object,
            _ => PathKind::Nowhere,
        }
    }

    /// The place this one is directly in; none for `/dav/`.
    pub fn parent(&self) -> Option<Path> {
        let mut parent = self.clone();
        if parent.names.pop().is_none() && parent.owner.take().is_none() {
            parent.area.take()?;
        }
        Some(parent)
    }

    /// The place of this name directly in this one, which has an owner. The name was read by [`Path::parse`]
    /// or made by the server.
    pub fn join(&self, name: &str) -> Path {
        debug_assert!(self.owner.is_some(), "only an owner's tree holds names");
        let mut path = self.clone();
        path.names.push(name.into());
        path
    }

    /// Whether `inner` is this place or somewhere in it.
    pub fn contains(&self, inner: &Path) -> bool {
        let area = self.area.is_none() || self.area == inner.area;
        let owner = self.owner.is_none() || self.owner == inner.owner;
        area && owner && inner.names.starts_with(&self.names)
    }

    /// The same place in another tree: `self` lies in `from`, and what leads there from `from` is appended to
    /// `to`. None when it does not lie there.
    pub fn rebase(&self, from: &Path, to: &Path) -> Option<Path> {
        if !from.contains(self) {
            return None;
        }
        let mut path = to.clone();
        path.names.extend_from_slice(&self.names[from.names.len()..]);
        Some(path)
    }

    /// The canonical href: percent-encoded, with a slash at its end when it is a collection's.
    pub fn href(&self, collection: bool) -> String {
        let mut out = String::new();
        self.write_href(collection, &mut out);
        out
    }

    /// As [`Path::href`], appended.
    pub fn write_href(&self, collection: bool, out: &mut String) {
        out.push_str("/dav");
        let area = self.area.map(Area::name);
        for name in area.into_iter().chain(self.owner.as_deref()).chain(self.names.iter().map(|n| &**n)) {
            out.push('/');
            encode_segment(name, out);
        }
        if collection {
            out.push('/');
        }
    }
}

/// The path of an absolute URL, or the target itself.
fn local_part<'t>(target: &'t str, host: &str) -> Result<&'t str, PathFault> {
    if target.starts_with("//") {
        return Err(PathFault::Syntax);
    }
    if target.starts_with('/') {
        return Ok(target);
    }
    let (scheme, rest) = target.split_once("://").ok_or(PathFault::Syntax)?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(PathFault::OtherServer),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A proxy may speak another scheme with us than the client does, so the default port of either counts.
    let plain = |name: &str| -> String {
        let name = name.to_ascii_lowercase();
        let bare = name.strip_suffix(port).or(name.strip_suffix(":80")).or(name.strip_suffix(":443"));
        bare.unwrap_or(&name).to_owned()
    };
    if authority.is_empty() || plain(authority) != plain(host) {
        return Err(PathFault::OtherServer);
    }
    Ok(if path.is_empty() { "/" } else { path })
}

/// One name. Refused: an empty one, `.` and `..`, slashes, control characters, what is not UTF-8.
fn decode_segment(segment: &str) -> Result<String, PathFault> {
    let mut octets = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|d| (d as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(PathFault::Syntax) };
                octets.push((high * 16 + low) as u8);
            }
            b'#' | b'\\' | b'<' | b'>' | b'"' | 0..=b' ' | 0x7F => return Err(PathFault::Syntax),
            _ => octets.push(byte),
        }
    }
    let name = String::from_utf8(octets).map_err(|_| PathFault::Syntax)?;
    if name.len() > limits::SEGMENT_MAX {
        return Err(PathFault::TooLong);
    }
    if matches!(name.as_str(), "" | "." | "..") || name.contains(|c: char| c == '/' || c.is_control()) {
        return Err(PathFault::Syntax);
    }
    Ok(name)
}

/// All but `unreserved`, and of the others that a segment may hold those that no client writes differently
/// (RFC 3986 §3.3).
fn encode_segment(name: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in name.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@!$()*+,;=:".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)] as char);
            out.push(HEX[usize::from(byte & 15)] as char);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(target: &str) -> Result<Path, PathFault> {
        Path::parse(target, "mail.example.com:8443")
    }

    #[test]
    fn every_place_has_its_kind_and_one_href() {
        for (target, kind, href) in [
            ("/dav", PathKind::Root, "/dav/"),
            ("/dav/cal", PathKind::Area, "/dav/cal/"),
            ("/dav/principals/A@Example.COM", PathKind::Principal, "/dav/principals/a@example.com/"),
            ("/dav/cal/a%40example.com/", PathKind::Home, "/dav/cal/a@example.com/"),
            ("/dav/card/a@example.com/default/", PathKind::Collection, "/dav/card/a@example.com/default/"),
            ("/dav/cal/a@example.com/inbox", PathKind::ScheduleInbox, "/dav/cal/a@example.com/inbox/"),
            ("/dav/cal/a@example.com/inbox/x", PathKind::Object, "/dav/cal/a@example.com/inbox/x"),
            ("/dav/cal/a@example.com/outbox/", PathKind::ScheduleOutbox, "/dav/cal/a@example.com/outbox/"),
            ("/dav/cal/a@example.com/outbox/x", PathKind::Nowhere, "/dav/cal/a@example.com/outbox/x"),
            ("/dav/card/a@example.com/inbox/", PathKind::Collection, "/dav/card/a@example.com/inbox/"),
            ("/dav/cal/a@example.com/c/1.ics?x", PathKind::Object, "/dav/cal/a@example.com/c/1.ics"),
            ("/dav/cal/a@example.com/c/d/e", PathKind::Nowhere, "/dav/cal/a@example.com/c/d/e"),
            ("/dav/files/a@example.com/", PathKind::FilesHome, "/dav/files/a@example.com/"),
            (
                "/dav/files/a@example.com/%c3%a4/b%20c%25",
                PathKind::File,
                "/dav/files/a@example.com/%C3%A4/b%20c%25",
            ),
            ("https://MAIL.example.com:8443/dav/", PathKind::Root, "/dav/"),
        ] {
            let path = parse(target).unwrap_or_else(|e| panic!("{target}: {e}"));
            assert_eq!(path.kind(), kind, "{target}");
            let collection = !matches!(kind, PathKind::Object | PathKind::File | PathKind::Nowhere);
            assert_eq!(path.href(collection), href);
            assert_eq!(parse(href), Ok(path));
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for (target, fault) in [
            ("", PathFault::Syntax),
            ("dav/", PathFault::Syntax),
            ("//dav/", PathFault::Syntax),
            ("/dav//cal/", PathFault::Syntax),
            ("/dav/files/a@example.com/../b@example.com/", PathFault::Syntax),
            ("/dav/files/a@example.com/%2e%2E/x", PathFault::Syntax),
            ("/dav/files/a@example.com/./x", PathFault::Syntax),
            ("/dav/files/a@example.com/a%2Fb", PathFault::Syntax),
            ("/dav/files/a@example.com/a%00b", PathFault::Syntax),
            ("/dav/files/a@example.com/a%0Ab", PathFault::Syntax),
            ("/dav/files/a@example.com/a%", PathFault::Syntax),
            ("/dav/files/a@example.com/a%4", PathFault::Syntax),
            ("/dav/files/a@example.com/a%4g", PathFault::Syntax),
            ("/dav/files/a@example.com/%FF", PathFault::Syntax),
            ("/dav/files/a@example.com/x#y", PathFault::Syntax),
            ("/dav/files/a@example.com/a\\b", PathFault::Syntax),
            ("/", PathFault::Unknown),
            ("/graphql", PathFault::Unknown),
            ("/dav/other/", PathFault::Unknown),
            ("/dav/cal/nobody/", PathFault::Unknown),
            ("http://other.example.com/dav/", PathFault::OtherServer),
            ("ftp://mail.example.com/dav/", PathFault::OtherServer),
        ] {
            assert_eq!(parse(target), Err(fault), "{target}");
        }
    }

    #[test]
    fn limits_of_names() {
        let with = |name: String| parse(&format!("/dav/files/a@example.com/{name}"));
        assert!(with("x".repeat(limits::SEGMENT_MAX)).is_ok());
        assert_eq!(with("x".repeat(limits::SEGMENT_MAX + 1)), Err(PathFault::TooLong));
        assert!(with("x/".repeat(limits::SEGMENTS_MAX)).is_ok());
        assert_eq!(with("x/".repeat(limits::SEGMENTS_MAX + 1)), Err(PathFault::TooLong));
        let long = |length: usize| format!("/dav/?{}", "x".repeat(length - 6));
        assert!(parse(&long(limits::HREF_MAX)).is_ok());
        assert_eq!(parse(&long(limits::HREF_MAX + 1)), Err(PathFault::TooLong));
    }

    #[test]
    fn trees() {
        let folder = parse("/dav/files/a@example.com/x").unwrap();
        let inner = parse("/dav/files/a@example.com/x/y/z").unwrap();
        let beside = parse("/dav/files/a@example.com/xy").unwrap();
        assert!(folder.contains(&folder) && folder.contains(&inner) && !folder.contains(&beside));
        assert!(!inner.contains(&folder) && Path::root().contains(&inner));
        assert_eq!(inner.rebase(&folder, &beside).unwrap().href(false), "/dav/files/a@example.com/xy/y/z");
        assert_eq!(beside.rebase(&folder, &folder), None);
        let mut up = inner;
        let mut hrefs = Vec::new();
        while let Some(parent) = up.parent() {
            hrefs.push(parent.href(true));
            up = parent;
        }
        assert_eq!(
            hrefs,
            [
                "/dav/files/a@example.com/x/y/",
                "/dav/files/a@example.com/x/",
                "/dav/files/a@example.com/",
                "/dav/files/",
                "/dav/",
            ]
        );
    }
}
