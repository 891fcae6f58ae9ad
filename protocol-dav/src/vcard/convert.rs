//! From one version of vCard to the other. What only one of them has is carried under the names that clients
//! already use for it; what neither knows goes along as it is.

use std::collections::HashSet;

use super::dates::{NO_YEAR, OMIT_YEAR, to_basic, to_extended};
use super::version;
use crate::limits;
use crate::object::{Component, Property, escape_text, split_structured, unescape_text};
use crate::request::CardVersion;

/// Names of what version 4.0 has and 3.0 has not, and the names it goes by there.
const RENAMED: [(&str, &str); 4] = [
    ("KIND", "X-ADDRESSBOOKSERVER-KIND"),
    ("MEMBER", "X-ADDRESSBOOKSERVER-MEMBER"),
    ("ANNIVERSARY", "X-ANNIVERSARY"),
    ("GENDER", "X-GENDER"),
];

/// Whether the value of a property can be octets, which the versions write differently. Of others, a UID for one,
/// a value that looks like octets is what it is.
fn is_binary(name: &str) -> bool {
    matches!(name, "PHOTO" | "LOGO" | "SOUND" | "KEY") || name.starts_with("X-")
}

/// The card in another version; in its own it stays as it is.
pub fn convert<'c>(card: &Component<'c>, to: CardVersion) -> Component<'c> {
    if version(card) == Some(to) {
        return card.clone();
    }
    match to {
        CardVersion::V4 => to_v4(card),
        CardVersion::V3 => to_v3(card),
    }
}

fn named(
    name: &str,
    property: &Property<'_>,
    parameters: &[(String, String)],
    value: &str,
) -> Property<'static> {
    let full = match property.group() {
        Some(group) => format!("{group}.{name}"),
        None => name.to_owned(),
    };
    let parameters = parameters.iter().take(limits::PARAMETERS_MAX);
    let parameters: Vec<(&str, &str)> = parameters.map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Property::new(&full, &parameters, value)
}

/// Types of one property that are carried over: each becomes a parameter.
const TYPES_MAX: usize = 16;

/// All values of TYPE, in lower case, whichever way they are written.
fn types(property: &Property<'_>) -> Vec<String> {
    let mut types = Vec::new();
    for parameter in property.parameters() {
        if parameter.is("TYPE") {
            for value in parameter.values() {
                types.extend(value.split(',').map(|one| one.trim().to_ascii_lowercase()));
            }
        } else if parameter.raw.is_none() {
            // `TEL;HOME:` of older cards.
            types.push(parameter.name.to_ascii_lowercase());
        }
    }
    let mut seen = HashSet::new();
    types.retain(|one| !one.is_empty() && seen.insert(one.clone()));
    types.truncate(TYPES_MAX);
    types
}

/// The parameters besides those of these names and those without a value.
fn others(property: &Property<'_>, without: &[&str]) -> Vec<(String, String)> {
    let kept = property.parameters().filter(|p| p.raw.is_some() && !without.iter().any(|name| p.is(name)));
    let joined = |p: crate::object::Parameter<'_>| p.values().collect::<Vec<_>>().join(",");
    kept.map(|p| (p.name.to_owned(), joined(p))).collect()
}

fn push_types(types: &[String], parameters: &mut Vec<(String, String)>) {
    parameters.extend(types.iter().map(|one| ("TYPE".to_owned(), one.clone())));
}

/// What a data URI needs to say of a binary value, by the name of its property.
fn media_type(name: &str, kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    if kind.contains('/') {
        return kind;
    }
    match (name.to_ascii_uppercase().as_str(), kind.as_str()) {
        ("KEY", "pgp") => "application/pgp-keys".to_owned(),
        ("KEY", "x509") => "application/pkix-cert".to_owned(),
        ("PHOTO" | "LOGO", "") => "image/jpeg".to_owned(),
        ("PHOTO" | "LOGO", kind) => format!("image/{kind}"),
        ("SOUND", "") => "audio/basic".to_owned(),
        ("SOUND", kind) => format!("audio/{kind}"),
        _ => "application/octet-stream".to_owned(),
    }
}

