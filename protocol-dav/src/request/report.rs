//! REPORT bodies (RFC 3253 §3.6 and every RFC that adds one).

use super::filter::{CardFilter, ComponentFilter, TimeRange};
use super::propfind::PropSet;
use super::{bad, row_limit, within};
use crate::limits;
use crate::name::{Name, Namespace};
use crate::path::Path;
use crate::refusal::{Condition, Refusal};
use crate::resource::SyncToken;
use crate::xml::Element;

/// What a REPORT asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportBody {
    /// `CALDAV:calendar-query` (RFC 4791 §7.8).
    CalendarQuery(CalendarQuery),
    /// `CALDAV:calendar-multiget` (RFC 4791 §7.9).
    CalendarMultiget(Multiget),
    /// `CALDAV:free-busy-query` (RFC 4791 §7.10).
    FreeBusy(TimeRange),
    /// `CARDDAV:addressbook-query` (RFC 6352 §8.6).
    CardQuery(CardQuery),
    /// `CARDDAV:addressbook-multiget` (RFC 6352 §8.7).
    CardMultiget(Multiget),
    /// `DAV:sync-collection` (RFC 6578 §3.2).
    SyncCollection(SyncCollection),
    /// `DAV:expand-property` (RFC 3253 §3.8).
    ExpandProperty(Vec<ExpandProperty>),
    /// `DAV:principal-property-search` (RFC 3744 §9.4).
    PrincipalSearch(PrincipalSearch),
    /// `DAV:principal-search-property-set` (RFC 3744 §9.5).
    PrincipalSearchProperties,
    /// `DAV:acl-principal-prop-set` (RFC 3744 §9.2).
    AclPrincipals(PropSet),
    /// `DAV:principal-match` (RFC 3744 §9.3): of the principals below a place, the own.
    PrincipalMatch(PropSet),
}

/// `CALDAV:calendar-query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarQuery {
    /// What is answered of each object.
    pub props: PropSet,
    /// Which objects.
    pub filter: ComponentFilter,
    /// The zone of floating times, an iCalendar object with a VTIMEZONE.
    pub timezone: Option<Box<str>>,
    /// The zone of floating times, by its name (RFC 7809 §5.2).
    pub timezone_id: Option<Box<str>>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// `CARDDAV:addressbook-query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardQuery {
    /// What is answered of each card.
    pub props: PropSet,
    /// Which cards.
    pub filter: CardFilter,
    /// How many at most.
    pub limit: Option<usize>,
}

/// `CALDAV:calendar-multiget` or `CARDDAV:addressbook-multiget`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiget {
    /// What is answered of each.
    pub props: PropSet,
    /// Which: each href as it was sent, and the place it names, if any.
    pub hrefs: Vec<(Box<str>, Option<Path>)>,
}

/// `DAV:sync-collection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncCollection {
    /// Since when; none for all that is there.
    pub since: Option<SyncToken>,
    /// Whether deeper members are asked for.
    pub infinite: bool,
    /// How many rows at most.
    pub limit: Option<usize>,
    /// What is answered of each.
    pub props: PropSet,
}

/// `DAV:property` of `expand-property`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandProperty {
    /// Which.
    pub name: Name,
    /// What is answered of the resources that its value names.
    pub properties: Vec<ExpandProperty>,
}

/// `DAV:principal-property-search`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalSearch {
    /// Whether all must be found, or any (`test="anyof"`).
    pub all: bool,
    /// What is looked for.
    pub searches: Vec<Substring>,
    /// What is answered of each principal.
    pub props: PropSet,
    /// Whether the principals' own collections are searched, wherever the request went.
    pub everywhere: bool,
}

/// `DAV:property-search`: a text without letter case in any of these properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substring {
    /// In which.
    pub properties: Vec<Name>,
    /// What.
    pub text: String,
}

impl ReportBody {
    /// From the body of a REPORT.
    pub fn parse(root: &Element, host: &str) -> Result<ReportBody, Refusal> {
        Ok(match root.name.parts() {
            (Namespace::CalDav, "calendar-query") => ReportBody::CalendarQuery(calendar_query(root)?),
            (Namespace::CalDav, "calendar-multiget") => ReportBody::CalendarMultiget(multiget(root, host)?),
            (Namespace::CalDav, "free-busy-query") => {
                let range = root.child(&Namespace::CalDav, "time-range");
                ReportBody::FreeBusy(TimeRange::both(
                    range.ok_or_else(|| bad("free-busy has a time-range"))?,
                )?)
            }
            (Namespace::CardDav, "addressbook-query") => ReportBody::CardQuery(card_query(root)?),
            (Namespace::CardDav, "addressbook-multiget") => ReportBody::CardMultiget(multiget(root, host)?),
            (Namespace::Dav, "sync-collection") => ReportBody::SyncCollection(sync_collection(root)?),
            (Namespace::Dav, "expand-property") => {
                let mut left = limits::PROPERTIES_MAX;
                ReportBody::ExpandProperty(expand_properties(root, 0, &mut left)?)
            }
            (Namespace::Dav, "principal-property-search") => {
                ReportBody::PrincipalSearch(principal_search(root)?)
            }
            (Namespace::Dav, "principal-search-property-set") => ReportBody::PrincipalSearchProperties,
            (Namespace::Dav, "acl-principal-prop-set") => ReportBody::AclPrincipals(props(root)?),
            (Namespace::Dav, "principal-match") => ReportBody::PrincipalMatch(props(root)?),
            _ => return Err(Refusal::condition(Condition::SupportedReport, "this report is not known")),
        })
    }

