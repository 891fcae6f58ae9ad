//! PROPPATCH (RFC 4918 §9.2): all changes or none.

use super::is_protected;
use crate::headers::Preferences;
use crate::limits;
use crate::name::{DECLARATIONS, Name, Namespace};
use crate::path::Path;
use crate::precondition::Preconditions;
use crate::refusal::{Condition, Refusal, Response, Status, XML_DECLARATION, XML_TYPE, write_propstat};
use crate::request::Update;
use crate::resource::DeadProperty;
use crate::xml::{Element, text_element};

/// Changes of a resource's properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proppatch {
    /// Where.
    pub path: Path,
    /// In order: what is set to which element, and what is removed.
    pub updates: Vec<(Name, Option<DeadProperty>)>,
    /// What cannot be done. When there is anything, nothing is written.
    pub refused: Vec<(Name, Condition)>,
    /// What must hold.
    pub preconditions: Preconditions,
    prefer: Preferences,
}

impl Proppatch {
    pub(super) fn new(
        path: Path,
        updates: Vec<Update>,
        preconditions: Preconditions,
        prefer: Preferences,
    ) -> Proppatch {
        let mut plan = Proppatch { path, updates: Vec::new(), refused: Vec::new(), preconditions, prefer };
        for update in &updates {
            let name = update.name().clone();
            let result = match update {
                Update::Set(element) => checked(element).map(Some),
                Update::Remove(name) if is_protected(name) => Err(Condition::CannotModifyProtectedProperty),
                Update::Remove(_) => Ok(None),
            };
            match result {
                Ok(property) => plan.updates.push((name, property)),
                Err(condition) => plan.refused.push((name, condition)),
            }
        }
        plan
    }

    /// The answer: to be sent after the write, or in its stead when something is refused.
    pub fn response(&self, href: &str) -> Response {
        let headers = vec![("content-type", XML_TYPE.to_owned())];
        if self.refused.is_empty() && self.prefer.minimal {
            // RFC 8144 §2.3: that all went well needs no body.
            return Response { status: Status(200), headers: Vec::new(), body: Vec::new() };
        }
        let mut out = format!("{XML_DECLARATION}<D:multistatus{DECLARATIONS}><D:response>");
        text_element("D:href", href, &mut out);
        let names: Vec<&Name> = self.updates.iter().map(|(name, _)| name).collect();
        let status = Status(if self.refused.is_empty() { 200 } else { 424 });
        if !names.is_empty() {
            write_propstat(&names, status, None, &mut out);
        }
        for (name, condition) in &self.refused {
            write_propstat(&[name], condition.status(), Some(*condition), &mut out);
        }
        out.push_str("</D:response></D:multistatus>\n");
        Response { status: Status(207), headers, body: out.into_bytes() }
    }
}

/// A property that can be kept, or why it cannot.
pub(super) fn checked(element: &Element) -> Result<DeadProperty, Condition> {
    if is_protected(&element.name) {
        return Err(Condition::CannotModifyProtectedProperty);
    }
    if element.is(&Namespace::CalDav, "calendar-timezone")
        && crate::ical::Zone::of_object(&element.raw_text()).is_none()
    {
        return Err(Condition::ValidTimezone);
    }
    let fragment = element.to_fragment();
    if fragment.len() > limits::PROPERTY_MAX {
        return Err(Condition::SufficientDiskSpace);
    }
    Ok(DeadProperty { name: element.name.clone(), fragment: fragment.into() })
}

/// The properties of a resource after the changes; `507` when there would be too many.
pub fn apply(
    existing: &[DeadProperty],
    updates: &[(Name, Option<DeadProperty>)],
) -> Result<Vec<DeadProperty>, Refusal> {
    let mut properties = existing.to_vec();
    for (name, value) in updates {
        let at = properties.iter().position(|property| property.name == *name);
        match (at, value) {
            (Some(at), Some(value)) => properties[at] = value.clone(),
            (Some(at), None) => {
                properties.remove(at);
            }
            (None, Some(value)) => properties.push(value.clone()),
            (None, None) => {}
        }
    }
    counted(&properties)?;
    Ok(properties)
}

/// Refuses more properties than a resource may have (RFC 4918 §9.2.1: 507).
pub(super) fn counted(properties: &[DeadProperty]) -> Result<(), Refusal> {
    let octets: usize = properties.iter().map(|property| property.fragment.len()).sum();
    if properties.len() > limits::DEAD_PROPERTIES_MAX || octets > limits::DEAD_OCTETS_MAX {
        return Err(Refusal::status(507, "the resource would have too many properties"));
    }
    Ok(())
}
