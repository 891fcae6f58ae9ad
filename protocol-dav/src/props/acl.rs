//! Access control as clients look at it (RFC 3744): who owns a tree may do everything in it, and those with whom a
//! collection is shared what they were allowed.

use super::Viewer;
use crate::path::{Area, Path};
use crate::resource::{Access, Kind, Resource, Sharing};
use crate::xml::text_element;

/// The privileges of somebody with whom a resource is shared. How the collection is called and coloured where they
/// see it is theirs.
fn privileges_of_sharee(resource: &Resource<'_>, access: Access) -> &'static [&'static str] {
    match (access, resource.kind.is_collection()) {
        (Access::Read, false) => &["D:read", "D:read-acl", "D:read-current-user-privilege-set"],
        (Access::Read, true) => {
            &["D:read", "D:write-properties", "D:read-acl", "D:read-current-user-privilege-set"]
        }
        (Access::ReadWrite, _) => &[
            "D:read",
            "D:write",
            "D:write-properties",
            "D:write-content",
            "D:bind",
            "D:unbind",
            "D:read-acl",
            "D:read-current-user-privilege-set",
        ],
    }
}

/// The privileges of who sees a resource at all: its owner, or somebody it is shared with.
pub(super) fn privileges(resource: &Resource<'_>, out: &mut String) -> bool {
    let own = match resource.sharing {
        Sharing::Sharee { access, .. } => privileges_of_sharee(resource, access),
        _ => privileges_of_owner(resource),
    };
    let free_busy: &[&str] = if resource.kind == Kind::Calendar { &["C:read-free-busy"] } else { &[] };
    for privilege in own.iter().chain(free_busy) {
        out.push_str(&format!("<D:privilege><{privilege}/></D:privilege>"));
    }
    true
}

fn privileges_of_owner(resource: &Resource<'_>) -> &'static [&'static str] {
    match resource.kind {
        _ if resource.read_only => &["D:read", "D:read-acl", "D:read-current-user-privilege-set"],
        Kind::Above => &["D:read", "D:read-current-user-privilege-set"],
        Kind::ScheduleInbox => &[
            "D:read",
            "D:write-properties",
            "D:unbind",
            "D:read-acl",
            "D:read-current-user-privilege-set",
            "C:schedule-deliver",
            "C:schedule-deliver-invite",
            "C:schedule-deliver-reply",
            "C:schedule-query-freebusy",
        ],
        Kind::ScheduleOutbox => &[
            "D:read",
            "D:read-acl",
            "D:read-current-user-privilege-set",
            "C:schedule-send",
            "C:schedule-send-invite",
            "C:schedule-send-reply",
            "C:schedule-send-freebusy",
        ],
        _ => &[
            "D:all",
            "D:read",
            "D:write",
            "D:write-properties",
            "D:write-content",
            "D:bind",
            "D:unbind",
            "D:unlock",
            "D:read-acl",
            "D:read-current-user-privilege-set",
        ],
    }
}

/// A privilege and what it is for.
type Described = (&'static str, &'static str);

/// The tree of privileges (RFC 3744 §5.3, RFC 4791 §6.1, RFC 6638 §6).
pub(super) fn supported(out: &mut String) -> bool {
    const TREE: &[(&str, &str, &[Described])] = &[
        ("D:read", "read", &[("C:read-free-busy", "read free and busy times")]),
        (
            "D:write",
            "write",
            &[
                ("D:write-properties", "change properties"),
                ("D:write-content", "change content"),
                ("D:bind", "add members"),
                ("D:unbind", "remove members"),
            ],
        ),
        ("D:unlock", "remove locks", &[]),
        ("D:read-acl", "read access control", &[]),
        ("D:read-current-user-privilege-set", "read own privileges", &[]),
        (
            "C:schedule-deliver",
            "deliver scheduling messages",
            &[
                ("C:schedule-deliver-invite", "deliver invitations"),
                ("C:schedule-deliver-reply", "deliver replies"),
                ("C:schedule-query-freebusy", "ask for free and busy times"),
            ],
        ),
        (
            "C:schedule-send",
            "send scheduling messages",
            &[
                ("C:schedule-send-invite", "send invitations"),
                ("C:schedule-send-reply", "send replies"),
                ("C:schedule-send-freebusy", "ask others for free and busy times"),
            ],
        ),
    ];
    let entry = |privilege: &str, description: &str| {
        format!(
            "<D:supported-privilege><D:privilege><{privilege}/></D:privilege>\
             <D:description xml:lang=\"en\">{description}</D:description>"
        )
    };
    let end = "</D:supported-privilege>";
    out.push_str(&entry("D:all", "everything"));
    for (privilege, description, inner) in TREE {
        out.push_str(&entry(privilege, description));
        for (privilege, description) in *inner {
            out.push_str(&entry(privilege, description));
            out.push_str(end);
        }
        out.push_str(end);
    }
    out.push_str(end);
    true
}

/// What its owner may do, and what those may with whom it is shared; it is changed by sharing. Who is not the owner sees
/// what concerns themselves.
pub(super) fn acl(resource: &Resource<'_>, viewer: Viewer<'_>, out: &mut String) -> bool {
    if resource.path.owner().is_some() {
        out.push_str(
            "<D:ace><D:principal><D:property><D:owner/></D:property></D:principal>\
             <D:grant><D:privilege><D:all/></D:privilege></D:grant><D:protected/></D:ace>",
        );
    }
    match resource.sharing {
        Sharing::None => {}
        Sharing::Owner(sharees) => sharees.iter().for_each(|sharee| ace(&sharee.address, sharee.access, out)),
        Sharing::Sharee { access, .. } => ace(viewer.principal, access, out),
    }
    true
}

fn ace(address: &str, access: Access, out: &mut String) {
    out.push_str("<D:ace><D:principal>");
    text_element("D:href", &Path::home(Area::Principals, address).href(true), out);
    let write = if access == Access::ReadWrite { "<D:privilege><D:write/></D:privilege>" } else { "" };
    out.push_str(&format!(
        "</D:principal><D:grant><D:privilege><D:read/></D:privilege>{write}</D:grant><D:protected/></D:ace>"
    ));
}
