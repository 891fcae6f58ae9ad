//! The tree that a body is read into.

use crate::name::{Name, Namespace};

/// An element with all that must be kept of it when it is stored as a property (RFC 4918 §4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// What it is.
    pub name: Name,
    /// The prefix it was written with; kept, because content may refer to it.
    pub prefix: Box<str>,
    /// Its attributes without the namespace declarations.
    pub attributes: Vec<Attribute>,
    /// The namespace declarations it carries: prefix (empty for the default) and namespace.
    pub declared: Vec<(Box<str>, Namespace)>,
    /// What stands in it.
    pub children: Vec<Node>,
}

/// An attribute of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// What it is; without a prefix it is in no namespace.
    pub name: Name,
    /// The prefix it was written with.
    pub prefix: Box<str>,
    /// Its value, unescaped.
    pub value: String,
}

/// What stands in an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Another element.
    Element(Element),
    /// Text, unescaped.
    Text(String),
}

impl Element {
    /// Whether it is this one.
    pub fn is(&self, namespace: &Namespace, local: &str) -> bool {
        self.name.is(namespace, local)
    }

    /// The elements in it.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first element of this name in it.
    pub fn child(&self, namespace: &Namespace, local: &str) -> Option<&Element> {
        self.elements().find(|e| e.is(namespace, local))
    }

    /// All text directly in it, without the white space around it.
    pub fn text(&self) -> String {
        let mut text = self.raw_text();
        let trimmed = text.trim_matches(is_space);
        if trimmed.len() != text.len() {
            text = trimmed.to_owned();
        }
        text
    }

    /// All text directly in it, as it stands.
    pub fn raw_text(&self) -> String {
        let mut text = String::new();
        for node in &self.children {
            if let Node::Text(piece) = node {
                text.push_str(piece);
            }
        }
        text
    }

    /// The value of an attribute in no namespace.
    pub fn attribute(&self, local: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.name.is(&Namespace::None, local)).map(|a| a.value.as_str())
    }

    /// The value of `xml:lang`.
    pub fn lang(&self) -> Option<&str> {
        self.attributes.iter().find(|a| a.name.is(&Namespace::Xml, "lang")).map(|a| a.value.as_str())
    }
}

/// White space of XML (§2.3), which is less than Unicode's.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}
