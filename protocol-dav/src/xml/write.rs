//! From values to octets.

use std::fmt::Write as _;

use super::tree::{Element, Node};
use crate::name::{Name, Namespace};

/// `Char` of XML §2.2.
pub(super) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Writes text. A carriage return is written as a reference, or the reader would make a line feed of it
/// (XML §2.11) and calendar data would come back altered; what no XML can hold becomes U+FFFD.
pub fn escape_text(text: &str, out: &mut String) {
    escape(text, out, |c| match c {
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '&' => Some("&amp;"),
        '\r' => Some("&#13;"),
        _ => None,
    });
}

/// Writes what stands between the double quotes of an attribute.
pub fn escape_attribute(text: &str, out: &mut String) {
    escape(text, out, |c| match c {
        '<' => Some("&lt;"),
        '&' => Some("&amp;"),
        '"' => Some("&quot;"),
        '\r' => Some("&#13;"),
        '\n' => Some("&#10;"),
        '\t' => Some("&#9;"),
        _ => None,
    });
}

fn escape(text: &str, out: &mut String, special: impl Fn(char) -> Option<&'static str>) {
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        let replacement = match special(c) {
            Some(replacement) => replacement,
            None if is_char(c) => continue,
            None => "\u{FFFD}",
        };
        out.push_str(&text[plain_from..at]);
        out.push_str(replacement);
        plain_from = at + c.len_utf8();
    }
    out.push_str(&text[plain_from..]);
}

/// Writes `<tag>text</tag>`, where `tag` has one of the prefixes of [`Namespace::prefix`].
pub fn text_element(tag: &str, text: &str, out: &mut String) {
    let _ = write!(out, "<{tag}>");
    escape_text(text, out);
    let _ = write!(out, "</{tag}>");
}

impl Element {
    /// Writes it so that it can stand anywhere: whatever prefix is used in it, is declared in it.
    pub fn write(&self, out: &mut String) {
        self.write_in(&mut Vec::new(), out);
    }

    /// As [`Element::write`] does.
    pub fn to_fragment(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write_in<'e>(&'e self, scope: &mut Vec<(&'e str, &'e Namespace)>, out: &mut String) {
        let outer = scope.len();
        out.push('<');
        qualified(&self.prefix, &self.name, out);
        for (prefix, namespace) in &self.declared {
            declare(prefix, namespace, scope, out);
        }
        let attributes = self.attributes.iter().filter(|a| !a.prefix.is_empty());
        let used = attributes.map(|a| (&a.prefix, &a.name));
        for (prefix, name) in std::iter::once((&self.prefix, &self.name)).chain(used) {
            let bound = scope.iter().rev().find(|(p, _)| **p == **prefix).map(|(_, n)| *n);
            if bound.unwrap_or(&Namespace::None) != &name.namespace && &**prefix != "xml" {
                declare(prefix, &name.namespace, scope, out);
            }
        }
        for attribute in &self.attributes {
            out.push(' ');
            qualified(&attribute.prefix, &attribute.name, out);
            out.push_str("=\"");
            escape_attribute(&attribute.value, out);
            out.push('"');
        }
        if self.children.is_empty() {
            out.push_str("/>");
        } else {
            out.push('>');
            for child in &self.children {
                match child {
                    Node::Element(element) => element.write_in(scope, out),
                    Node::Text(text) => escape_text(text, out),
                }
            }
            out.push_str("</");
            qualified(&self.prefix, &self.name, out);
            out.push('>');
        }
        scope.truncate(outer);
    }
}

fn qualified(prefix: &str, name: &Name, out: &mut String) {
    if !prefix.is_empty() {
        out.push_str(prefix);
        out.push(':');
    }
    out.push_str(&name.local);
}

fn declare<'e>(
    prefix: &'e str,
    namespace: &'e Namespace,
    scope: &mut Vec<(&'e str, &'e Namespace)>,
    out: &mut String,
) {
    out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
    out.push_str(prefix);
    out.push_str("=\"");
    escape_attribute(namespace.uri(), out);
    out.push('"');
    scope.push((prefix, namespace));
}
