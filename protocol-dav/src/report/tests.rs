use protocol_core::Timestamp;

use super::*;
use crate::name::{Name, Namespace};
use crate::request::{ExpandProperty, ReportBody, Substring};

const ME: &str = "a@h.example";

fn viewer() -> Viewer<'static> {
    Viewer { principal: ME, now: Timestamp(0), zone: &Zone::Utc }
}

fn path(target: &str) -> Path {
    Path::parse(target, "").unwrap()
}

fn query(filter: &str, more: &str) -> CalendarQuery {
    let text = format!(
        "<C:calendar-query xmlns:C='urn:ietf:params:xml:ns:caldav'><C:filter><C:comp-filter name='VCALENDAR'>\
         {filter}</C:comp-filter></C:filter>{more}</C:calendar-query>"
    );
    match ReportBody::parse(&crate::xml::parse(text.as_bytes()).unwrap(), "").unwrap() {
        ReportBody::CalendarQuery(query) => query,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_index_rules_out_what_cannot_pass() {
    let week = query(
        "<C:comp-filter name='VEVENT'><C:time-range start='19700101T000100Z' end='19700101T000200Z'/></C:comp-filter>",
        "",
    );
    for (component, first, last, admitted) in [
        (Components::EVENT, Some(70), Some(80), true),
        (Components::EVENT, Some(0), None, true),
        (Components::EVENT, None, None, true),
        (Components::EVENT, Some(121), None, false),
        (Components::EVENT, Some(0), Some(59), false),
        (Components::TODO, Some(70), Some(80), false),
    ] {
        assert_eq!(week.admits(component, first, last), admitted, "{component:?} {first:?} {last:?}");
    }
    assert!(query("", "").admits(Components::TODO, Some(0), Some(1)));
    assert!(query("<C:comp-filter name='VTIMEZONE'/>", "").admits(Components::EVENT, Some(0), Some(1)));
}

#[test]
fn zones_of_queries() {
    assert!(matches!(query("", "").zone(), Ok(None)));
    assert!(matches!(
        query("", "<C:timezone-id>Europe/Berlin</C:timezone-id>").zone(),
        Ok(Some(Zone::Iana(_)))
    ));
    let refused = query("", "<C:timezone>nonsense</C:timezone>").zone().unwrap_err();
    assert_eq!(refused.condition, Some(Condition::ValidTimezone));
}

#[test]
fn what_cannot_be_read_does_not_pass() {
    assert_eq!(query("", "").passes("nonsense", &Zone::Utc), Ok(false));
    let text =
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART:20260101T000000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    assert_eq!(query("<C:comp-filter name='VEVENT'/>", "").passes(text, &Zone::Utc), Ok(true));
}

#[test]
fn multigets_stay_where_they_were_asked() {
    let calendar = path("/dav/cal/a@h.example/c/");
    let hrefs = [
        "/dav/cal/a@h.example/c/1.ics",
        "/dav/cal/a@h.example/d/1.ics",
        "/dav/cal/b@h.example/c/1.ics",
        "/dav/cal/a@h.example/c/",
        "nonsense",
    ];
    let hrefs = hrefs.iter().map(|href| ((*href).into(), Path::parse(href, "").ok())).collect();
    let multiget = Multiget { props: crate::props::PropSet::all(), hrefs };
    let found: Vec<bool> = multiget.targets(&calendar).map(|(_, path)| path.is_some()).collect();
    assert_eq!(found, [true, false, false, false, false]);
}

#[test]
fn principals_are_found_by_what_is_known_of_them() {
    let at = path("/dav/principals/a@h.example/");
    let principal = fixed(&at).unwrap();
    let search = |all: bool, searches: &[(&str, &str)]| PrincipalSearch {
        all,
        searches: searches
            .iter()
            .map(|(name, text)| Substring { properties: vec![Name::dav(name)], text: (*text).to_owned() })
            .collect(),
        props: crate::props::PropSet::all(),
        everywhere: true,
    };
    assert!(search(true, &[("displayname", "A@H")]).matches(&principal, viewer()));
    assert!(!search(true, &[("displayname", "a@h"), ("getetag", "x")]).matches(&principal, viewer()));
    assert!(search(false, &[("displayname", "a@h"), ("getetag", "x")]).matches(&principal, viewer()));
    let root = crate::xml::parse(&principal_search_properties().body).unwrap();
    assert_eq!(root.elements().count(), 3);
}

#[test]
fn expansion_of_properties() {
    let at = path("/dav/cal/a@h.example/c/");
    let resource = Resource::new(&at, Kind::Calendar);
    let leaf = |name: &str| ExpandProperty { name: Name::dav(name), properties: Vec::new() };
    let properties = [
        ExpandProperty {
            name: Name::dav("owner"),
            properties: vec![leaf("displayname"), leaf("principal-URL"), leaf("getetag")],
        },
        leaf("resourcetype"),
        leaf("getetag"),
    ];
    let text = expand(&properties, &resource, viewer());
    let root = crate::xml::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
    let outer = root.elements().next().unwrap();
    assert_eq!(outer.elements().filter(|e| e.is(&Namespace::Dav, "propstat")).count(), 3, "{text}");
    assert!(text.contains("<D:owner><D:response><D:href>/dav/principals/a@h.example/</D:href>"), "{text}");
    assert!(text.contains("<D:displayname>a@h.example</D:displayname>"), "{text}");
}

#[test]
fn fixed_places() {
    let members = |target: &str| -> Vec<String> {
        fixed_members(&path(target), ME).iter().map(|path| path.href(true)).collect()
    };
    assert_eq!(members("/dav/"), ["/dav/principals/", "/dav/cal/", "/dav/card/", "/dav/files/"]);
    assert_eq!(members("/dav/cal/"), ["/dav/cal/a@h.example/"]);
    assert_eq!(members("/dav/cal/a@h.example/"), ["/dav/cal/a@h.example/outbox/"]);
    assert_eq!(members("/dav/card/a@h.example/"), [] as [&str; 0]);
    assert!(fixed(&path("/dav/cal/a@h.example/c/")).is_none());
}

#[test]
fn free_and_busy_times_are_answered_as_an_object() {
    let range = TimeRange { start: Some(0), end: Some(86_400) };
    let response = free_busy_response(range, ical::BusyPeriods::new(range), 0);
    let text = String::from_utf8(response.body).unwrap();
    assert!(ical::parse(&text).unwrap().components[0].is("VFREEBUSY"));
    let index = |component, first, last| Index { uid: "1".into(), component, first, last, recurring: false };
    assert!(may_be_busy(&index(Components::EVENT, Some(0), Some(1)), range));
    assert!(!may_be_busy(&index(Components::EVENT, Some(86_400), None), range));
    assert!(!may_be_busy(&index(Components::TODO, Some(0), Some(1)), range));
}
