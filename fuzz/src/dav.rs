//! WebDAV, CalDAV and CardDAV: requests, header fields, calendar objects, recurrence rules and vCards.

use protocol_dav::headers::{Head, IfHeader, RangeRequest, Ranges, TagList};
use protocol_dav::ical::{self, BusyPeriods, Zone};
use protocol_dav::itip::{self, Party, Terms};
use protocol_dav::object::{Component, decode};
use protocol_dav::path::Path;
use protocol_dav::plan::{BodyKind, Plan, plan};
use protocol_dav::recur::{Budget, Occurrences, Rule};
use protocol_dav::refusal::Refusal;
use protocol_dav::request::{CalendarDataRequest, CardVersion, TimeRange};
use protocol_dav::resource::Components;
use protocol_dav::{limits, time, vcard, xml};

const ME: &str = "a@h.example";

/// A request as text: its first line is method and target, then fields, an empty line and the body. However the
/// body is cut, the plan is the same; what is kept of it reads again, and every refusal is well-formed.
pub fn dav_request(data: &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]));
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let fields: Vec<(&str, &[u8])> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name, value.as_bytes())).collect();
    let head = Head { method, target, host: "h.example", fields: &fields, principal: ME };
    let whole = planned(&head, body, usize::MAX);
    assert_eq!(whole, planned(&head, body, 3));
    match whole {
        Ok(plan) => kept(&plan),
        Err(refusal) => {
            let response = refusal.response();
            let is_xml = response.headers.iter().any(|(_, value)| value.starts_with("application/xml"));
            assert!(!is_xml || xml::parse(&response.body).is_ok(), "{refusal:?}");
        }
    }
}

fn planned(head: &Head<'_>, body: &[u8], piece: usize) -> Result<Plan, Refusal> {
    let mut planner = plan(head)?;
    if matches!(planner.body(), BodyKind::Xml | BodyKind::None) {
        for octets in body.chunks(piece) {
            planner.feed(octets)?;
        }
    }
    planner.finish()
}

fn kept(plan: &Plan) {
    let properties = match plan {
        Plan::Make(make) => make.properties.iter().collect(),
        Plan::Proppatch(patch) => {
            let response = patch.response("/dav/x");
            assert!(response.body.is_empty() || xml::parse(&response.body).is_ok());
            patch.updates.iter().filter_map(|(_, value)| value.as_ref()).collect()
        }
        _ => Vec::new(),
    };
    for property in properties {
        assert!(property.fragment.len() <= limits::PROPERTY_MAX);
        let again = xml::parse(property.fragment.as_bytes()).expect("what is kept is read again");
        assert_eq!(again.name, property.name);
        assert_eq!(*again.to_fragment(), *property.fragment);
    }
}

/// Fields and paths: limits hold, and a path has one href, which names it.
pub fn dav_fields(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(header) = IfHeader::parse(text, "h.example") {
        assert!(header.lists.iter().all(|list| !list.conditions.is_empty()));
        assert!(header.tokens().count() <= limits::IF_CONDITIONS_MAX);
    }
    if let Ok(TagList::Tags(tags)) = TagList::parse(text) {
        assert!((1..=limits::ENTITY_TAGS_MAX).contains(&tags.len()));
    }
    if let Some(range) = RangeRequest::parse(Some(text), None)
        && let Ranges::Part { from, length } = range.of(1_000, "e")
    {
        assert!(length > 0 && from + length <= 1_000);
    }
    for line in text.lines() {
        if let Ok(path) = Path::parse(line, "h.example") {
            assert!(path.names().len() <= limits::SEGMENTS_MAX);
            assert!(path.names().iter().all(|name| !matches!(&**name, "" | "." | "..") && !name.contains('/')));
            for collection in [false, true] {
                assert_eq!(Path::parse(&path.href(collection), ""), Ok(path.clone()));
            }
        }
    }
}

