//! One content line.

use std::borrow::Cow;

use super::{ObjectFault, unescape_text};
use crate::limits;

/// Octets of a line that is written, without its end (RFC 5545 §3.1, RFC 6350 §3.2).
const FOLD_AT: usize = 75;

/// A property: `[group "."] name *(";" parameter) ":" value`.
#[derive(Clone, Debug)]
pub struct Property<'a> {
    /// As it came, with its folds; none when it was made or changed here.
    original: Option<&'a str>,
    /// Without folds.
    line: Cow<'a, str>,
    /// Where the name begins and ends, and where the value begins.
    name_from: usize,
    name_to: usize,
    value_from: usize,
}

/// A parameter as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'l> {
    /// Its name.
    pub name: &'l str,
    /// What follows the equals sign, with quotes; none when there is no equals sign, as older vCards have it.
    pub raw: Option<&'l str>,
}

impl<'l> Parameter<'l> {
    /// Its values, without quotes, with the escapes of RFC 6868 undone.
    pub fn values(self) -> impl Iterator<Item = Cow<'l, str>> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let text = rest?;
            let end = end_of_value(text);
            rest = text[end..].strip_prefix(',');
            Some(decode_value(&text[..end]))
        })
    }

    /// Whether it has this name, in any letter case.
    pub fn is(self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Where the first value of a parameter ends: at a comma outside quotes.
fn end_of_value(text: &str) -> usize {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// RFC 6868 §3.1.
fn decode_value(raw: &str) -> Cow<'_, str> {
    let raw = raw.strip_prefix('"').map_or(raw, |raw| raw.strip_suffix('"').unwrap_or(raw));
    if !raw.contains('^') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        let decoded = match (c, chars.peek()) {
            ('^', Some('n')) => '\n',
            ('^', Some('^')) => '^',
            ('^', Some('\'')) => '"',
            _ => {
                out.push(c);
                continue;
            }
        };
        chars.next();
        out.push(decoded);
    }
    Cow::Owned(out)
}

/// Writes a parameter's value, with quotes where they are needed and the escapes of RFC 6868.
fn encode_value(value: &str, out: &mut String) {
    let quotes = value.contains([';', ':', ',']);
    if quotes {
        out.push('"');
    }
    for c in value.chars() {
        match c {
            '"' => out.push_str("^'"),
            '\n' => out.push_str("^n"),
            '^' => out.push_str("^^"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    if quotes {
        out.push('"');
    }
}

impl<'a> Property<'a> {
    /// Makes one, in a group when the name has a dot. Parameters are written as they need to be; the value is taken
    /// as it is, already escaped.
    pub fn new(name: &str, parameters: &[(&str, &str)], value: &str) -> Property<'static> {
        let mut line = name.to_owned();
        let name_from = name.find('.').map_or(0, |dot| dot + 1);
        for (parameter, parameter_value) in parameters {
            line.push(';');
            line.push_str(parameter);
            line.push('=');
            encode_value(parameter_value, &mut line);
        }
        let value_from = line.len() + 1;
        line.push(':');
        line.extend(value.chars().filter(|c| !matches!(c, '\r' | '\n')));
        Property { original: None, line: Cow::Owned(line), name_from, name_to: name.len(), value_from }
    }

    /// Reads one from its lines, whose folds stand in them and whose last line end does not.
    pub(super) fn read(original: &'a str) -> Result<Property<'a>, ObjectFault> {
        let folded = original.contains('\n');
        let line = if folded { Cow::Owned(unfold(original)) } else { Cow::Borrowed(original) };
        if line.chars().any(|c| c.is_control() && c != '\t' && !('\u{80}'..='\u{9F}').contains(&c)) {
            return Err(ObjectFault::Malformed);
        }
        let (name_from, name_to, value_from) = divide(&line)?;
        // What was folded with bare line feeds is folded anew when it is written.
        let keeps = !folded || original.matches('\n').count() == original.matches("\r\n").count();
        Ok(Property { original: keeps.then_some(original), line, name_from, name_to, value_from })
    }

    /// Its name, as it is written.
    pub fn name(&self) -> &str {
        &self.line[self.name_from..self.name_to]
    }

    /// The group in front of its name (RFC 6350 §3.3).
    pub fn group(&self) -> Option<&str> {
        self.name_from.checked_sub(1).map(|end| &self.line[..end])
    }

    /// Whether it has this name, in any letter case.
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// Its value as it is written.
    pub fn value(&self) -> &str {
        &self.line[self.value_from..]
    }

    /// Its value as text.
    pub fn text(&self) -> Cow<'_, str> {
        unescape_text(self.value())
    }

    /// Its parameters in order.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        // From the semicolon after the name, if there is one, to the colon before the value.
        let mut rest = &self.line[self.name_to..self.value_from - 1];
        std::iter::from_fn(move || {
            let text = rest.strip_prefix(';')?;
            let end = end_of_parameter(text);
            rest = &text[end..];
            let parameter = &text[..end];
            Some(match parameter.split_once('=') {
                Some((name, raw)) => Parameter { name, raw: Some(raw) },
                None => Parameter { name: parameter, raw: None },
            })
        })
    }

    /// The first value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.parameters().find(|parameter| parameter.is(name)).and_then(|parameter| parameter.values().next())
    }

    /// Whether a parameter has this value, both in any letter case.
    pub fn has(&self, parameter: &str, value: &str) -> bool {
        self.parameter(parameter).is_some_and(|own| own.eq_ignore_ascii_case(value))
    }

    /// The same with one parameter set, or taken away.
    #[must_use]
    pub fn with_parameter(&self, name: &str, value: Option<&str>) -> Property<'static> {
        let mut line = self.line[..self.name_to].to_owned();
        for parameter in self.parameters().filter(|parameter| !parameter.is(name)) {
            line.push(';');
            line.push_str(parameter.name);
            if let Some(raw) = parameter.raw {
                line.push('=');
                line.push_str(raw);
            }
        }
        if let Some(value) = value {
            line.push(';');
            line.push_str(name);
            line.push('=');
            encode_value(value, &mut line);
        }
        self.rebuilt(line, self.value())
    }

    /// The same with another value, already escaped.
    #[must_use]
    pub fn with_value(&self, value: &str) -> Property<'static> {
        self.rebuilt(self.line[..self.value_from - 1].to_owned(), value)
    }

    fn rebuilt(&self, mut line: String, value: &str) -> Property<'static> {
        let value_from = line.len() + 1;
        line.push(':');
        line.extend(value.chars().filter(|c| !matches!(c, '\r' | '\n')));
        let (name_from, name_to) = (self.name_from, self.name_to);
        Property { original: None, line: Cow::Owned(line), name_from, name_to, value_from }
    }

    /// Octets of its line.
    pub fn octets(&self) -> usize {
        self.line.len() + 2
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Property<'static> {
        let Property { line, name_from, name_to, value_from, .. } = self;
        Property { original: None, line: Cow::Owned(line.into_owned()), name_from, name_to, value_from }
    }

    /// Writes it with its line end: as it came, or folded at 75 octets.
    pub fn write(&self, out: &mut String) {
        if let Some(original) = self.original {
            out.push_str(original);
            out.push_str("\r\n");
        } else {
            fold(&self.line, out);
        }
    }
}

