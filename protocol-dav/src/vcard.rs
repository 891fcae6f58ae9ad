//! vCard (RFC 2426, RFC 6350) as CardDAV needs it: what may be stored, whether it passes a filter, and how it is
//! answered in the version that was asked for.

mod convert;
mod dates;
mod filter;

#[cfg(test)]
mod tests;

pub use convert::convert;
pub use filter::matches;

use crate::limits;
use crate::object::{Component, ObjectFault, decode};
use crate::refusal::{Condition, Refusal};
use crate::request::{CardDataRequest, CardVersion};

/// A vCard that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCard {
    /// The text to keep; what was sent, octet for octet, unless [`StoredCard::altered`].
    pub text: String,
    /// Whether the text is not what was sent, so that no entity tag is answered (RFC 9110 §9.3.4).
    pub altered: bool,
    /// Its UID.
    pub uid: Box<str>,
    /// Its version.
    pub version: CardVersion,
    /// Whether it is a group of others.
    pub is_group: bool,
}

/// Reads one vCard. Whether it may be stored is another question: [`check`].
pub fn parse(text: &str) -> Result<Component<'_>, ObjectFault> {
    let card = Component::parse(text)?;
    if card.is("VCARD") { Ok(card) } else { Err(ObjectFault::Malformed) }
}

/// The cards of a file, each of which may then be checked.
pub fn split(text: &str) -> Result<Vec<Component<'_>>, ObjectFault> {
    let cards = Component::parse_file(text)?;
    if cards.iter().all(|card| card.is("VCARD")) { Ok(cards) } else { Err(ObjectFault::Malformed) }
}

/// The version that a vCard says it is in; none for others than 3.0 and 4.0.
pub fn version(card: &Component<'_>) -> Option<CardVersion> {
    match card.value("VERSION") {
        Some("3.0") => Some(CardVersion::V3),
        Some("4.0") => Some(CardVersion::V4),
        _ => None,
    }
}

/// Checks a vCard that was sent (RFC 6352 §5.1, §6.3.2.1).
pub fn check(octets: &[u8]) -> Result<StoredCard, Refusal> {
    let invalid = |reason| Refusal::condition(Condition::ValidAddressData, reason);
    if octets.len() > limits::CARD_MAX {
        return Err(Refusal::condition(Condition::CardMaxResourceSize, "the vCard is too large"));
    }
    let text = decode(octets).ok_or_else(|| invalid("the vCard is not UTF-8"))?;
    let card = parse(&text).map_err(|fault| match fault {
        ObjectFault::TooLarge => invalid("the vCard has too many parts"),
        ObjectFault::Malformed => invalid("this is not one vCard"),
    })?;
    let version = version(&card).ok_or_else(|| {
        Refusal::condition(Condition::SupportedAddressData, "vCards are kept in version 3.0 and 4.0")
    })?;
    if !card.components.is_empty() || card.all("VERSION").count() > 1 || card.all("UID").count() > 1 {
        return Err(invalid("this is not one vCard"));
    }
    let uid = card.value("UID").filter(|uid| !uid.is_empty() && uid.len() <= limits::UID_MAX);
    let uid = uid.ok_or_else(|| invalid("a vCard has a UID"))?.into();
    if card.property("FN").is_none() {
        return Err(invalid("a vCard has a formatted name"));
    }
    let kind = card.value("KIND").or(card.value("X-ADDRESSBOOKSERVER-KIND"));
    let is_group = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("group"));
    let altered = text.len() != octets.len();
    Ok(StoredCard { uid, version, is_group, altered, text: text.into_owned() })
}

/// Writes what of a vCard was asked for (RFC 6352 §10.4).
pub fn render(request: &CardDataRequest, card: &Component<'_>) -> String {
    let mut card = match request.version {
        Some(version) => convert(card, version),
        None => card.clone(),
    };
    if let Some(wanted) = &request.properties {
        card.properties = crate::ical::select_properties(&card.properties, wanted);
    }
    card.to_string()
}
