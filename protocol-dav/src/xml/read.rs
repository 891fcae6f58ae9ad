//! From octets to a tree.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::XmlFault;
use super::tree::{Attribute, Element, Node};
use super::write::is_char;
use crate::limits;
use crate::name::{Name, Namespace};

/// Reads a whole body. The limits of [`crate::limits`] hold, whatever was checked while it arrived.
pub fn parse(body: &[u8]) -> Result<Element, XmlFault> {
    if body.len() > limits::XML_BODY_MAX {
        return Err(XmlFault::TooLarge);
    }
    let text = decode(body)?;
    if text.contains(|c| !is_char(c)) {
        return Err(XmlFault::Malformed);
    }
    let mut reader = Reader::from_str(&text);
    reader.config_mut().check_comments = true;
    let mut builder = Builder { open: Vec::new(), root: None, bindings: Vec::new(), elements: 0 };
    loop {
        match reader.read_event().map_err(|_| XmlFault::Malformed)? {
            Event::Start(tag) => builder.start(&tag)?,
            Event::Empty(tag) => {
                builder.start(&tag)?;
                builder.end()?;
            }
            // The reader compares the names of the two tags itself.
            Event::End(_) => builder.end()?,
            Event::Text(text) => builder.text(&normalised(&text))?,
            Event::CData(text) => builder.text(&normalised(&text))?,
            Event::GeneralRef(reference) => builder.text(&referred(&reference)?)?,
            Event::DocType(_) => return Err(XmlFault::Entity),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    if !builder.open.is_empty() {
        return Err(XmlFault::Malformed);
    }
    builder.root.ok_or(XmlFault::Malformed)
}

/// UTF-8 with or without a mark, UTF-16 with one (XML §4.3.3).
fn decode(body: &[u8]) -> Result<Cow<'_, str>, XmlFault> {
    let (body, big_endian) = match body {
        [0xEF, 0xBB, 0xBF, rest @ ..] => (rest, None),
        [0xFE, 0xFF, rest @ ..] => (rest, Some(true)),
        [0xFF, 0xFE, rest @ ..] => (rest, Some(false)),
        rest => (rest, None),
    };
    let Some(big_endian) = big_endian else {
        return std::str::from_utf8(body).map(Cow::Borrowed).map_err(|_| XmlFault::Encoding);
    };
    let unit = |pair: [u8; 2]| if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
    let (pairs, rest) = body.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(XmlFault::Encoding);
    }
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair)))
        .collect::<Result<String, _>>()
        .map(Cow::Owned)
        .map_err(|_| XmlFault::Encoding)
}

