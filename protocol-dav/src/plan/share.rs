//! Sharing of a calendar or an address book with others: the POST of `CS:share` (calendarserver.org's extension, which
//! Apple's clients use) and that of `DAV:share-resource` (draft-pot-webdav-resource-sharing).

use crate::itip::address_of;
use crate::limits;
use crate::name::Namespace;
use crate::path::Path;
use crate::precondition::Preconditions;
use crate::refusal::{Condition, Refusal};
use crate::request::bad;
use crate::resource::Access;
use crate::xml::Element;

/// Who may do what in a collection from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which collection.
    pub path: Path,
    /// In order: the canonical address, and what whoever has it may do; none: nothing any more.
    pub changes: Vec<(Box<str>, Option<Access>)>,
    /// What must hold.
    pub preconditions: Preconditions,
}

impl Share {
    /// Reads a body of either kind; none when it is of neither.
    pub(super) fn of(
        root: &Element,
        path: &Path,
        preconditions: &Preconditions,
    ) -> Option<Result<Share, Refusal>> {
        let changes = match root.name.parts() {
            (Namespace::CalendarServer, "share") => changes(root, of_calendar_server),
            (Namespace::Dav, "share-resource") => changes(root, of_draft),
            _ => return None,
        };
        let (path, preconditions) = (path.clone(), preconditions.clone());
        Some(changes.map(|changes| Share { path, changes, preconditions }))
    }
}

type Change = (Box<str>, Option<Access>);
/// What an element says about somebody; none when it is about nobody.
type Reader = fn(&Element) -> Option<Result<Option<Access>, Refusal>>;

fn changes(root: &Element, read: Reader) -> Result<Vec<Change>, Refusal> {
    let mut changes = Vec::new();
    for element in root.elements() {
        let Some(access) = read(element) else { continue };
        let href = element.child(&Namespace::Dav, "href").map(Element::text);
        let href = href.ok_or_else(|| bad("who it is shared with is told by an href"))?;
        let address = address_of(&href).ok_or_else(unknown_sharee)?;
        changes.push((address.into(), access?));
        if changes.len() > limits::SHAREES_MAX {
            return Err(Refusal::status(507, "a collection is shared with fewer people"));
        }
    }
    if changes.is_empty() {
        return Err(bad("nobody is named"));
    }
    Ok(changes)
}

fn of_calendar_server(element: &Element) -> Option<Result<Option<Access>, Refusal>> {
    let says = |name: &str| element.child(&Namespace::CalendarServer, name).is_some();
    match element.name.parts() {
        (Namespace::CalendarServer, "remove") => Some(Ok(None)),
        (Namespace::CalendarServer, "set") => {
            let write = says("read-write") || says("read-write-schedule");
            Some(Ok(Some(if write { Access::ReadWrite } else { Access::Read })))
        }
        _ => None,
    }
}

fn of_draft(element: &Element) -> Option<Result<Option<Access>, Refusal>> {
    if !element.is(&Namespace::Dav, "sharee") {
        return None;
    }
    let access = element.child(&Namespace::Dav, "share-access");
    let says = |name: &str| access.is_some_and(|access| access.child(&Namespace::Dav, name).is_some());
    Some(match (says("read-write"), says("read"), says("no-access")) {
        (true, false, false) => Ok(Some(Access::ReadWrite)),
        (false, true, false) => Ok(Some(Access::Read)),
        (false, false, true) => Ok(None),
        _ => Err(bad("share-access is read, read-write or no-access")),
    })
}

/// The refusal of somebody with whom nothing can be shared, whether or not there is such a person.
pub fn unknown_sharee() -> Refusal {
    Refusal::condition(Condition::ValidSharee, "it can be shared with people of the same organisation only")
}

/// The refusal of what who asks may not do in somebody else's collection.
pub fn not_allowed() -> Refusal {
    Refusal::condition(Condition::NeedPrivileges, "whose collection this is allows reading only")
}

/// The refusal of a change of a meeting by somebody whose calendar it is not in: its messages go out in the name of the
/// owner, who alone can send them.
pub fn not_the_owners() -> Refusal {
    let why = "meetings are arranged by whose calendar it is";
    Refusal::condition(Condition::NeedPrivileges, why)
}
