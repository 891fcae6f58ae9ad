//! Whether a vCard passes the filter of an addressbook-query (RFC 6352 §10.5).

use crate::ical::parameter_passes;
use crate::object::{Component, Property};
use crate::request::{CardFilter, CardPropertyFilter};

/// Whether a vCard passes.
pub fn matches(filter: &CardFilter, card: &Component<'_>) -> bool {
    let mut tests = filter.properties.iter().map(|property| property_passes(property, card));
    match filter.properties.is_empty() {
        true => true,
        false if filter.all => tests.all(|passed| passed),
        false => tests.any(|passed| passed),
    }
}

fn property_passes(filter: &CardPropertyFilter, card: &Component<'_>) -> bool {
    let in_group = |property: &&Property<'_>| match &filter.group {
        None => true,
        Some(group) => property.group().is_some_and(|own| own.eq_ignore_ascii_case(group)),
    };
    let mut candidates = card.all(&filter.name).filter(in_group).peekable();
    if filter.is_not_defined {
        return candidates.peek().is_none();
    }
    if filter.texts.is_empty() && filter.parameters.is_empty() {
        return candidates.peek().is_some();
    }
    candidates.any(|property| {
        let text = property.text();
        let texts = filter.texts.iter().map(|test| test.matches(&text));
        let mut tests = texts.chain(filter.parameters.iter().map(|test| parameter_passes(test, property)));
        if filter.all { tests.all(|passed| passed) } else { tests.any(|passed| passed) }
    })
}
