//! Filters of `CALDAV:calendar-query` (RFC 4791 §9.7) and `CARDDAV:addressbook-query` (RFC 6352 §10.5).

use super::{bad, within};
use crate::limits;
use crate::name::Namespace;
use crate::refusal::{Condition, Refusal};
use crate::time::utc;
use crate::xml::Element;

/// A range of time, in seconds since the epoch; the end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// Its beginning; without one it reaches back for ever.
    pub start: Option<i64>,
    /// Its end; without one it goes on for ever.
    pub end: Option<i64>,
}

impl TimeRange {
    /// With both ends, as a half-open range of seconds.
    pub fn bounds(self) -> (i64, i64) {
        (self.start.unwrap_or(i64::MIN), self.end.unwrap_or(i64::MAX))
    }

    /// Whether `[start, end)` has anything in common with it.
    pub fn meets(self, start: i64, end: i64) -> bool {
        let (own_start, own_end) = self.bounds();
        start < own_end && end > own_start
    }

    /// From `start` and `end`, of which at least one is there.
    pub(super) fn parse(element: &Element) -> Result<TimeRange, Refusal> {
        let read = |attribute| match element.attribute(attribute) {
            None => Ok(None),
            Some(text) => utc(text).map(Some).ok_or_else(|| valid("a time is written 20260102T030405Z")),
        };
        let range = TimeRange { start: read("start")?, end: read("end")? };
        match (range.start, range.end) {
            (None, None) => Err(valid("a time-range has a start or an end")),
            (Some(start), Some(end)) if start >= end => Err(valid("a range ends after its start")),
            _ => Ok(range),
        }
    }

    /// As [`TimeRange::parse`], where both must be there.
    pub(super) fn both(element: &Element) -> Result<TimeRange, Refusal> {
        match TimeRange::parse(element)? {
            range if range.start.is_some() && range.end.is_some() => Ok(range),
            _ => Err(valid("this range has a start and an end")),
        }
    }
}

/// How text is compared (RFC 4790).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collation {
    /// `i;octet`.
    Octet,
    /// `i;ascii-casemap`.
    AsciiCasemap,
    /// `i;unicode-casemap` (RFC 5051).
    UnicodeCasemap,
}

impl Collation {
    /// Every one, by its name.
    pub const ALL: [(&'static str, Collation); 3] = [
        ("i;ascii-casemap", Collation::AsciiCasemap),
        ("i;octet", Collation::Octet),
        ("i;unicode-casemap", Collation::UnicodeCasemap),
    ];

    /// The form in which two texts are equal when the collation takes them for equal.
    pub fn key(self, text: &str) -> String {
        match self {
            Collation::Octet => text.to_owned(),
            Collation::AsciiCasemap => text.to_ascii_lowercase(),
            // Upper case first joins what lower case alone keeps apart (a final sigma, for one).
            Collation::UnicodeCasemap => text.to_uppercase().to_lowercase(),
        }
    }
}

/// Where a text must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    /// Anywhere.
    Contains,
    /// It is all there is.
    Equals,
    /// At the beginning.
    StartsWith,
    /// At the end.
    EndsWith,
}

/// `text-match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextMatch {
    key: String,
    collation: Collation,
    kind: MatchKind,
    negate: bool,
}

impl TextMatch {
    /// Of this text.
    pub fn new(text: &str, collation: Collation, kind: MatchKind, negate: bool) -> TextMatch {
        TextMatch { key: collation.key(text), collation, kind, negate }
    }

    fn parse(element: &Element, default: Collation, unknown: Condition) -> Result<TextMatch, Refusal> {
        let collation = match element.attribute("collation") {
            None | Some("default") => default,
            Some(name) => {
                let found = Collation::ALL.iter().find(|(known, _)| *known == name);
                found.ok_or_else(|| Refusal::condition(unknown, "this collation is not known"))?.1
            }
        };
        let kind = match element.attribute("match-type") {
            None | Some("contains") => MatchKind::Contains,
            Some("equals") => MatchKind::Equals,
            Some("starts-with") => MatchKind::StartsWith,
            Some("ends-with") => MatchKind::EndsWith,
            Some(_) => return Err(valid("this match-type is not known")),
        };
        let negate = super::yes(element, "negate-condition", false)?;
        Ok(TextMatch::new(&element.raw_text(), collation, kind, negate))
    }

    /// Whether it is negated: then the values of a property must all be without it.
    pub fn is_negated(&self) -> bool {
        self.negate
    }

    /// Whether a value satisfies it.
    pub fn matches(&self, value: &str) -> bool {
        let value = self.collation.key(value);
        let found = match self.kind {
            MatchKind::Contains => value.contains(&self.key),
            MatchKind::Equals => value == self.key,
            MatchKind::StartsWith => value.starts_with(&self.key),
            MatchKind::EndsWith => value.ends_with(&self.key),
        };
        found != self.negate
    }
}

/// `comp-filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentFilter {
    /// The component's name in upper case.
    pub name: Box<str>,
    /// What must be so with it.
    pub test: ComponentTest,
}

