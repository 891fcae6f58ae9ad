//! From a request to what storage must do.
//!
//! [`plan`] reads the head and refuses what can be refused by it alone; the [`Planner`] says which body it
//! takes; [`Planner::finish`] gives the [`Plan`]. What depends on what is there is decided by the plan's own
//! methods, within the transaction: `check` of each, and [`Preconditions::check`].

mod get;
mod make;
mod methods;
mod place;
mod proppatch;
mod share;

#[cfg(test)]
mod tests;

pub(crate) use get::content_type;
pub use get::{Get, GetAnswer};
pub use make::{Make, NewCollection};
pub use methods::{DAV_CLASSES, allow, options};
pub use place::{Delete, ObjectType, Put, Relocate, http_date, made, uid_conflict};
pub use proppatch::{Proppatch, apply};
pub use share::{Share, not_allowed, not_the_owners, unknown_sharee};

use crate::headers::{self, Depth, Head, Preferences};
use crate::limits;
use crate::lock::{Change, LockRequest, Refresh, Unlock};
use crate::name::Namespace;
use crate::path::{Area, Path, PathFault, PathKind};
use crate::precondition::Preconditions;
use crate::refusal::{Condition, Refusal};
use crate::request::{LockInfo, MakeBody, PropSet, ReportBody, Update};
use crate::request::{bad, read};
use crate::resource::Kind;
use crate::xml::Element;
use methods::Method;

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Answer [`options`].
    Options(Path),
    /// Answer with the properties of resources.
    Propfind(Propfind),
    /// Change properties.
    Proppatch(Proppatch),
    /// Make a collection.
    Make(Make),
    /// Send a resource's content.
    Get(Get),
    /// Keep the content that is sent.
    Put(Put),
    /// Remove a resource and all that is in it.
    Delete(Delete),
    /// Copy a resource.
    Copy(Relocate),
    /// Move a resource.
    Move(Relocate),
    /// Take a lock; what is not there is made as an empty file.
    Lock(Lock),
    /// Let a lock last longer.
    Refresh(Refresh),
    /// Give a lock back.
    Unlock(Unlock),
    /// Answer a report.
    Report(Report),
    /// Answer when others are busy (RFC 6638 §5): the body is an iTIP request.
    ScheduleOutbox(Path),
    /// Let anybody who knows its address read a calendar, or nobody any more.
    Publish(Publish),
    /// Let others of the organisation read or change a collection, or no more.
    Share(Share),
}

/// A POST of `CS:publish-calendar` or `CS:unpublish-calendar` to a calendar (the calendarserver.org extension for
/// sharing, "Publishing a calendar").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Which calendar.
    pub path: Path,
    /// Whether it can be read.
    pub on: bool,
    /// What must hold.
    pub preconditions: Preconditions,
}

/// A PROPFIND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propfind {
    /// Where.
    pub path: Path,
    /// Never [`Depth::Infinity`].
    pub depth: Depth,
    /// What is asked for.
    pub props: PropSet,
    /// How it shall be answered.
    pub prefer: Preferences,
}

/// A LOCK that asks for a new lock: check the preconditions, then [`LockRequest::grant`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The lock asked for.
    pub request: LockRequest,
    /// What must hold.
    pub preconditions: Preconditions,
}

impl Lock {
    /// Whether something can be locked here, by what is here and what it would be in. True when nothing is here
    /// and an empty file has to be made (RFC 4918 §7.3).
    pub fn check(&self, existing: Option<Kind>, parent: Option<Kind>) -> Result<bool, Refusal> {
        match (existing, parent) {
            (Some(kind), _) if kind.is_lockable() => Ok(false),
            (Some(_), _) => Err(Refusal::status(403, "this cannot be locked")),
            (None, Some(Kind::Folder)) => Ok(true),
            // An empty calendar object or vCard would be none.
            (None, Some(_)) => Err(Refusal::not_found()),
            (None, None) => Err(Refusal::status(409, "there is no collection that this could be in")),
        }
    }
}

