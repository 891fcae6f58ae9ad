//! What storage says of one resource: a plain row, from which every answer is written.

use std::fmt;

use protocol_core::Timestamp;

use crate::lock::ActiveLock;
use crate::name::Name;
use crate::path::Path;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A collection above the owners: `/dav/`, `/dav/cal/`.
    Above,
    /// A principal.
    Principal,
    /// What calendars or address books are in.
    Home,
    /// A calendar (RFC 4791 §4.2).
    Calendar,
    /// An address book (RFC 6352 §5.2).
    Book,
    /// The scheduling inbox (RFC 6638 §2.2).
    ScheduleInbox,
    /// The scheduling outbox (RFC 6638 §2.1).
    ScheduleOutbox,
    /// A collection of files, the top of an owner's files included.
    Folder,
    /// A file.
    File,
    /// A calendar object.
    CalendarObject,
    /// A vCard.
    Card,
}

impl Kind {
    /// Whether it has members and an href that ends with a slash.
    pub fn is_collection(self) -> bool {
        !matches!(self, Kind::File | Kind::CalendarObject | Kind::Card)
    }

    /// Whether sync-collection can be asked of it (RFC 6578 §3).
    pub fn is_synchronised(self) -> bool {
        matches!(self, Kind::Calendar | Kind::Book | Kind::ScheduleInbox | Kind::Folder)
    }

    /// Whether it can be locked.
    pub fn is_lockable(self) -> bool {
        matches!(
            self,
            Kind::Calendar | Kind::Book | Kind::Folder | Kind::File | Kind::CalendarObject | Kind::Card
        )
    }
}

/// A set of component types (RFC 4791 §5.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Components(pub u8);

impl Components {
    /// `VEVENT`.
    pub const EVENT: Components = Components(1);
    /// `VTODO`.
    pub const TODO: Components = Components(2);
    /// `VJOURNAL`.
    pub const JOURNAL: Components = Components(4);
    /// `VFREEBUSY`.
    pub const FREEBUSY: Components = Components(8);
    /// What a calendar takes when its maker does not say.
    pub const ALL: Components = Components(15);

    const NAMES: [(Components, &'static str); 4] = [
        (Components::EVENT, "VEVENT"),
        (Components::TODO, "VTODO"),
        (Components::JOURNAL, "VJOURNAL"),
        (Components::FREEBUSY, "VFREEBUSY"),
    ];

    /// The set of one, by its name in any letter case.
    pub fn of(name: &str) -> Option<Components> {
        let found = Components::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        found.map(|(component, _)| *component)
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Components) -> Components {
        Components(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Components) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Components::NAMES.iter().filter(move |(one, _)| self.contains(*one)).map(|(_, name)| *name)
    }
}

/// Octets that are used and that are left (RFC 4331).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Octets used.
    pub used: u64,
    /// Octets left.
    pub available: u64,
}

/// The state of a collection: which collection, and how many changes it has seen. A collection that was deleted
/// and made again under the same name has another identity, so a token of the old one is not taken for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncToken {
    /// Which collection, unique for ever.
    pub collection: u64,
    /// The number of its last change.
    pub change: u64,
}

const SYNC_SCHEME: &str = "urn:inbox:sync:";

impl SyncToken {
    /// From the URI that [`Display`](fmt::Display) writes (RFC 6578 §4 wants a URI).
    pub fn parse(token: &str) -> Option<SyncToken> {
        let (collection, change) = token.strip_prefix(SYNC_SCHEME)?.split_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        Some(SyncToken { collection: number(collection)?, change: number(change)? })
    }
}

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SYNC_SCHEME}{:016x}-{:016x}", self.collection, self.change)
    }
}

/// A property that a client has set, kept as it came (RFC 4918 §4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadProperty {
    /// Its name.
    pub name: Name,
    /// Its whole element, with every namespace it needs.
    pub fragment: Box<str>,
}

/// What somebody may do in a collection that is another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look at it.
    Read,
    /// Change what is in it, too.
    ReadWrite,
}

/// Somebody with whom a collection is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharee {
    /// Their canonical address.
    pub address: Box<str>,
    /// Their name; empty when none is known.
    pub name: Box<str>,
    /// What they may do.
    pub access: Access,
}

/// Whether and how a resource is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing<'a> {
    /// It is not.
    None,
    /// It is seen by its owner, who shares it, or what it is in, with these.
    Owner(&'a [Sharee]),
    /// It is seen by somebody it is shared with.
    Sharee {
        /// The canonical address of the owner.
        owner: &'a str,
        /// What who sees it may do.
        access: Access,
    },
}

/// A resource as storage has it.
#[derive(Clone, Debug)]
pub struct Resource<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// What it is.
    pub kind: Kind,
    /// Its strong entity tag without quotes; none for collections.
    pub etag: Option<&'a str>,
    /// Its schedule tag without quotes (RFC 6638 §3.2.10).
    pub schedule_tag: Option<&'a str>,
    /// Octets of its content.
    pub length: u64,
    /// The media type of its content.
    pub content_type: &'a str,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub modified: Timestamp,
    /// Of a calendar what it takes, of a calendar object what it is.
    pub components: Components,
    /// The state of a collection that can be synchronised.
    pub sync: Option<SyncToken>,
    /// The quota of its owner.
    pub quota: Option<Quota>,
    /// The locks that cover it and have not expired.
    pub locks: &'a [ActiveLock],
    /// What clients have set.
    pub dead: &'a [DeadProperty],
    /// Whether who sees it may only read it.
    pub read_only: bool,
    /// With whom it is shared, or whose it is.
    pub sharing: Sharing<'a>,
    /// Its content, when [`PropSet::wants_data`](crate::props::PropSet::wants_data) says that it is needed.
    pub data: Option<&'a str>,
}

impl<'a> Resource<'a> {
    /// A resource of which nothing more is known.
    pub fn new(path: &'a Path, kind: Kind) -> Resource<'a> {
        Resource {
            path,
            kind,
            etag: None,
            schedule_tag: None,
            length: 0,
            content_type: "",
            created: Timestamp(0),
            modified: Timestamp(0),
            components: Components::default(),
            sync: None,
            quota: None,
            locks: &[],
            dead: &[],
            read_only: false,
            sharing: Sharing::None,
            data: None,
        }
    }

    /// Its canonical href.
    pub fn href(&self) -> String {
        self.path.href(self.kind.is_collection())
    }

    /// The canonical address of its owner, who need not be the one at whose place it is seen.
    pub fn owner(&self) -> Option<&'a str> {
        match self.sharing {
            Sharing::Sharee { owner, .. } => Some(owner),
            _ => self.path.owner(),
        }
    }

    /// What a client has set under this name.
    pub fn dead(&self, name: &Name) -> Option<&'a DeadProperty> {
        self.dead.iter().find(|property| property.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_tokens_are_read_as_they_are_written() {
        let token = SyncToken { collection: u64::MAX, change: 7 };
        assert_eq!(SyncToken::parse(&token.to_string()), Some(token));
        for text in ["", "urn:inbox:sync:1-2", "urn:inbox:sync:+00000000000000f-0000000000000007", "data:,x"]
        {
            assert_eq!(SyncToken::parse(text), None, "{text}");
        }
    }

    #[test]
    fn component_sets() {
        let set = Components::of("vevent").unwrap().with(Components::TODO);
        assert_eq!(set.names().collect::<Vec<_>>(), ["VEVENT", "VTODO"]);
        assert!(Components::ALL.contains(set) && !set.contains(Components::JOURNAL));
        assert_eq!(Components::of("VALARM"), None);
    }
}
