//! Components: `BEGIN:name`, lines and components, `END:name`.

use super::{ObjectFault, Property};
use crate::limits;

/// A component with all that stands in it, in order within each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component<'a> {
    /// Its name in upper case.
    pub name: Box<str>,
    /// Its properties.
    pub properties: Vec<Property<'a>>,
    /// The components in it.
    pub components: Vec<Component<'a>>,
}

impl<'a> Component<'a> {
    /// An empty one.
    pub fn new(name: &str) -> Component<'a> {
        Component { name: name.to_ascii_uppercase().into(), properties: Vec::new(), components: Vec::new() }
    }

    /// Reads a text that is exactly one component. Lines end with CRLF; a bare LF is taken for one.
    pub fn parse(text: &'a str) -> Result<Component<'a>, ObjectFault> {
        let mut objects = Component::parse_all(text, 1)?;
        objects.pop().ok_or(ObjectFault::Malformed)
    }

    /// Reads a text of at most so many components, one after the other, all together within the limits of one.
    pub fn parse_all(text: &'a str, most: usize) -> Result<Vec<Component<'a>>, ObjectFault> {
        Component::parse_within(text, most, limits::LINES_MAX, limits::COMPONENTS_MAX)
    }

    /// Reads a file that somebody brings along: of many components, or of one with many in it.
    pub fn parse_file(text: &'a str) -> Result<Vec<Component<'a>>, ObjectFault> {
        Component::parse_within(text, usize::MAX, limits::FILE_LINES_MAX, limits::FILE_COMPONENTS_MAX)
    }

    fn parse_within(
        text: &'a str,
        most: usize,
        lines_max: usize,
        components_max: usize,
    ) -> Result<Vec<Component<'a>>, ObjectFault> {
        let mut open: Vec<Component<'a>> = Vec::new();
        let mut done: Vec<Component<'a>> = Vec::new();
        let mut components = 0;
        for (count, line) in Lines(text).enumerate() {
            if count == lines_max {
                return Err(ObjectFault::TooLarge);
            }
            // Some clients end with an empty line, and some write one between properties.
            if line.is_empty() {
                continue;
            }
            let property = Property::read(line)?;
            if property.is("BEGIN") {
                components += 1;
                if components > components_max || open.len() == limits::COMPONENT_DEPTH_MAX {
                    return Err(ObjectFault::TooLarge);
                }
                open.push(Component::new(property.value().trim()));
            } else if property.is("END") {
                let component = open.pop().ok_or(ObjectFault::Malformed)?;
                if !component.name.eq_ignore_ascii_case(property.value().trim()) {
                    return Err(ObjectFault::Malformed);
                }
                match open.last_mut() {
                    Some(parent) => parent.components.push(component),
                    None if done.len() == most => return Err(ObjectFault::Malformed),
                    None => done.push(component),
                }
            } else {
                open.last_mut().ok_or(ObjectFault::Malformed)?.properties.push(property);
            }
        }
        if open.is_empty() { Ok(done) } else { Err(ObjectFault::Malformed) }
    }

    /// Whether it has this name, which is in upper case.
    pub fn is(&self, name: &str) -> bool {
        *self.name == *name
    }

    /// The first property of this name.
    pub fn property(&self, name: &str) -> Option<&Property<'a>> {
        self.properties.iter().find(|property| property.is(name))
    }

    /// All properties of this name.
    pub fn all<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s Property<'a>> {
        self.properties.iter().filter(move |property| property.is(name))
    }

    /// The value of the first property of this name, without white space around it.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.property(name).map(|property| property.value().trim())
    }

    /// Puts a property in the place of all of its name, or at the end.
    pub fn set(&mut self, property: Property<'a>) {
        let at = self.properties.iter().position(|own| own.is(property.name()));
        match at {
            None => self.properties.push(property),
            Some(at) => {
                let mut index = 0;
                let name = property.name().to_owned();
                self.properties.retain(|own| {
                    index += 1;
                    index - 1 == at || !own.is(&name)
                });
                self.properties[at] = property;
            }
        }
    }

    /// Takes away all properties of these names.
    pub fn remove(&mut self, names: &[&str]) {
        self.properties.retain(|property| !names.iter().any(|name| property.is(name)));
    }

    /// Octets of its lines, about.
    pub fn octets(&self) -> usize {
        let own: usize = self.properties.iter().map(Property::octets).sum();
        own + self.components.iter().map(Component::octets).sum::<usize>()
    }

    /// Writes it with its line ends.
    pub fn write(&self, out: &mut String) {
        self.write_tag("BEGIN:", out);
        for property in &self.properties {
            property.write(out);
        }
        for component in &self.components {
            component.write(out);
        }
        self.write_tag("END:", out);
    }

    fn write_tag(&self, tag: &str, out: &mut String) {
        out.push_str(tag);
        out.push_str(&self.name);
        out.push_str("\r\n");
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Component<'static> {
        Component {
            name: self.name,
            properties: self.properties.into_iter().map(Property::into_owned).collect(),
            components: self.components.into_iter().map(Component::into_owned).collect(),
        }
    }
}

impl std::fmt::Display for Component<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

/// Logical lines, folds in them, without their line ends.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = self.0.as_bytes();
        let mut from = 0;
        let (end, after) = loop {
            match bytes[from..].iter().position(|&b| b == b'\n') {
                None => break (bytes.len(), bytes.len()),
                Some(at) => {
                    let end = from + at;
                    from = end + 1;
                    if !matches!(bytes.get(from), Some(b' ' | b'\t')) {
                        break (end, from);
                    }
                }
            }
        };
        let line = &self.0[..end];
        self.0 = &self.0[after..];
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}