/// TYPE of version 3.0 for a media type.
fn short_type(media_type: &str) -> Option<String> {
    match media_type.to_ascii_lowercase().as_str() {
        "application/pgp-keys" => Some("PGP".to_owned()),
        "application/pkix-cert" => Some("X509".to_owned()),
        other => {
            let (main, sub) = other.split_once('/')?;
            matches!(main, "image" | "audio").then(|| sub.to_ascii_uppercase())
        }
    }
}

fn to_v4<'c>(card: &Component<'c>) -> Component<'c> {
    let mut out = Component::new("VCARD");
    out.properties.push(Property::new("VERSION", &[], "4.0"));
    let sort = card.property("SORT-STRING").map(|p| p.text().into_owned());
    for property in &card.properties {
        let name = property.name().to_ascii_uppercase();
        if matches!(name.as_str(), "VERSION" | "SORT-STRING" | "PROFILE") {
            continue;
        }
        if name == "N"
            && let Some(sort) = &sort
        {
            out.properties.push(property_to_v4(property, &name).with_parameter("SORT-AS", Some(sort)));
            continue;
        }
        out.properties.push(property_to_v4(property, &name));
    }
    out
}

fn property_to_v4(property: &Property<'_>, name: &str) -> Property<'static> {
    let mut types = types(property);
    let preferred = types.iter().any(|one| one == "pref");
    let mut parameters = others(property, &["TYPE", "ENCODING", "CHARSET"]);
    let encoding = property.parameter("ENCODING").unwrap_or_default().to_ascii_lowercase();
    let older = RENAMED.iter().find(|(_, old)| name == *old);
    let new_name = match (older, name) {
        (Some((new, _)), _) => new,
        (None, "X-EVOLUTION-ANNIVERSARY") => "ANNIVERSARY",
        (None, "LABEL") => "X-LABEL",
        (None, _) => property.name(),
    };
    let mut value = property.value().to_owned();
    match new_name.to_ascii_uppercase().as_str() {
        _ if is_binary(name) && (encoding == "b" || encoding == "base64") => {
            let kind = types.drain(..).find(|one| one != "pref").unwrap_or_default();
            let octets: String = value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            value = format!("data:{};base64,{octets}", media_type(name, &kind));
            parameters.retain(|(name, _)| !name.eq_ignore_ascii_case("VALUE"));
        }
        "EMAIL" => types.retain(|one| one != "internet"),
        "BDAY" | "ANNIVERSARY" if !property.has("VALUE", "text") => {
            let omitted = property.parameter(OMIT_YEAR);
            let omits = omitted.is_some_and(|year| value.starts_with(&*year));
            parameters.retain(|(name, _)| !name.eq_ignore_ascii_case(OMIT_YEAR));
            parameters.retain(|(name, _)| !name.eq_ignore_ascii_case("VALUE"));
            value = to_basic(value.trim(), omits);
        }
        "REV" => value = to_basic(value.trim(), false),
        "GEO" if !value.contains("geo:") => value = format!("geo:{}", value.replacen(';', ",", 1)),
        _ => {}
    }
    types.retain(|one| one != "pref");
    push_types(&types, &mut parameters);
    if preferred {
        parameters.push(("PREF".to_owned(), "1".to_owned()));
    }
    named(new_name, property, &parameters, &value)
}

/// Properties that version 3.0 has once at most.
const SINGLE: [&str; 12] =
    ["N", "FN", "BDAY", "ANNIVERSARY", "GENDER", "KIND", "REV", "UID", "PRODID", "NICKNAME", "TZ", "GEO"];

fn to_v3<'c>(card: &Component<'c>) -> Component<'c> {
    let mut out = Component::new("VCARD");
    out.properties.push(Property::new("VERSION", &[], "3.0"));
    let mut seen: Vec<String> = Vec::new();
    for property in &card.properties {
        let name = property.name().to_ascii_uppercase();
        // Of several, in other languages for example (ALTID), the first one stays.
        let repeated = SINGLE.contains(&name.as_str()) && seen.contains(&name);
        if name == "VERSION" || repeated {
            continue;
        }
        seen.push(name.clone());
        let preferred = is_most_preferred(property, card);
        property_to_v3(property, &name, preferred, &mut out);
    }
    if !seen.iter().any(|name| name == "N") {
        // Version 3.0 must have one (RFC 2426 §4); the formatted name is all there is.
        let full = card.property("FN").map_or(String::new(), |name| name.text().into_owned());
        out.properties.push(Property::new("N", &[], &format!("{};;;;", escape_text(&full))));
    }
    out
}

