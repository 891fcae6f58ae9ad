//! The table of live properties, and the value of each.

use std::fmt::Write as _;

use super::{Viewer, acl, sharing};
use crate::limits;
use crate::lock::write_active_lock;
use crate::name::{Name, Namespace};
use crate::path::{Area, Path};
use crate::plan::{content_type, http_date};
use crate::request::Collation;
use crate::resource::{Kind, Resource, Sharing};
use crate::xml::{escape_text, text_element};

/// In which answers a property stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// In `allprop`: those of RFC 4918.
    All,
    /// Only when it is named, as the RFCs after it want (RFC 4791 §5.2, RFC 3744 §5).
    Named,
    /// As [`Class::All`], and a client can set it.
    AllSettable,
    /// As [`Class::Named`], and a client can set it.
    NamedSettable,
}

macro_rules! live {
    ($($variant:ident = $namespace:ident $tag:literal $class:ident,)*) => {
        /// A live property.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Live { $($variant,)* }

        impl Live {
            pub(super) fn all() -> impl Iterator<Item = Live> {
                [$(Live::$variant,)*].into_iter()
            }

            pub(super) fn of(name: &Name) -> Option<Live> {
                $(if name.namespace == Namespace::$namespace && $tag.split_once(':').is_some_and(|(_, local)| *local == *name.local) {
                    return Some(Live::$variant);
                })*
                None
            }

            pub(super) fn name(self) -> Name {
                let local = self.tag().split_once(':').map_or("", |(_, local)| local);
                match self { $(Live::$variant => Name::new(Namespace::$namespace, local),)* }
            }

            /// The tag with its prefix.
            pub(super) fn tag(self) -> &'static str {
                match self { $(Live::$variant => $tag,)* }
            }

            fn class(self) -> Class {
                match self { $(Live::$variant => Class::$class,)* }
            }
        }
    };
}

live! {
    CreationDate = Dav "D:creationdate" All,
    DisplayName = Dav "D:displayname" AllSettable,
    ContentLength = Dav "D:getcontentlength" All,
    ContentType = Dav "D:getcontenttype" All,
    Etag = Dav "D:getetag" All,
    LastModified = Dav "D:getlastmodified" All,
    LockDiscovery = Dav "D:lockdiscovery" All,
    ResourceType = Dav "D:resourcetype" All,
    SupportedLock = Dav "D:supportedlock" All,
    Owner = Dav "D:owner" Named,
    CurrentUserPrincipal = Dav "D:current-user-principal" Named,
    CurrentUserPrivilegeSet = Dav "D:current-user-privilege-set" Named,
    SupportedPrivilegeSet = Dav "D:supported-privilege-set" Named,
    Acl = Dav "D:acl" Named,
    AclRestrictions = Dav "D:acl-restrictions" Named,
    InheritedAclSet = Dav "D:inherited-acl-set" Named,
    PrincipalCollectionSet = Dav "D:principal-collection-set" Named,
    PrincipalUrl = Dav "D:principal-URL" Named,
    AlternateUriSet = Dav "D:alternate-URI-set" Named,
    GroupMemberSet = Dav "D:group-member-set" Named,
    GroupMembership = Dav "D:group-membership" Named,
    SupportedReportSet = Dav "D:supported-report-set" Named,
    SyncToken = Dav "D:sync-token" Named,
    QuotaAvailable = Dav "D:quota-available-bytes" Named,
    QuotaUsed = Dav "D:quota-used-bytes" Named,
    CalendarHomeSet = CalDav "C:calendar-home-set" Named,
    CalendarUserAddressSet = CalDav "C:calendar-user-address-set" Named,
    CalendarUserType = CalDav "C:calendar-user-type" Named,
    ScheduleInboxUrl = CalDav "C:schedule-inbox-URL" Named,
    ScheduleOutboxUrl = CalDav "C:schedule-outbox-URL" Named,
    ScheduleDefaultCalendarUrl = CalDav "C:schedule-default-calendar-URL" Named,
    ScheduleCalendarTransp = CalDav "C:schedule-calendar-transp" NamedSettable,
    ScheduleTag = CalDav "C:schedule-tag" Named,
    SupportedComponents = CalDav "C:supported-calendar-component-set" Named,
    SupportedCalendarData = CalDav "C:supported-calendar-data" Named,
    CalendarCollations = CalDav "C:supported-collation-set" Named,
    CalendarMaxSize = CalDav "C:max-resource-size" Named,
    MaxAttendees = CalDav "C:max-attendees-per-instance" Named,
    AddressbookHomeSet = CardDav "CR:addressbook-home-set" Named,
    SupportedAddressData = CardDav "CR:supported-address-data" Named,
    CardCollations = CardDav "CR:supported-collation-set" Named,
    CardMaxSize = CardDav "CR:max-resource-size" Named,
    Ctag = CalendarServer "CS:getctag" Named,
    EmailAddressSet = CalendarServer "CS:email-address-set" Named,
    AllowedSharingModes = CalendarServer "CS:allowed-sharing-modes" Named,
    Invite = CalendarServer "CS:invite" Named,
    ShareAccess = Dav "D:share-access" Named,
    DavInvite = Dav "D:invite" Named,
}

