//! PROPPATCH bodies (RFC 4918 §14.19) and those of MKCOL (RFC 5689) and MKCALENDAR (RFC 4791 §9.2).

use super::{bad, within};
use crate::limits;
use crate::name::{Name, Namespace};
use crate::refusal::Refusal;
use crate::xml::{Attribute, Element};

/// One change of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// It is set to this element.
    Set(Element),
    /// It is removed; removing what is not there is no error (§14.23).
    Remove(Name),
}

impl Update {
    /// Whose.
    pub fn name(&self) -> &Name {
        match self {
            Update::Set(element) => &element.name,
            Update::Remove(name) => name,
        }
    }

    /// From `DAV:propertyupdate`, in the order of the document.
    pub fn parse(root: &Element) -> Result<Vec<Update>, Refusal> {
        if !root.is(&Namespace::Dav, "propertyupdate") {
            return Err(bad("the body of PROPPATCH is DAV:propertyupdate"));
        }
        let updates = instructions(root)?;
        if updates.is_empty() { Err(bad("PROPPATCH sets or removes something")) } else { Ok(updates) }
    }
}

fn instructions(root: &Element) -> Result<Vec<Update>, Refusal> {
    let mut updates = Vec::new();
    for instruction in root.elements().filter(|e| e.name.namespace == Namespace::Dav) {
        let set = match &*instruction.name.local {
            "set" => true,
            "remove" => false,
            _ => continue,
        };
        let prop = instruction.child(&Namespace::Dav, "prop");
        let prop = prop.ok_or_else(|| bad("set and remove hold DAV:prop"))?;
        // The language in scope belongs to the value (§4.3).
        let lang = prop.lang().or(instruction.lang()).or(root.lang());
        for property in prop.elements() {
            within(updates.len() + 1, limits::PROPERTIES_MAX)?;
            updates.push(if set {
                Update::Set(with_language(property, lang))
            } else {
                Update::Remove(property.name.clone())
            });
        }
    }
    Ok(updates)
}

fn with_language(property: &Element, lang: Option<&str>) -> Element {
    let mut property = property.clone();
    if let (None, Some(lang)) = (property.lang(), lang) {
        let name = Name::new(Namespace::Xml, "lang");
        property.attributes.push(Attribute { name, prefix: "xml".into(), value: lang.to_owned() });
    }
    property
}

/// The body of MKCOL or MKCALENDAR: the properties that the new collection begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MakeBody {
    /// The types in `DAV:resourcetype`, when the body has it.
    pub types: Option<Vec<Name>>,
    /// The component names of `CALDAV:supported-calendar-component-set`, when the body has it.
    pub components: Option<Vec<String>>,
    /// All others.
    pub properties: Vec<Element>,
}

impl MakeBody {
    /// From `DAV:mkcol` or `CALDAV:mkcalendar`.
    pub fn parse(root: &Element, calendar: bool) -> Result<MakeBody, Refusal> {
        let expected = if calendar { (Namespace::CalDav, "mkcalendar") } else { (Namespace::Dav, "mkcol") };
        if !root.is(&expected.0, expected.1) {
            return Err(Refusal::status(415, "the body is not one of this method"));
        }
        let mut body = MakeBody::default();
        for update in instructions(root)? {
            let Update::Set(property) = update else {
                return Err(bad("a new collection has nothing to remove"));
            };
            match property.name.parts() {
                (Namespace::Dav, "resourcetype") => {
                    body.types = Some(property.elements().map(|e| e.name.clone()).collect());
                }
                (Namespace::CalDav, "supported-calendar-component-set") => {
                    let components = property.elements().filter(|e| e.is(&Namespace::CalDav, "comp"));
                    let names = components.map(|e| e.attribute("name").unwrap_or("").to_owned());
                    body.components = Some(names.collect());
                }
                _ => body.properties.push(property),
            }
        }
        Ok(body)
    }
}