/// What a `comp-filter` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentTest {
    /// There is no such component.
    IsNotDefined,
    /// There is one that passes all of these.
    Passes {
        /// It has an instance in this range.
        time_range: Option<TimeRange>,
        /// Its properties.
        properties: Vec<PropertyFilter>,
        /// The components in it.
        components: Vec<ComponentFilter>,
    },
}

/// `prop-filter` of CalDAV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyFilter {
    /// The property's name in upper case.
    pub name: Box<str>,
    /// What must be so with it.
    pub test: PropertyTest,
}

/// What a `prop-filter` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyTest {
    /// There is no such property.
    IsNotDefined,
    /// There is one that passes all of these.
    Passes {
        /// Its time is in this range.
        time_range: Option<TimeRange>,
        /// Its text.
        text: Option<TextMatch>,
        /// Its parameters.
        parameters: Vec<ParameterFilter>,
    },
}

/// `param-filter` of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterFilter {
    /// The parameter's name in upper case.
    pub name: Box<str>,
    /// Whether there must be none.
    pub is_not_defined: bool,
    /// What its text must be.
    pub text: Option<TextMatch>,
}

/// `filter` of CardDAV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardFilter {
    /// Whether all must pass, or any.
    pub all: bool,
    /// The filters; none lets every card pass.
    pub properties: Vec<CardPropertyFilter>,
}

/// `prop-filter` of CardDAV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardPropertyFilter {
    /// The property's name in upper case, without its group.
    pub name: Box<str>,
    /// The group in upper case, when the filter names one.
    pub group: Option<Box<str>>,
    /// Whether there must be none.
    pub is_not_defined: bool,
    /// Whether all of what follows must pass, or any.
    pub all: bool,
    /// Its text.
    pub texts: Vec<TextMatch>,
    /// Its parameters.
    pub parameters: Vec<ParameterFilter>,
}

fn valid(reason: &'static str) -> Refusal {
    Refusal::condition(Condition::ValidFilter, reason)
}

/// Counts filters, of all kinds together.
struct Budget(usize);

impl Budget {
    fn take(&mut self) -> Result<(), Refusal> {
        self.0 += 1;
        within(self.0, limits::FILTERS_MAX)
    }
}

impl ComponentFilter {
    /// From `CALDAV:filter`, whose one child is about VCALENDAR.
    pub(super) fn parse_filter(element: &Element) -> Result<ComponentFilter, Refusal> {
        let mut budget = Budget(0);
        let mut filters = element.elements();
        let filter = match (filters.next(), filters.next()) {
            (Some(only), None) if only.is(&Namespace::CalDav, "comp-filter") => {
                ComponentFilter::parse(only, &mut budget)?
            }
            _ => return Err(valid("a filter holds one comp-filter")),
        };
        if &*filter.name != "VCALENDAR" {
            return Err(valid("the outermost comp-filter is about VCALENDAR"));
        }
        match &filter.test {
            ComponentTest::Passes { time_range: None, .. } => Ok(filter),
            _ => Err(valid("VCALENDAR is always there and has no time")),
        }
    }

    fn parse(element: &Element, budget: &mut Budget) -> Result<ComponentFilter, Refusal> {
        budget.take()?;
        let name = named(element, valid)?;
        let (mut time_range, mut properties, mut components) = (None, Vec::new(), Vec::new());
        for child in children(element, &Namespace::CalDav)? {
            match &*child.name.local {
                "is-not-defined" => {
                    alone(element)?;
                    return Ok(ComponentFilter { name, test: ComponentTest::IsNotDefined });
                }
                "time-range" => time_range = Some(TimeRange::parse(child)?),
                "prop-filter" => properties.push(PropertyFilter::parse(child, budget)?),
                "comp-filter" => components.push(ComponentFilter::parse(child, budget)?),
                _ => return Err(unsupported(Condition::SupportedFilter)),
            }
        }
        if time_range.is_some() && !has_times(&name) {
            return Err(valid("this component has no time"));
        }
        Ok(ComponentFilter { name, test: ComponentTest::Passes { time_range, properties, components } })
    }

    /// The name of the one component type that an object must have to pass and the range in which it must have
    /// an instance, for storage to choose rows by. What passes this may still fail the filter.
    pub fn hint(&self) -> (Option<&str>, Option<TimeRange>) {
        let ComponentTest::Passes { components, .. } = &self.test else { return (None, None) };
        for inner in components {
            if let ComponentTest::Passes { time_range, .. } = &inner.test {
                return (Some(&inner.name), *time_range);
            }
        }
        (None, None)
    }
}

fn has_times(component: &str) -> bool {
    matches!(component, "VEVENT" | "VTODO" | "VJOURNAL" | "VFREEBUSY" | "VALARM" | "VAVAILABILITY")
}