impl Live {
    pub(super) fn is_in_allprop(self) -> bool {
        matches!(self.class(), Class::All | Class::AllSettable)
    }

    pub(super) fn has_default(self) -> bool {
        matches!(self.class(), Class::AllSettable | Class::NamedSettable)
    }
}

fn href(path: &Path, collection: bool, out: &mut String) -> bool {
    text_element("D:href", &path.href(collection), out);
    true
}

fn home(area: Area, owner: &str, out: &mut String) -> bool {
    href(&Path::home(area, owner), true, out)
}

/// Writes what stands in a property's element; false when the resource has no such property.
pub(super) fn write(live: Live, resource: &Resource<'_>, viewer: Viewer<'_>, out: &mut String) -> bool {
    let principal = (resource.kind == Kind::Principal).then(|| resource.path.owner()).flatten();
    let in_principal = |write: &dyn Fn(&str, &mut String) -> bool, out: &mut String| match principal {
        Some(owner) => write(owner, out),
        None => false,
    };
    match live {
        Live::Owner => match resource.owner() {
            Some(owner) => home(Area::Principals, owner, out),
            None => false,
        },
        Live::CurrentUserPrincipal => home(Area::Principals, viewer.principal, out),
        Live::CurrentUserPrivilegeSet => acl::privileges(resource, out),
        Live::SupportedPrivilegeSet => acl::supported(out),
        Live::Acl => acl::acl(resource, viewer, out),
        Live::AclRestrictions => literal("<D:grant-only/><D:no-invert/>", out),
        Live::InheritedAclSet => true,
        Live::PrincipalCollectionSet => literal("<D:href>/dav/principals/</D:href>", out),
        Live::PrincipalUrl => in_principal(&|owner, out| home(Area::Principals, owner, out), out),
        Live::AlternateUriSet | Live::GroupMemberSet | Live::GroupMembership => principal.is_some(),
        Live::SupportedReportSet => reports(resource.kind, out),
        Live::CalendarHomeSet => in_principal(&|owner, out| home(Area::Calendars, owner, out), out),
        Live::AddressbookHomeSet => in_principal(&|owner, out| home(Area::Books, owner, out), out),
        Live::CalendarUserAddressSet => in_principal(&user_addresses, out),
        Live::CalendarUserType => principal.is_some() && literal("INDIVIDUAL", out),
        Live::ScheduleInboxUrl => {
            in_principal(&|owner, out| href(&Path::schedule_inbox(owner), true, out), out)
        }
        Live::ScheduleOutboxUrl => {
            in_principal(&|owner, out| href(&Path::schedule_outbox(owner), true, out), out)
        }
        Live::EmailAddressSet => {
            let address = |owner: &str, out: &mut String| {
                text_element("CS:email-address", owner, out);
                true
            };
            in_principal(&address, out)
        }
        Live::AllowedSharingModes => sharing::modes(resource, out),
        Live::Invite => sharing::invite(resource, viewer, out),
        Live::ShareAccess => sharing::access(resource, out),
        Live::DavInvite => sharing::dav_invite(resource, viewer, out),
        _ => write_own(live, resource, viewer, out),
    }
}