/// A REPORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where.
    pub path: Path,
    /// How deep.
    pub depth: Depth,
    /// What is asked for.
    pub body: ReportBody,
    /// How it shall be answered.
    pub prefer: Preferences,
}

/// What body a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// None; if there is one, [`Planner::feed`] refuses it (RFC 4918 §8.4).
    None,
    /// XML: [`Planner::feed`] it as it arrives.
    Xml,
    /// An object of at most so many octets, which is then checked and kept as a whole.
    Object(usize),
    /// A file: store it as it arrives.
    Stream,
}

/// A request whose head has been read.
#[derive(Debug)]
pub struct Planner {
    draft: Draft,
    body: BodyKind,
    xml: Vec<u8>,
}

/// What is known by the head alone.
#[derive(Debug)]
enum Draft {
    Ready(Plan),
    Propfind { path: Path, depth: Depth, prefer: Preferences },
    Proppatch { path: Path, preconditions: Preconditions, prefer: Preferences },
    Make { path: Path, calendar: bool, preconditions: Preconditions },
    Lock { path: Path, infinite: bool, preconditions: Preconditions, principal: Box<str>, timeout_secs: u64 },
    Report { path: Path, depth: Depth, prefer: Preferences, host: Box<str> },
    Post { path: Path, preconditions: Preconditions },
}

/// Reads the head of a request. Whose tree it is about is decided here: what belongs to another is answered as
/// what is not there.
pub fn plan(head: &Head<'_>) -> Result<Planner, Refusal> {
    let method = Method::of(head.method).ok_or_else(|| Refusal::status(501, "this method is not known"))?;
    let path = Path::parse(head.target, head.host).map_err(|fault| match fault {
        PathFault::Syntax => bad("the path is not valid"),
        PathFault::TooLong => Refusal::status(414, "the path is too long"),
        PathFault::Unknown | PathFault::OtherServer => Refusal::not_found(),
    })?;
    if path.owner().is_some_and(|owner| owner != head.principal) {
        return Err(Refusal::not_found());
    }
    methods::check(method, &path)?;
    let draft = draft(method, head, path)?;
    let body = match &draft {
        Draft::Ready(Plan::Put(put)) => match put.object {
            ObjectType::File => BodyKind::Stream,
            ObjectType::Calendar => BodyKind::Object(limits::CALENDAR_OBJECT_MAX),
            ObjectType::Card => BodyKind::Object(limits::CARD_MAX),
        },
        Draft::Ready(Plan::ScheduleOutbox(_)) => BodyKind::Object(limits::CALENDAR_OBJECT_MAX),
        Draft::Ready(_) => BodyKind::None,
        _ => BodyKind::Xml,
    };
    Ok(Planner { draft, body, xml: Vec::new() })
}