/// Line ends as XML §2.11 has them.
fn normalised(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

/// A character reference or one of the five entities that need no declaration.
fn referred(reference: &BytesRef<'_>) -> Result<Cow<'static, str>, XmlFault> {
    if reference.is_char_ref() {
        let c = reference.resolve_char_ref().map_err(|_| XmlFault::Malformed)?;
        return match c {
            Some(c) if is_char(c) => Ok(c.to_string().into()),
            _ => Err(XmlFault::Malformed),
        };
    }
    let name: &str = reference;
    predefined(name).map(Cow::Borrowed).ok_or(XmlFault::Entity)
}

fn predefined(name: &str) -> Option<&'static str> {
    Some(match name {
        "lt" => "<",
        "gt" => ">",
        "amp" => "&",
        "apos" => "'",
        "quot" => "\"",
        _ => return None,
    })
}

/// An attribute's value: references resolved, white space made spaces (XML §3.3.3).
fn attribute_value(raw: &str) -> Result<String, XmlFault> {
    if raw.contains('<') {
        return Err(XmlFault::Malformed);
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\t', '\n', '\r']) {
        value.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(line_end) = rest.strip_prefix("\r\n") {
            value.push(' ');
            rest = line_end;
        } else if let Some(reference) = rest.strip_prefix('&') {
            let end = reference.find(';').ok_or(XmlFault::Malformed)?;
            value.push_str(&referred(&BytesRef::new(&reference[..end]))?);
            rest = &reference[end + 1..];
        } else {
            value.push(' ');
            rest = &rest[1..];
        }
    }
    value.push_str(rest);
    Ok(value)
}

struct Builder {
    /// The elements that are open, each with the number of bindings before it.
    open: Vec<(Element, usize)>,
    root: Option<Element>,
    /// Prefixes in scope, the innermost last.
    bindings: Vec<(Box<str>, Namespace)>,
    elements: usize,
}

impl Builder {
    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), XmlFault> {
        self.elements += 1;
        if self.elements > limits::XML_ELEMENTS_MAX || self.open.len() == limits::XML_DEPTH_MAX {
            return Err(XmlFault::TooLarge);
        }
        if self.root.is_some() {
            return Err(XmlFault::Malformed);
        }
        let bound_before = self.bindings.len();
        let mut declared = Vec::new();
        let mut plain = Vec::new();
        let mut attributes = tag.attributes();
        // The library's own check for duplicates is quadratic in what it was given; ours is bounded below.
        for (count, attribute) in attributes.with_checks(false).enumerate() {
            if count == limits::XML_ATTRIBUTES_MAX {
                return Err(XmlFault::TooLarge);
            }
            let attribute = attribute.map_err(|_| XmlFault::Malformed)?;
            let (prefix, local) = split(attribute.key.as_ref())?;
            let value = attribute_value(&attribute.value)?;
            if prefix == "xmlns" || (prefix.is_empty() && local == "xmlns") {
                declared.push(declaration(if prefix.is_empty() { "" } else { local }, &value)?);
            } else {
                plain.push((prefix.to_owned(), local.to_owned(), value));
            }
        }
        if has_duplicates(declared.iter().map(|(prefix, _)| prefix)) {
            return Err(XmlFault::Malformed);
        }
        self.bindings.extend(declared.iter().cloned());
        // Each prefix is looked for among them, so their number bounds the work.
        if self.bindings.len() > limits::XML_BINDINGS_MAX {
            return Err(XmlFault::TooLarge);
        }
        let name = tag.name();
        let (prefix, local) = split(name.as_ref())?;
        if prefix == "xmlns" {
            return Err(XmlFault::Malformed);
        }
        let name = Name { namespace: self.resolve(prefix)?, local: local.into() };
        let attributes = self.attributes(plain)?;
        let element = Element { name, prefix: prefix.into(), attributes, declared, children: Vec::new() };
        self.open.push((element, bound_before));
        Ok(())
    }

    fn attributes(&self, plain: Vec<(String, String, String)>) -> Result<Vec<Attribute>, XmlFault> {
        let mut attributes = Vec::with_capacity(plain.len());
        for (prefix, local, value) in plain {
            let namespace = if prefix.is_empty() { Namespace::None } else { self.resolve(&prefix)? };
            let name = Name { namespace, local: local.into() };
            attributes.push(Attribute { name, prefix: prefix.into(), value });
        }
        if has_duplicates(attributes.iter().map(|a| &a.name)) {
            return Err(XmlFault::Malformed);
        }
        Ok(attributes)
    }

    fn end(&mut self) -> Result<(), XmlFault> {
        let (element, bound_before) = self.open.pop().ok_or(XmlFault::Malformed)?;
        self.bindings.truncate(bound_before);
        match self.open.last_mut() {
            Some((parent, _)) => parent.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlFault> {
        let Some((element, _)) = self.open.last_mut() else {
            let blank = text.chars().all(|c| matches!(c, ' ' | '\t' | '\n'));
            return if blank { Ok(()) } else { Err(XmlFault::Malformed) };
        };
        match element.children.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ => element.children.push(Node::Text(text.to_owned())),
        }
        Ok(())
    }

    fn resolve(&self, prefix: &str) -> Result<Namespace, XmlFault> {
        if prefix == "xml" {
            return Ok(Namespace::Xml);
        }
        match self.bindings.iter().rev().find(|(bound, _)| **bound == *prefix) {
            Some((_, namespace)) => Ok(namespace.clone()),
            None if prefix.is_empty() => Ok(Namespace::None),
            None => Err(XmlFault::Malformed),
        }
    }
}

/// A declaration as Namespaces in XML §3 allows it: no prefix is bound to nothing, `xml` and `xmlns` are fixed.
fn declaration(prefix: &str, uri: &str) -> Result<(Box<str>, Namespace), XmlFault> {
    if uri.len() > limits::XML_NAME_MAX {
        return Err(XmlFault::TooLarge);
    }
    let namespace = Namespace::of(uri);
    let fixed = prefix == "xmlns" || uri == "http://www.w3.org/2000/xmlns/";
    let unbound = !prefix.is_empty() && uri.is_empty();
    if fixed || unbound || (prefix == "xml") != (namespace == Namespace::Xml) {
        return Err(XmlFault::Malformed);
    }
    Ok((prefix.into(), namespace))
}

/// Prefix and local name.
fn split(name: &str) -> Result<(&str, &str), XmlFault> {
    if name.len() > limits::XML_NAME_MAX {
        return Err(XmlFault::TooLarge);
    }
    let (prefix, local) = match name.split_once(':') {
        Some((prefix, _)) if !is_ncname(prefix) => return Err(XmlFault::Malformed),
        Some(parts) => parts,
        None => ("", name),
    };
    if is_ncname(local) { Ok((prefix, local)) } else { Err(XmlFault::Malformed) }
}

/// `NCName` (Namespaces in XML §4): a name of XML §2.3 without colons.
fn is_ncname(name: &str) -> bool {
    let starts = |c: char| match c {
        'A'..='Z' | 'a'..='z' | '_' => true,
        '\u{D7}' | '\u{F7}' | '\u{37E}' => false,
        '\u{C0}'..='\u{2FF}' | '\u{370}'..='\u{1FFF}' | '\u{200C}' | '\u{200D}' => true,
        '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' => true,
        '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}' => true,
        _ => false,
    };
    let goes_on = |c: char| {
        starts(c)
            || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}')
            || matches!(c, '\u{300}'..='\u{36F}' | '\u{203F}' | '\u{2040}')
    };
    let mut chars = name.chars();
    chars.next().is_some_and(starts) && chars.all(goes_on)
}

/// Of at most [`limits::XML_ATTRIBUTES_MAX`] items, sorted rather than each compared with each.
fn has_duplicates<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut sorted: Vec<T> = items.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}