/// Of properties that depend on the resource itself.
fn write_own(live: Live, resource: &Resource<'_>, viewer: Viewer<'_>, out: &mut String) -> bool {
    let kind = resource.kind;
    let calendars = matches!(kind, Kind::Calendar | Kind::ScheduleInbox);
    match live {
        Live::CreationDate => resource.path.owner().is_some() && creation_date(resource, out),
        Live::LastModified => resource.path.owner().is_some() && text(&http_date(resource.modified), out),
        Live::DisplayName => display_name(resource, out),
        Live::ContentLength => resource.etag.is_some() && text(&resource.length.to_string(), out),
        Live::ContentType => resource.etag.is_some() && text(&content_type(resource), out),
        Live::Etag => resource.etag.is_some_and(|etag| text(&format!("\"{etag}\""), out)),
        Live::ScheduleTag => resource.schedule_tag.is_some_and(|tag| text(&format!("\"{tag}\""), out)),
        Live::LockDiscovery => {
            for lock in resource.locks {
                write_active_lock(lock, viewer.now, out);
            }
            true
        }
        Live::SupportedLock => {
            let is_own = !matches!(resource.sharing, Sharing::Sharee { .. });
            for scope in ["exclusive", "shared"].iter().filter(|_| kind.is_lockable() && is_own) {
                let _ = write!(
                    out,
                    "<D:lockentry><D:lockscope><D:{scope}/></D:lockscope>\
                     <D:locktype><D:write/></D:locktype></D:lockentry>"
                );
            }
            true
        }
        Live::ResourceType => literal(resource_type(kind), out) && sharing::resource_type(resource, out),
        Live::SyncToken | Live::Ctag => resource.sync.is_some_and(|token| text(&token.to_string(), out)),
        Live::QuotaAvailable => resource.quota.is_some_and(|quota| text(&quota.available.to_string(), out)),
        Live::QuotaUsed => resource.quota.is_some_and(|quota| text(&quota.used.to_string(), out)),
        Live::ScheduleDefaultCalendarUrl => match resource.path.owner() {
            Some(owner) if kind == Kind::ScheduleInbox => {
                href(&Path::home(Area::Calendars, owner).join("default"), true, out)
            }
            _ => false,
        },
        Live::ScheduleCalendarTransp => {
            // What others do makes nobody busy.
            let is_own = !matches!(resource.sharing, Sharing::Sharee { .. });
            kind == Kind::Calendar && literal(if is_own { "<C:opaque/>" } else { "<C:transparent/>" }, out)
        }
        Live::SupportedComponents => calendars && components(resource, out),
        Live::SupportedCalendarData => {
            calendars && literal("<C:calendar-data content-type=\"text/calendar\" version=\"2.0\"/>", out)
        }
        Live::CalendarCollations => calendars && collations("C", out),
        Live::CalendarMaxSize => calendars && text(&limits::CALENDAR_OBJECT_MAX.to_string(), out),
        Live::MaxAttendees => calendars && text(&limits::ATTENDEES_MAX.to_string(), out),
        Live::SupportedAddressData => {
            let types = "<CR:address-data-type content-type=\"text/vcard\" version=\"3.0\"/>\
                         <CR:address-data-type content-type=\"text/vcard\" version=\"4.0\"/>";
            kind == Kind::Book && literal(types, out)
        }
        Live::CardCollations => kind == Kind::Book && collations("CR", out),
        Live::CardMaxSize => kind == Kind::Book && text(&limits::CARD_MAX.to_string(), out),
        _ => false,
    }
}

fn text(value: &str, out: &mut String) -> bool {
    escape_text(value, out);
    true
}

fn literal(xml: &str, out: &mut String) -> bool {
    out.push_str(xml);
    true
}

/// `date-time` of RFC 3339, in UTC (RFC 4918 §15.1).
fn creation_date(resource: &Resource<'_>, out: &mut String) -> bool {
    let at = resource.created.civil();
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year, at.month, at.day, at.hour, at.minute, at.second
    );
    true
}

/// Until a client sets one: a principal's address, the name of a collection.
fn display_name(resource: &Resource<'_>, out: &mut String) -> bool {
    let name = match resource.kind {
        Kind::Principal => resource.path.owner(),
        kind if kind.is_collection() => resource.path.name(),
        _ => None,
    };
    name.is_some_and(|name| text(name, out))
}

fn resource_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Above | Kind::Home | Kind::Folder => "<D:collection/>",
        Kind::Principal => "<D:collection/><D:principal/>",
        Kind::Calendar => "<D:collection/><C:calendar/>",
        Kind::Book => "<D:collection/><CR:addressbook/>",
        Kind::ScheduleInbox => "<D:collection/><C:schedule-inbox/>",
        Kind::ScheduleOutbox => "<D:collection/><C:schedule-outbox/>",
        Kind::File | Kind::CalendarObject | Kind::Card => "",
    }
}

fn user_addresses(owner: &str, out: &mut String) -> bool {
    text_element("D:href", &format!("mailto:{owner}"), out);
    home(Area::Principals, owner, out)
}

fn components(resource: &Resource<'_>, out: &mut String) -> bool {
    for name in resource.components.names() {
        let _ = write!(out, "<C:comp name=\"{name}\"/>");
    }
    true
}

fn collations(prefix: &str, out: &mut String) -> bool {
    for (name, _) in Collation::ALL {
        text_element(&format!("{prefix}:supported-collation"), name, out);
    }
    true
}

fn reports(kind: Kind, out: &mut String) -> bool {
    let common = ["D:expand-property", "D:principal-match", "D:principal-property-search"];
    let others = ["D:principal-search-property-set", "D:acl-principal-prop-set"];
    let own: &[&str] = match kind {
        Kind::Calendar => {
            &["D:sync-collection", "C:calendar-query", "C:calendar-multiget", "C:free-busy-query"]
        }
        Kind::ScheduleInbox => &["D:sync-collection", "C:calendar-query", "C:calendar-multiget"],
        Kind::CalendarObject => &["C:calendar-query", "C:calendar-multiget"],
        Kind::Book => &["D:sync-collection", "CR:addressbook-query", "CR:addressbook-multiget"],
        Kind::Card => &["CR:addressbook-query", "CR:addressbook-multiget"],
        Kind::Folder => &["D:sync-collection"],
        _ => &[],
    };
    for report in common.iter().chain(&others).chain(own) {
        let _ = write!(out, "<D:supported-report><D:report><{report}/></D:report></D:supported-report>");
    }
    true
}
