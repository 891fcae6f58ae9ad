//! Groups of fields, and what stands in them.

use alloc::borrow::Cow;
use alloc::string::String;

use protocol_core::message::decode::to_utf8;
use protocol_core::message::header::{header_len, trim, unfold};
use protocol_core::message::{Field, Fields};

use super::{FIELDS_MAX, VALUE_MAX};
use crate::dsn::clean;
use crate::params::decode_xtext;

/// Groups of fields, each ended by an empty line (RFC 3464 §2.1). Empty lines in front of a group are passed over.
pub(super) fn groups(mut octets: &[u8]) -> impl Iterator<Item = Group<'_>> {
    core::iter::from_fn(move || {
        while let Some(rest) = octets.strip_prefix(b"\r\n").or(octets.strip_prefix(b"\n")) {
            octets = rest;
        }
        let (group, rest) =
            octets.split_at_checked(header_len(octets)).filter(|(group, _)| !group.is_empty())?;
        octets = rest;
        Some(Group(group))
    })
}

/// One group of fields.
#[derive(Clone, Copy)]
pub(super) struct Group<'a>(&'a [u8]);

impl<'a> Group<'a> {
    /// The values of all fields of that name, of the first [`FIELDS_MAX`] fields, unfolded.
    pub fn all(self, name: &'static str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let of_name = move |field: &Field<'_>| field.is(name);
        Fields::new(self.0).take(FIELDS_MAX).filter(of_name).map(|field| unfold(field.value))
    }

    /// The value of the first field of that name that is not empty, as text.
    pub fn text(self, name: &'static str) -> Option<String> {
        self.all(name).map(|value| text(&value)).find(|value| !value.is_empty())
    }

    /// The first word of the first field of that name, in lower case; a comment behind it counts for nothing.
    pub fn word(self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        let word = text.split([' ', '\t', '(', ';']).next().filter(|word| !word.is_empty())?;
        Some(word.to_ascii_lowercase())
    }

    /// Type and value of the first field of that name (RFC 3464 §2.1.2): `rfc822; a@b.test`. The type is in lower
    /// case, and empty where the field has none.
    pub fn typed(self, name: &'static str) -> Option<(String, String)> {
        let text = self.text(name)?;
        let (kind, value) = match text.split_once(';') {
            Some((kind, value)) if is_atom(kind.trim()) => (kind.trim(), value.trim()),
            _ => ("", text.as_str()),
        };
        (!value.is_empty()).then(|| (kind.to_ascii_lowercase(), String::from(value)))
    }

    /// The address of the first field of that name.
    pub fn address(self, name: &'static str) -> Option<String> {
        self.typed(name).and_then(|(kind, value)| address(&kind, &value))
    }
}

fn is_atom(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// An address as it is written in reports: with or without angle brackets and, of type `utf-8`, with characters as
/// `\x{...}` (RFC 6533 §3).
pub(super) fn address(kind: &str, value: &str) -> Option<String> {
    let value = value.strip_prefix('<').and_then(|v| v.split_once('>')).map_or(value, |(inner, _)| inner);
    let value = if kind == "utf-8" { unescaped(value) } else { String::from(value) };
    (value.contains('@') && !value.starts_with('@')).then_some(value)
}

/// With `\x{...}` as the characters they stand for; what cannot be read stays.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((front, escape)) = rest.split_once("\\x{") {
        out.push_str(front);
        let found = escape.split_once('}').filter(|(hex, _)| (2..=6).contains(&hex.len()));
        let found = found.and_then(|(hex, behind)| {
            Some((u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?, behind))
        });
        match found.filter(|(c, _)| !c.is_control()) {
            Some((c, behind)) => {
                out.push(c);
                rest = behind;
            }
            None => {
                out.push_str("\\x{");
                rest = escape;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The octets that an address stands for when it was left in xtext, as some servers leave it.
pub(super) fn out_of_xtext(address: &str) -> Option<String> {
    let octets = decode_xtext(address).filter(|_| address.contains('+'))?.collect();
    String::from_utf8(octets).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Octets as text on one line, without what could end a line or deceive a reader, of at most [`VALUE_MAX`] octets.
pub(super) fn text(octets: &[u8]) -> String {
    let octets = trim(octets);
    let text = clean(&to_utf8(b"utf-8", &octets[..octets.len().min(VALUE_MAX)]));
    let end = (0..=VALUE_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    String::from(text.get(..end).unwrap_or("").trim())
}
