//! MKCOL (RFC 4918 §9.3, RFC 5689) and MKCALENDAR (RFC 4791 §5.3.1).

use super::methods::location;
use super::proppatch::{checked, counted};
use crate::name::Namespace;
use crate::path::{Area, Path, PathKind};
use crate::precondition::Preconditions;
use crate::refusal::{Condition, FailedProperties, Refusal, Response, Status};
use crate::request::MakeBody;
use crate::resource::{Components, DeadProperty, Kind};
use crate::xml::Element;

/// A collection to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Make {
    /// Where.
    pub path: Path,
    /// What.
    pub collection: NewCollection,
    /// The properties it begins with.
    pub properties: Vec<DeadProperty>,
    /// What must hold.
    pub preconditions: Preconditions,
}

/// What kind of collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewCollection {
    /// Of files.
    Folder,
    /// A calendar that takes these components.
    Calendar(Components),
    /// An address book.
    Book,
}

impl Make {
    pub(super) fn new(
        path: Path,
        calendar: bool,
        body: MakeBody,
        preconditions: Preconditions,
    ) -> Result<Make, Refusal> {
        let types = body.types.as_deref().unwrap_or_default();
        let says = |namespace: &Namespace, local| types.iter().any(|name| name.is(namespace, local));
        let wants_calendar = calendar || says(&Namespace::CalDav, "calendar");
        let wants_book = says(&Namespace::CardDav, "addressbook");
        let known = |name: &crate::name::Name| match name.parts() {
            (Namespace::Dav, "collection") => true,
            (Namespace::CalDav, "calendar") => !wants_book,
            (Namespace::CardDav, "addressbook") => true,
            _ => false,
        };
        let invalid = |reason| Refusal::condition(Condition::ValidResourcetype, reason);
        if !types.iter().all(known) || (!types.is_empty() && !says(&Namespace::Dav, "collection")) {
            return Err(invalid("this type of collection cannot be made"));
        }
        let collection = match (path.area(), path.kind()) {
            // What is made where only calendars can be is one, whether or not the request says so.
            (Some(Area::Calendars), PathKind::Collection) if !wants_book => {
                NewCollection::Calendar(components(body.components.as_deref())?)
            }
            (Some(Area::Books), PathKind::Collection) if !wants_calendar => NewCollection::Book,
            (Some(Area::Files), PathKind::File) if !wants_calendar && !wants_book => NewCollection::Folder,
            _ => return Err(location(&path)),
        };
        let properties = checked_all(&body.properties, calendar)?;
        counted(&properties)?;
        Ok(Make { path, collection, properties, preconditions })
    }

    /// Whether it can be made, by what is there and what it would be in.
    pub fn check(&self, existing: Option<Kind>, parent: Option<Kind>) -> Result<(), Refusal> {
        if existing.is_some() {
            let refusal =
                Refusal::condition(Condition::ResourceMustBeNull, "there is something at this path");
            return Err(Refusal { allow: Some(super::allow(&self.path)), ..refusal });
        }
        let fits = match self.collection {
            NewCollection::Folder => Kind::Folder,
            NewCollection::Calendar(_) | NewCollection::Book => Kind::Home,
        };
        if parent == Some(fits) {
            Ok(())
        } else {
            Err(Refusal::status(409, "there is no collection that this could be in"))
        }
    }

    /// The answer once it was made.
    pub fn response(&self) -> Response {
        let headers = vec![("cache-control", "no-cache".to_owned())];
        Response { status: Status(201), headers, body: Vec::new() }
    }
}

/// The properties to begin with; when one of them cannot be set, the collection is not made, and the answer says
/// what became of each.
fn checked_all(elements: &[Element], calendar: bool) -> Result<Vec<DeadProperty>, Refusal> {
    let mut properties: Vec<DeadProperty> = Vec::new();
    let mut failed = FailedProperties { calendar, refused: Vec::new(), others: Vec::new() };
    for element in elements {
        match checked(element) {
            Ok(property) => {
                properties.retain(|before| before.name != property.name);
                properties.push(property);
            }
            Err(condition) => failed.refused.push((element.name.clone(), condition)),
        }
    }
    let Some((_, condition)) = failed.refused.first() else { return Ok(properties) };
    let refusal = Refusal::condition(*condition, "one of the properties cannot be set");
    failed.others = properties.into_iter().map(|property| property.name).collect();
    Err(Refusal { properties: Some(Box::new(failed)), ..refusal })
}

fn components(names: Option<&[String]>) -> Result<Components, Refusal> {
    let Some(names) = names else { return Ok(Components::ALL) };
    let mut set = Components::default();
    for name in names {
        let component = Components::of(name).ok_or_else(|| {
            let condition = Condition::SupportedCalendarComponent;
            Refusal::condition(condition, "calendars cannot hold this component")
        })?;
        set = set.with(component);
    }
    Ok(if set == Components::default() { Components::ALL } else { set })
}