/// Whether it has the lowest PREF of its name (RFC 6350 §5.3).
fn is_most_preferred(property: &Property<'_>, card: &Component<'_>) -> bool {
    let rank = |p: &Property<'_>| p.parameter("PREF").and_then(|text| text.parse::<u8>().ok());
    match rank(property) {
        None => false,
        Some(own) => card.all(property.name()).filter_map(rank).all(|other| own <= other),
    }
}

fn property_to_v3(property: &Property<'_>, name: &str, preferred: bool, out: &mut Component<'_>) {
    let mut types = types(property);
    let without = ["TYPE", "PREF", "PID", "ALTID", "LABEL", "SORT-AS", "MEDIATYPE", "CALSCALE", "INDEX"];
    let mut parameters = others(property, &without);
    let mut new_name = RENAMED.iter().find(|(new, _)| name == *new).map_or(property.name(), |(_, old)| *old);
    let mut value = property.value().to_owned();
    match name {
        "TEL" if property.has("VALUE", "uri") || value.starts_with("tel:") => {
            parameters.retain(|(name, _)| !name.eq_ignore_ascii_case("VALUE"));
            value = value.strip_prefix("tel:").unwrap_or(&value).to_owned();
        }
        "BDAY" | "ANNIVERSARY" if !property.has("VALUE", "text") => {
            let (date, omits) = to_extended(value.trim());
            value = date;
            parameters.retain(|(name, _)| !name.eq_ignore_ascii_case("VALUE"));
            if omits {
                parameters.push((OMIT_YEAR.to_owned(), NO_YEAR.to_owned()));
            }
        }
        "GEO" => {
            if let Some(place) = value.strip_prefix("geo:") {
                value = place.split([';', '?']).next().unwrap_or(place).replacen(',', ";", 1);
            }
        }
        "X-LABEL" => new_name = "LABEL",
        "N" => {
            if let Some(sort) = property.parameter("SORT-AS") {
                out.properties.push(Property::new("SORT-STRING", &[], &escape_text(&sort)));
            }
            let parts = split_structured(&value).count();
            value.extend(std::iter::repeat_n(';', 5usize.saturating_sub(parts)));
        }
        "ADR" => {
            if let Some(label) = property.parameter("LABEL") {
                let mut parameters = Vec::new();
                push_types(&types, &mut parameters);
                out.properties.push(named("LABEL", property, &parameters, &escape_text(&label)));
            }
        }
        _ => {}
    }
    if let Some((media_type, octets)) = data_uri(&value).filter(|_| is_binary(name)) {
        parameters.retain(|(name, _)| !name.eq_ignore_ascii_case("VALUE"));
        parameters.push(("ENCODING".to_owned(), "b".to_owned()));
        types.extend(short_type(media_type));
        value = octets.to_owned();
    }
    if preferred {
        types.push("pref".to_owned());
    }
    push_types(&types, &mut parameters);
    out.properties.push(named(new_name, property, &parameters, &value));
}

/// The media type and the octets of a data URI in base64 (RFC 2397). In a text value its marks may be escaped.
fn data_uri(value: &str) -> Option<(&str, &str)> {
    let rest = value.strip_prefix("data:")?;
    let (head, octets) = rest.split_once(',')?;
    let head = head.strip_suffix('\\').unwrap_or(head);
    let media_type = head.strip_suffix(";base64")?.trim_end_matches('\\');
    let media_type = media_type.split(';').next().unwrap_or(media_type);
    matches!(unescape_text(octets), std::borrow::Cow::Borrowed(_)).then_some((media_type, octets))
}