fn draft(method: Method, head: &Head<'_>, path: Path) -> Result<Draft, Refusal> {
    let preconditions = |changes| Preconditions::of(head, &path, changes);
    let one = |change| preconditions(vec![(path.clone(), change)]);
    Ok(match method {
        Method::Options => Draft::Ready(Plan::Options(path)),
        Method::Propfind => {
            let depth = Depth::of(head, Depth::Infinity)?;
            if depth == Depth::Infinity {
                let condition = Condition::PropfindFiniteDepth;
                return Err(Refusal::condition(condition, "PROPFIND is answered with Depth 0 or 1"));
            }
            Draft::Propfind { path, depth, prefer: Preferences::of(head)? }
        }
        Method::Proppatch => {
            let preconditions = one(Change::Content)?;
            Draft::Proppatch { path, preconditions, prefer: Preferences::of(head)? }
        }
        Method::Mkcol | Method::Mkcalendar => {
            let preconditions = one(Change::Make)?;
            Draft::Make { path, calendar: method == Method::Mkcalendar, preconditions }
        }
        Method::Get | Method::Head => Draft::Ready(Plan::Get(Get::of(head, path, method == Method::Head)?)),
        Method::Put => {
            let preconditions = one(Change::Make)?;
            Draft::Ready(Plan::Put(Put::of(head, path, preconditions)?))
        }
        Method::Delete => {
            if path.kind() != PathKind::Object && Depth::of(head, Depth::Infinity)? != Depth::Infinity {
                return Err(bad("DELETE of a collection has Depth infinity"));
            }
            let preconditions = one(Change::Remove)?;
            Draft::Ready(Plan::Delete(Delete::of(head, path, preconditions)?))
        }
        Method::Copy | Method::Move => {
            let relocate = Relocate::of(head, path, method == Method::Move)?;
            let plan = if method == Method::Move { Plan::Move } else { Plan::Copy };
            Draft::Ready(plan(relocate))
        }
        Method::Lock => {
            let infinite = match Depth::of(head, Depth::Infinity)? {
                Depth::Zero => false,
                Depth::Infinity => true,
                Depth::One => return Err(bad("a lock has Depth 0 or infinity")),
            };
            let preconditions = one(Change::Lock)?;
            let (principal, timeout_secs) = (head.principal.into(), headers::timeout_secs(head)?);
            Draft::Lock { path, infinite, preconditions, principal, timeout_secs }
        }
        Method::Unlock => {
            let (token, principal) = (headers::lock_token(head)?.into(), head.principal.into());
            Draft::Ready(Plan::Unlock(Unlock { path, token, principal }))
        }
        Method::Report => {
            let (depth, prefer) = (Depth::of(head, Depth::Zero)?, Preferences::of(head)?);
            Draft::Report { path, depth, prefer, host: head.host.into() }
        }
        Method::Post if path.kind() == PathKind::Collection => {
            let preconditions = one(Change::Content)?;
            Draft::Post { path, preconditions }
        }
        Method::Post => Draft::Ready(Plan::ScheduleOutbox(path)),
    })
}

impl Planner {
    /// What body is taken.
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// Takes octets of a body, of [`BodyKind::Xml`] or of one that should not be there.
    pub fn feed(&mut self, octets: &[u8]) -> Result<(), Refusal> {
        if octets.is_empty() {
            return Ok(());
        }
        if self.body != BodyKind::Xml {
            return Err(Refusal::status(415, "this request takes no body"));
        }
        if self.xml.len() + octets.len() > limits::XML_BODY_MAX {
            return Err(Refusal::status(413, "the XML is larger than this server reads"));
        }
        self.xml.extend_from_slice(octets);
        Ok(())
    }

    /// The plan, once the whole body was fed. For [`BodyKind::Object`] and [`BodyKind::Stream`] it may be
    /// called at once: the content is no part of the plan.
    pub fn finish(self) -> Result<Plan, Refusal> {
        let xml = self.xml;
        let root = if xml.is_empty() { None } else { Some(&xml) };
        let needed = || bad("this request has an XML body");
        Ok(match self.draft {
            Draft::Ready(plan) => plan,
            Draft::Propfind { path, depth, prefer } => {
                let props = match root {
                    None => PropSet::all(),
                    Some(body) => PropSet::of_propfind(&read(body)?)?,
                };
                Plan::Propfind(Propfind { path, depth, props, prefer })
            }
            Draft::Proppatch { path, preconditions, prefer } => {
                let updates = Update::parse(&read(root.ok_or_else(needed)?)?)?;
                Plan::Proppatch(Proppatch::new(path, updates, preconditions, prefer))
            }
            Draft::Make { path, calendar, preconditions } => {
                let body = match root {
                    None => MakeBody::default(),
                    Some(body) => MakeBody::parse(&make_body(body)?, calendar)?,
                };
                Plan::Make(Make::new(path, calendar, body, preconditions)?)
            }
            Draft::Lock { path, infinite, preconditions, principal, timeout_secs } => match root {
                Some(body) => {
                    let LockInfo { exclusive, owner } = LockInfo::parse(&read(body)?)?;
                    let request = LockRequest { path, infinite, exclusive, owner, principal, timeout_secs };
                    Plan::Lock(Lock { request, preconditions })
                }
                None => {
                    let token = preconditions.only_token();
                    let token =
                        token.ok_or_else(|| bad("a lock to refresh is named in the If field"))?.into();
                    Plan::Refresh(Refresh { path, token, principal, timeout_secs })
                }
            },
            Draft::Report { path, depth, prefer, host } => {
                let body = ReportBody::parse(&read(root.ok_or_else(needed)?)?, &host)?;
                check_report(&path, depth, &body)?;
                Plan::Report(Report { path, depth, body, prefer })
            }
            Draft::Post { path, preconditions } => {
                post(path, preconditions, &read(root.ok_or_else(needed)?)?)?
            }
        })
    }
}