    /// The properties that are answered, when the report has rows.
    pub fn props(&self) -> Option<&PropSet> {
        match self {
            ReportBody::CalendarQuery(query) => Some(&query.props),
            ReportBody::CardQuery(query) => Some(&query.props),
            ReportBody::CalendarMultiget(multiget) | ReportBody::CardMultiget(multiget) => {
                Some(&multiget.props)
            }
            ReportBody::SyncCollection(sync) => Some(&sync.props),
            ReportBody::PrincipalSearch(search) => Some(&search.props),
            ReportBody::AclPrincipals(props) | ReportBody::PrincipalMatch(props) => Some(props),
            ReportBody::FreeBusy(_) | ReportBody::ExpandProperty(_) => None,
            ReportBody::PrincipalSearchProperties => None,
        }
    }
}

/// Without any of the three nothing but the hrefs is asked for.
fn props(root: &Element) -> Result<PropSet, Refusal> {
    Ok(PropSet::among(root)?.unwrap_or(PropSet::Some(Vec::new())))
}

fn calendar_query(root: &Element) -> Result<CalendarQuery, Refusal> {
    let filter = root.child(&Namespace::CalDav, "filter");
    let filter =
        filter.ok_or_else(|| Refusal::condition(Condition::ValidFilter, "calendar-query has a filter"))?;
    let text = |local| root.child(&Namespace::CalDav, local).map(|e| e.raw_text().into_boxed_str());
    Ok(CalendarQuery {
        props: props(root)?,
        filter: ComponentFilter::parse_filter(filter)?,
        timezone: text("timezone"),
        timezone_id: text("timezone-id"),
        limit: row_limit(root.child(&Namespace::CalDav, "limit"))?,
    })
}

fn card_query(root: &Element) -> Result<CardQuery, Refusal> {
    let filter = root.child(&Namespace::CardDav, "filter");
    let filter = filter.ok_or_else(|| bad("addressbook-query has a filter"))?;
    Ok(CardQuery {
        props: props(root)?,
        filter: CardFilter::parse(filter)?,
        limit: row_limit(root.child(&Namespace::CardDav, "limit"))?,
    })
}

fn multiget(root: &Element, host: &str) -> Result<Multiget, Refusal> {
    let mut hrefs = Vec::new();
    for element in root.elements().filter(|e| e.is(&Namespace::Dav, "href")) {
        if hrefs.len() == limits::MULTIGET_MAX {
            let condition = Condition::NumberOfMatchesWithinLimits;
            return Err(Refusal::condition(condition, "too many hrefs are asked for at once"));
        }
        let href = element.text();
        let path = Path::parse(&href, host).ok();
        hrefs.push((href.into_boxed_str(), path));
    }
    if hrefs.is_empty() {
        return Err(bad("a multiget names something"));
    }
    Ok(Multiget { props: props(root)?, hrefs })
}

fn sync_collection(root: &Element) -> Result<SyncCollection, Refusal> {
    let token = root.child(&Namespace::Dav, "sync-token").ok_or_else(|| bad("a sync-token is missing"))?;
    let token = token.text();
    let since = match token.as_str() {
        "" => None,
        token => Some(SyncToken::parse(token).ok_or_else(|| {
            Refusal::condition(Condition::ValidSyncToken, "the sync-token is not one of this server")
        })?),
    };
    let infinite = match root.child(&Namespace::Dav, "sync-level").map(Element::text).as_deref() {
        // Clients of the drafts sent no level and meant one.
        None | Some("1") => false,
        Some("infinite" | "infinity") => true,
        Some(_) => return Err(bad("a sync-level is 1 or infinite")),
    };
    let limit = row_limit(root.child(&Namespace::Dav, "limit"))?;
    Ok(SyncCollection { since, infinite, limit, props: props(root)? })
}

fn expand_properties(root: &Element, depth: usize, left: &mut usize) -> Result<Vec<ExpandProperty>, Refusal> {
    let mut properties = Vec::new();
    for element in root.elements().filter(|e| e.is(&Namespace::Dav, "property")) {
        within(1, *left)?;
        within(depth + 1, limits::EXPAND_DEPTH_MAX)?;
        *left -= 1;
        let local = element.attribute("name").ok_or_else(|| bad("a property has a name"))?;
        let namespace = element.attribute("namespace").map_or(Namespace::Dav, Namespace::of);
        let properties_within = expand_properties(element, depth + 1, left)?;
        properties.push(ExpandProperty { name: Name::new(namespace, local), properties: properties_within });
    }
    Ok(properties)
}

fn principal_search(root: &Element) -> Result<PrincipalSearch, Refusal> {
    let mut searches = Vec::new();
    for search in root.elements().filter(|e| e.is(&Namespace::Dav, "property-search")) {
        within(searches.len() + 1, limits::FILTERS_MAX)?;
        let prop = search.child(&Namespace::Dav, "prop").ok_or_else(|| bad("a search has properties"))?;
        let text = search.child(&Namespace::Dav, "match").ok_or_else(|| bad("a search has a match"))?.text();
        searches.push(Substring { properties: prop.elements().map(|e| e.name.clone()).collect(), text });
    }
    if searches.is_empty() {
        return Err(bad("a search looks for something"));
    }
    // `allof` unless it says otherwise; the attribute is Apple's, and in RFC 3744 all must match.
    let all = root.attribute("test") != Some("anyof");
    let everywhere = root.child(&Namespace::Dav, "apply-to-principal-collection-set").is_some();
    Ok(PrincipalSearch { all, searches, props: props(root)?, everywhere })
}