/// Objects: what is stored reads the same again, and everything that is done with it ends and stays within bounds.
pub fn ical_object(data: &[u8]) {
    if let Some(text) = decode(data)
        && let Ok(objects) = Component::parse_all(&text, 4)
    {
        for object in objects {
            let written = object.to_string();
            let again = Component::parse(&written).expect("what is written is read");
            assert_eq!(again, object);
        }
    }
    let Ok(stored) = ical::check(data, Components::ALL) else { return };
    let object = ical::parse(&stored.text).expect("what is stored is read");
    let again = ical::check(stored.text.as_bytes(), Components::ALL).expect("what is stored may be stored");
    assert_eq!(again.index, stored.index);
    let range = TimeRange { start: Some(1_700_000_000), end: Some(1_800_000_000) };
    let request = CalendarDataRequest { expand: Some(range), ..CalendarDataRequest::default() };
    if let Ok(expanded) = ical::render(&request, &object, &Zone::Utc, &mut Budget::default()) {
        let expanded = ical::parse(&expanded).expect("an expansion is an object");
        assert!(expanded.components.len() <= object.components.len() + 3 * limits::INSTANCES_MAX);
    }
    let mut busy = BusyPeriods::new(range);
    if busy.add(&object, &Zone::Utc, Some("mailto:a@h.example"), &mut Budget::default()).is_ok() {
        assert!(busy.merged().iter().all(|(_, start, end)| start < end));
    }
    scheduled(&object);
}

/// An object of scheduling told to all, and what each of its messages makes of itself.
fn scheduled(object: &Component<'_>) {
    let terms = Terms { now: 1_750_000_000, reply: true };
    for me in [Party { addresses: &[ME] }, Party { addresses: &["b@h.example"] }] {
        let Ok(outgoing) = itip::on_change(None, Some(object), me, terms) else { continue };
        for message in outgoing.messages {
            let text = ical::parse(&message.text).expect("a message is an object");
            assert!(!message.mail().subject.contains(['\r', '\n']));
            let other = Party { addresses: &["b@h.example"] };
            let _ = itip::receive(&text, Some(object), other, &message.sender);
            let _ = itip::receive(&text, None, other, &message.sender);
        }
    }
}

/// A rule, a beginning and a window, one in each line: the window shows what the whole does, in order.
pub fn ical_recurrence(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let (Some(rule), Some(start), Some(from)) = (lines.next(), lines.next(), lines.next()) else { return };
    let (Ok(rule), Some((start, _)), Some((from, _))) =
        (Rule::parse(rule), time::read_date_time(start), time::read_date_time(from))
    else {
        return;
    };
    let take = |from: i64| {
        let mut budget = Budget::new(100_000, 100);
        let mut occurrences = Occurrences::new(&rule, start, from, i64::MAX);
        let mut times = Vec::new();
        while times.len() < 100 {
            match occurrences.next(&mut budget) {
                Ok(Some(time)) => times.push(time),
                Ok(None) => return (times, true),
                Err(_) => return (times, false),
            }
        }
        (times, false)
    };
    let (whole, _) = take(start);
    assert!(whole.windows(2).all(|pair| pair[0] < pair[1]) && whole.iter().all(|time| *time >= start));
    let (window, _) = take(from);
    assert!(window.iter().all(|time| *time >= from.max(start)));
    let expected = whole.iter().filter(|time| **time >= from);
    for (ours, theirs) in window.iter().zip(expected) {
        assert_eq!(ours, theirs);
    }
}

/// vCards: what is stored reads the same again, and is one in the other version too.
pub fn vcard_card(data: &[u8]) {
    let Ok(stored) = vcard::check(data) else { return };
    let card = vcard::parse(&stored.text).expect("what is stored is read");
    assert_eq!(vcard::parse(&card.to_string()), Ok(card.clone()));
    for version in [CardVersion::V3, CardVersion::V4] {
        let converted = vcard::convert(&card, version).to_string();
        let again = vcard::parse(&converted).expect("a converted card is a card");
        assert_eq!(vcard::version(&again), Some(version));
        assert_eq!(again.value("UID"), Some(&*stored.uid));
    }
}