/// What is posted to a collection.
fn post(path: Path, preconditions: Preconditions, root: &Element) -> Result<Plan, Refusal> {
    if let Some(share) = Share::of(root, &path, &preconditions) {
        return Ok(Plan::Share(share?));
    }
    let on = match root.name.parts() {
        (Namespace::CalendarServer, "publish-calendar") => true,
        (Namespace::CalendarServer, "unpublish-calendar") => false,
        _ => return Err(bad("a collection is shared, and a calendar is published or no longer published")),
    };
    if path.area() != Some(Area::Calendars) {
        let refusal = Refusal::status(405, "an address book is not published");
        return Err(Refusal { allow: Some(allow(&path)), ..refusal });
    }
    Ok(Plan::Publish(Publish { path, on, preconditions }))
}

/// A body of MKCOL that is not XML at all is of a type that is not understood (RFC 4918 §9.3).
fn make_body(body: &[u8]) -> Result<Element, Refusal> {
    read(body).map_err(|refusal| match refusal.status.0 {
        400 if refusal.condition.is_none() => Refusal::status(415, "the body is not one of this method"),
        _ => refusal,
    })
}

/// Whether a report can be asked for at a place (RFC 3253 §3.1.5), at this depth.
fn check_report(path: &Path, depth: Depth, body: &ReportBody) -> Result<(), Refusal> {
    let kind = path.kind();
    let inside = matches!(kind, PathKind::Collection | PathKind::Object | PathKind::ScheduleInbox);
    let supported = match body {
        ReportBody::CalendarQuery(_) | ReportBody::CalendarMultiget(_) => {
            inside && path.area() == Some(Area::Calendars)
        }
        ReportBody::FreeBusy(_) => kind == PathKind::Collection && path.area() == Some(Area::Calendars),
        ReportBody::CardQuery(_) | ReportBody::CardMultiget(_) => inside && path.area() == Some(Area::Books),
        ReportBody::SyncCollection(_) => matches!(
            kind,
            PathKind::Collection | PathKind::ScheduleInbox | PathKind::FilesHome | PathKind::File
        ),
        _ => true,
    };
    if !supported {
        return Err(Refusal::condition(Condition::SupportedReport, "this report is not made here"));
    }
    if let ReportBody::SyncCollection(sync) = body {
        if depth != Depth::Zero {
            return Err(bad("sync-collection has Depth 0"));
        }
        // In a calendar or an address book there is nothing deeper, so both levels are the same.
        if sync.infinite && path.area() == Some(Area::Files) {
            let condition = Condition::SyncTraversalSupported;
            return Err(Refusal::condition(condition, "folders are synchronised one by one"));
        }
    }
    Ok(())
}

/// Whether a name is that of a property that the server answers itself and nobody can set.
pub(crate) fn is_protected(name: &crate::name::Name) -> bool {
    let kept = crate::props::is_live(name) && !crate::props::has_default(name);
    // What stands for the content of a resource is none of its properties, and where it is published the server says.
    kept || matches!(
        name.parts(),
        (Namespace::CalDav, "calendar-data")
            | (Namespace::CardDav, "address-data")
            | (Namespace::CalendarServer, "publish-url")
    )
}