impl PartialEq for Property<'_> {
    /// Equal when they say the same to the octet, however they are folded.
    fn eq(&self, other: &Property<'_>) -> bool {
        self.line == other.line
    }
}

impl Eq for Property<'_> {}

impl std::fmt::Display for Property<'_> {
    /// Without folds and without its line end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

/// Takes the folds out: a line end and the one white space after it.
fn unfold(original: &str) -> String {
    let mut line = String::with_capacity(original.len());
    for (at, piece) in original.split('\n').enumerate() {
        let piece = piece.strip_suffix('\r').unwrap_or(piece);
        line.push_str(if at == 0 { piece } else { piece.get(1..).unwrap_or("") });
    }
    line
}

/// Writes a line in pieces of at most 75 octets, never within a character.
pub(super) fn fold(line: &str, out: &mut String) {
    let mut rest = line;
    let mut room = FOLD_AT;
    while rest.len() > room {
        let mut end = room;
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        out.push_str(&rest[..end]);
        out.push_str("\r\n ");
        rest = &rest[end..];
        room = FOLD_AT - 1;
    }
    out.push_str(rest);
    out.push_str("\r\n");
}

/// Where the name begins and ends and the value begins.
fn divide(line: &str) -> Result<(usize, usize, usize), ObjectFault> {
    let name_to = line.find([';', ':']).ok_or(ObjectFault::Malformed)?;
    let named = &line[..name_to];
    let name_from = named.rfind('.').map_or(0, |dot| dot + 1);
    let group = &named[..name_from.saturating_sub(1)];
    if !is_name(&named[name_from..]) || (name_from > 0 && !is_name(group)) {
        return Err(ObjectFault::Malformed);
    }
    let mut at = name_to;
    let mut parameters = 0;
    while let Some(text) = line[at..].strip_prefix(';') {
        parameters += 1;
        if parameters > limits::PARAMETERS_MAX {
            return Err(ObjectFault::TooLarge);
        }
        let end = end_of_parameter(text);
        let parameter = &text[..end];
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        if !is_name(name) || parameter.matches('"').count() % 2 != 0 {
            return Err(ObjectFault::Malformed);
        }
        at += 1 + end;
    }
    if line[at..].starts_with(':') { Ok((name_from, name_to, at + 1)) } else { Err(ObjectFault::Malformed) }
}

/// Where a parameter ends: at a semicolon or colon outside quotes.
fn end_of_parameter(text: &str) -> usize {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b';' | b':' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// `iana-token`, and the underscore that some clients write in their own names.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