impl PropertyFilter {
    fn parse(element: &Element, budget: &mut Budget) -> Result<PropertyFilter, Refusal> {
        budget.take()?;
        let name = named(element, valid)?;
        let (mut time_range, mut text, mut parameters) = (None, None, Vec::new());
        for child in children(element, &Namespace::CalDav)? {
            match &*child.name.local {
                "is-not-defined" => {
                    alone(element)?;
                    return Ok(PropertyFilter { name, test: PropertyTest::IsNotDefined });
                }
                "time-range" => time_range = Some(TimeRange::parse(child)?),
                "text-match" => {
                    budget.take()?;
                    let default = Collation::AsciiCasemap;
                    text = Some(TextMatch::parse(child, default, Condition::SupportedCollation)?);
                }
                "param-filter" => {
                    let default = (Collation::AsciiCasemap, Condition::SupportedCollation);
                    parameters.push(ParameterFilter::parse(child, &Namespace::CalDav, default, budget)?);
                }
                _ => return Err(unsupported(Condition::SupportedFilter)),
            }
        }
        if time_range.is_some() && text.is_some() {
            return Err(valid("a prop-filter is about a time or about text"));
        }
        Ok(PropertyFilter { name, test: PropertyTest::Passes { time_range, text, parameters } })
    }
}

impl ParameterFilter {
    fn parse(
        element: &Element,
        namespace: &Namespace,
        (collation, unknown): (Collation, Condition),
        budget: &mut Budget,
    ) -> Result<ParameterFilter, Refusal> {
        budget.take()?;
        let mut filter = ParameterFilter { name: named(element, valid)?, is_not_defined: false, text: None };
        for child in children(element, namespace)? {
            match &*child.name.local {
                "is-not-defined" => {
                    alone(element)?;
                    filter.is_not_defined = true;
                }
                "text-match" => {
                    budget.take()?;
                    filter.text = Some(TextMatch::parse(child, collation, unknown)?);
                }
                _ => return Err(valid("this is no part of a param-filter")),
            }
        }
        Ok(filter)
    }
}

impl CardFilter {
    /// From `CARDDAV:filter`.
    pub(super) fn parse(element: &Element) -> Result<CardFilter, Refusal> {
        let mut budget = Budget(0);
        let mut properties = Vec::new();
        for child in children(element, &Namespace::CardDav)? {
            if &*child.name.local != "prop-filter" {
                return Err(unsupported(Condition::CardSupportedFilter));
            }
            properties.push(CardPropertyFilter::parse(child, &mut budget)?);
        }
        Ok(CardFilter { all: all_of(element)?, properties })
    }
}

impl CardPropertyFilter {
    fn parse(element: &Element, budget: &mut Budget) -> Result<CardPropertyFilter, Refusal> {
        budget.take()?;
        let full = named(element, card_filter)?;
        let (group, name) = match full.split_once('.') {
            Some((group, name)) => (Some(group.into()), name.into()),
            None => (None, full),
        };
        let all = all_of(element)?;
        let (is_not_defined, texts, parameters) = (false, Vec::new(), Vec::new());
        let mut filter = CardPropertyFilter { name, group, is_not_defined, all, texts, parameters };
        let default = (Collation::UnicodeCasemap, Condition::CardSupportedCollation);
        for child in children(element, &Namespace::CardDav)? {
            match &*child.name.local {
                "is-not-defined" => {
                    alone(element)?;
                    filter.is_not_defined = true;
                }
                "text-match" => {
                    budget.take()?;
                    filter.texts.push(TextMatch::parse(child, default.0, default.1)?);
                }
                "param-filter" => {
                    let parameter = ParameterFilter::parse(child, &Namespace::CardDav, default, budget)?;
                    filter.parameters.push(parameter);
                }
                _ => return Err(unsupported(Condition::CardSupportedFilter)),
            }
        }
        Ok(filter)
    }
}

fn card_filter(reason: &'static str) -> Refusal {
    Refusal::condition(Condition::CardSupportedFilter, reason)
}

fn unsupported(condition: Condition) -> Refusal {
    Refusal::condition(condition, "this filter is not known")
}

/// `test`: `anyof` unless it says `allof` (RFC 6352 §10.5, §10.5.1).
fn all_of(element: &Element) -> Result<bool, Refusal> {
    match element.attribute("test") {
        None | Some("anyof") => Ok(false),
        Some("allof") => Ok(true),
        Some(_) => Err(bad("a test is anyof or allof")),
    }
}

fn named(element: &Element, fault: fn(&'static str) -> Refusal) -> Result<Box<str>, Refusal> {
    let name = element.attribute("name").filter(|name| !name.is_empty());
    Ok(name.ok_or_else(|| fault("a filter has a name"))?.to_ascii_uppercase().into())
}

/// The elements within a filter, which are all of its own namespace.
fn children<'e>(
    element: &'e Element,
    namespace: &Namespace,
) -> Result<impl Iterator<Item = &'e Element> + use<'e>, Refusal> {
    if element.elements().any(|e| e.name.namespace != *namespace) {
        let card = *namespace == Namespace::CardDav;
        return Err(unsupported(if card {
            Condition::CardSupportedFilter
        } else {
            Condition::SupportedFilter
        }));
    }
    Ok(element.elements())
}

fn alone(element: &Element) -> Result<(), Refusal> {
    if element.elements().count() == 1 { Ok(()) } else { Err(valid("is-not-defined stands alone")) }
}
