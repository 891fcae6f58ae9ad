//! Properties of collections that are shared: those of calendarserver.org's extension, and those of
//! draft-pot-webdav-resource-sharing §4.4.

use super::Viewer;
use crate::resource::{Access, Kind, Resource, Sharee, Sharing};
use crate::xml::text_element;

fn can_be_shared(resource: &Resource<'_>) -> bool {
    matches!(resource.kind, Kind::Calendar | Kind::Book) && !resource.read_only
}

/// Adds to `DAV:resourcetype`.
pub(super) fn resource_type(resource: &Resource<'_>, out: &mut String) -> bool {
    if resource.kind.is_collection() {
        out.push_str(match resource.sharing {
            Sharing::None => "",
            Sharing::Owner(_) => "<CS:shared-owner/>",
            Sharing::Sharee { .. } => "<CS:shared/>",
        });
    }
    true
}

/// `CS:allowed-sharing-modes`.
pub(super) fn modes(resource: &Resource<'_>, out: &mut String) -> bool {
    if !can_be_shared(resource) || matches!(resource.sharing, Sharing::Sharee { .. }) {
        return false;
    }
    out.push_str("<CS:can-be-shared/>");
    if resource.kind == Kind::Calendar {
        out.push_str("<CS:can-be-published/>");
    }
    true
}

/// `DAV:share-access`.
pub(super) fn access(resource: &Resource<'_>, out: &mut String) -> bool {
    if !matches!(resource.kind, Kind::Calendar | Kind::Book) {
        return false;
    }
    out.push_str(match resource.sharing {
        Sharing::None => "<D:not-shared/>",
        Sharing::Owner(_) => "<D:shared-owner/>",
        Sharing::Sharee { access: Access::Read, .. } => "<D:read/>",
        Sharing::Sharee { access: Access::ReadWrite, .. } => "<D:read-write/>",
    });
    true
}

/// Whoever it is shared with; somebody of those sees themselves alone.
fn each(resource: &Resource<'_>, viewer: Viewer<'_>, mut write: impl FnMut(&Sharee)) -> bool {
    match resource.sharing {
        _ if !resource.kind.is_collection() => return false,
        Sharing::None => return false,
        Sharing::Owner(sharees) => sharees.iter().for_each(write),
        Sharing::Sharee { access, .. } => {
            write(&Sharee { address: viewer.principal.into(), name: "".into(), access });
        }
    }
    true
}

/// `CS:invite`.
pub(super) fn invite(resource: &Resource<'_>, viewer: Viewer<'_>, out: &mut String) -> bool {
    let mut users = String::new();
    let shared = each(resource, viewer, |sharee| {
        users.push_str("<CS:user>");
        text_element("D:href", &format!("mailto:{}", sharee.address), &mut users);
        if !sharee.name.is_empty() {
            text_element("CS:common-name", &sharee.name, &mut users);
        }
        let access = if sharee.access == Access::Read { "CS:read" } else { "CS:read-write" };
        users.push_str(&format!("<CS:invite-accepted/><CS:access><{access}/></CS:access></CS:user>"));
    });
    if shared {
        out.push_str("<CS:organizer>");
        text_element("D:href", &format!("mailto:{}", resource.owner().unwrap_or("")), out);
        out.push_str("</CS:organizer>");
        out.push_str(&users);
    }
    shared
}

/// `DAV:invite`.
pub(super) fn dav_invite(resource: &Resource<'_>, viewer: Viewer<'_>, out: &mut String) -> bool {
    each(resource, viewer, |sharee| {
        out.push_str("<D:sharee>");
        text_element("D:href", &format!("mailto:{}", sharee.address), out);
        let access = if sharee.access == Access::Read { "D:read" } else { "D:read-write" };
        out.push_str(&format!("<D:invite-accepted/><D:share-access><{access}/></D:share-access></D:sharee>"));
    })
}
