use super::*;
use crate::lock::LockRequest;
use crate::multistatus::Multistatus;
use crate::path::Path;
use crate::resource::{Access, Components, DeadProperty, Kind, Quota, Sharee, Sharing, SyncToken};
use crate::xml::{Element, parse};

const ME: &str = "a@h.example";

fn viewer() -> Viewer<'static> {
    Viewer { principal: ME, now: Timestamp(0), zone: &Zone::Utc }
}

fn path(target: &str) -> Path {
    Path::parse(target, "").unwrap()
}

fn some(names: &[(Namespace, &str)]) -> PropSet {
    let request = |(namespace, local): &(Namespace, &str)| PropertyRequest {
        name: Name::new(namespace.clone(), local),
        data: None,
    };
    PropSet::Some(names.iter().map(request).collect())
}

/// The `response` element of one row.
fn row(set: &PropSet, resource: &Resource<'_>, minimal: bool) -> Element {
    let mut out = String::new();
    let mut multistatus = Multistatus::begin(set, viewer(), minimal, &mut out);
    multistatus.row(resource, &mut out);
    multistatus.finish(None, None, &mut out);
    let root = parse(out.as_bytes()).unwrap_or_else(|e| panic!("{e}: {out}"));
    root.child(&Namespace::Dav, "response").expect("a response").clone()
}

/// The properties with this status, in order.
fn with_status(response: &Element, status: &str) -> Vec<Element> {
    let propstats = response.elements().filter(|e| e.is(&Namespace::Dav, "propstat"));
    let matching = propstats.filter(|p| p.child(&Namespace::Dav, "status").unwrap().text().contains(status));
    matching.flat_map(|p| p.child(&Namespace::Dav, "prop").unwrap().elements().cloned()).collect()
}

#[test]
fn what_a_client_asks_first() {
    let principal = path("/dav/principals/a@h.example/");
    let resource = Resource::new(&principal, Kind::Principal);
    let set = some(&[
        (Namespace::Dav, "current-user-principal"),
        (Namespace::Dav, "displayname"),
        (Namespace::CalDav, "calendar-home-set"),
        (Namespace::CardDav, "addressbook-home-set"),
        (Namespace::CalDav, "calendar-user-address-set"),
        (Namespace::CalDav, "schedule-inbox-URL"),
        (Namespace::CalDav, "schedule-outbox-URL"),
        (Namespace::Dav, "getetag"),
        (Namespace::Other("urn:x".into()), "y"),
    ]);
    let response = row(&set, &resource, false);
    let found = with_status(&response, "200");
    let hrefs: Vec<Vec<String>> =
        found.iter().map(|p| p.elements().map(Element::text).collect::<Vec<_>>()).collect();
    assert_eq!(
        hrefs,
        [
            vec!["/dav/principals/a@h.example/"],
            vec![],
            vec!["/dav/cal/a@h.example/"],
            vec!["/dav/card/a@h.example/"],
            vec!["mailto:a@h.example", "/dav/principals/a@h.example/"],
            vec!["/dav/cal/a@h.example/inbox/"],
            vec!["/dav/cal/a@h.example/outbox/"],
        ]
    );
    assert_eq!(found[1].text(), ME);
    let missing = with_status(&response, "404");
    assert_eq!(missing.len(), 2);
    assert!(missing[1].is(&Namespace::Other("urn:x".into()), "y"));
    assert_eq!(with_status(&row(&set, &resource, true), "404"), []);
}

#[test]
fn a_calendar() {
    let at = path("/dav/cal/a@h.example/default/");
    let name = Name::dav("displayname");
    let dead =
        [DeadProperty { name, fragment: "<D:displayname xmlns:D=\"DAV:\">Mine</D:displayname>".into() }];
    let resource = Resource {
        components: Components::EVENT.with(Components::TODO),
        sync: Some(SyncToken { collection: 1, change: 2 }),
        quota: Some(Quota { used: 3, available: 4 }),
        dead: &dead,
        ..Resource::new(&at, Kind::Calendar)
    };
    let set = some(&[
        (Namespace::Dav, "displayname"),
        (Namespace::Dav, "resourcetype"),
        (Namespace::Dav, "sync-token"),
        (Namespace::CalendarServer, "getctag"),
        (Namespace::CalDav, "supported-calendar-component-set"),
        (Namespace::Dav, "quota-used-bytes"),
        (Namespace::CalDav, "schedule-calendar-transp"),
        (Namespace::Dav, "supported-report-set"),
        (Namespace::Dav, "current-user-privilege-set"),
    ]);
    let response = row(&set, &resource, false);
    assert_eq!(response.child(&Namespace::Dav, "href").unwrap().text(), "/dav/cal/a@h.example/default/");
    let found = with_status(&response, "200");
    assert_eq!(found.len(), 9);
    assert_eq!(found[0].text(), "Mine");
    assert!(found[1].child(&Namespace::CalDav, "calendar").is_some());
    assert_eq!(SyncToken::parse(&found[2].text()), resource.sync);
    assert_eq!(found[3].text(), found[2].text());
    let components: Vec<_> = found[4].elements().map(|e| e.attribute("name").unwrap()).collect();
    assert_eq!(components, ["VEVENT", "VTODO"]);
    assert_eq!(found[5].text(), "3");
    assert!(found[6].child(&Namespace::CalDav, "opaque").is_some());
    assert_eq!(found[7].elements().count(), 9);
}

#[test]
fn allprop_and_propname() {
    let at = path("/dav/files/a@h.example/x");
    let name = Name::new(Namespace::Other("urn:x".into()), "y");
    let dead = [DeadProperty { name, fragment: "<y xmlns=\"urn:x\"><z/></y>".into() }];
    let request = LockRequest {
        path: at.clone(),
        infinite: false,
        exclusive: true,
        owner: None,
        principal: ME.into(),
        timeout_secs: 60,
    };
    let locks = [request.grant("urn:uuid:1", &[], 0, Timestamp(0)).unwrap()];
    let resource = Resource {
        etag: Some("e"),
        length: 5,
        content_type: "text/plain",
        locks: &locks,
        dead: &dead,
        quota: Some(Quota { used: 3, available: 4 }),
        ..Resource::new(&at, Kind::File)
    };
    let include = vec![PropertyRequest { name: Name::dav("quota-used-bytes"), data: None }];
    let response = row(&PropSet::All { include }, &resource, false);
    let found = with_status(&response, "200");
    let names: Vec<_> = found.iter().map(|e| e.name.local.to_string()).collect();
    assert_eq!(
        names,
        [
            "creationdate",
            "getcontentlength",
            "getcontenttype",
            "getetag",
            "getlastmodified",
            "lockdiscovery",
            "resourcetype",
            "supportedlock",
            "y",
            "quota-used-bytes"
        ]
    );
    assert!(found[8].child(&Namespace::Other("urn:x".into()), "z").is_some());
    let named = with_status(&row(&PropSet::Names, &resource, false), "200");
    assert!(named.iter().all(|e| e.children.is_empty()));
    assert!(named.iter().any(|e| e.is(&Namespace::Dav, "owner")));
    assert!(named.iter().any(|e| &*e.name.local == "y"));
}

/// Every property of every kind of resource is well-formed, and is found under its own name.
#[test]
fn every_value_is_well_formed() {
    let kinds = [
        (Kind::Above, "/dav/"),
        (Kind::Principal, "/dav/principals/a@h.example/"),
        (Kind::Home, "/dav/cal/a@h.example/"),
        (Kind::Calendar, "/dav/cal/a@h.example/c/"),
        (Kind::Book, "/dav/card/a@h.example/b/"),
        (Kind::ScheduleInbox, "/dav/cal/a@h.example/inbox/"),
        (Kind::ScheduleOutbox, "/dav/cal/a@h.example/outbox/"),
        (Kind::Folder, "/dav/files/a@h.example/x%26y/"),
        (Kind::File, "/dav/files/a@h.example/x%26y"),
        (Kind::CalendarObject, "/dav/cal/a@h.example/c/x.ics"),
        (Kind::Card, "/dav/card/a@h.example/b/x.vcf"),
    ];
    let requests: Vec<_> = Live::all().map(|l| PropertyRequest { name: l.name(), data: None }).collect();
    for (kind, target) in kinds {
        let at = path(target);
        let resource = Resource {
            etag: (!kind.is_collection()).then_some("e"),
            schedule_tag: Some("s"),
            sync: Some(SyncToken { collection: 1, change: 2 }),
            ..Resource::new(&at, kind)
        };
        let response = row(&PropSet::Some(requests.clone()), &resource, false);
        let answered = with_status(&response, "200").len() + with_status(&response, "404").len();
        assert_eq!(answered, requests.len(), "{kind:?}");
    }
}

#[test]
fn hrefs_for_expand_property() {
    let at = path("/dav/cal/a@h.example/c/");
    let resource = Resource::new(&at, Kind::Calendar);
    assert_eq!(hrefs(&Name::dav("owner"), &resource, viewer()), ["/dav/principals/a@h.example/"]);
    assert_eq!(hrefs(&Name::dav("getetag"), &resource, viewer()), [] as [String; 0]);
}

#[test]
fn the_end_of_an_answer() {
    let set = PropSet::Some(Vec::new());
    let mut out = String::new();
    let mut multistatus = Multistatus::begin(&set, viewer(), true, &mut out);
    multistatus.gone("/dav/a&b", &mut out);
    let at = path("/dav/cal/a@h.example/c/");
    multistatus.finish(Some(SyncToken { collection: 1, change: 2 }), Some(&at), &mut out);
    let root = parse(out.as_bytes()).unwrap();
    let responses: Vec<_> = root.elements().filter(|e| e.is(&Namespace::Dav, "response")).collect();
    assert_eq!(responses[0].child(&Namespace::Dav, "href").unwrap().text(), "/dav/a&b");
    assert!(responses[0].child(&Namespace::Dav, "status").unwrap().text().contains("404"));
    assert!(responses[1].child(&Namespace::Dav, "status").unwrap().text().contains("507"));
    assert!(SyncToken::parse(&root.child(&Namespace::Dav, "sync-token").unwrap().text()).is_some());
}

#[test]
fn sharing_is_told_as_it_is() {
    let path = Path::parse("/dav/cal/b@h.example/x/", "").unwrap();
    let told = |sharing: Sharing<'_>, principal: &str, property: &str| {
        let resource = Resource { sharing, ..Resource::new(&path, Kind::Calendar) };
        let name = match property.strip_prefix("CS:") {
            Some(local) => Name::new(Namespace::CalendarServer, local),
            None => Name::dav(property),
        };
        let props = PropSet::Some(vec![PropertyRequest { name, data: None }]);
        let viewer = Viewer { principal, now: Timestamp(0), zone: &Zone::Utc };
        let mut out = String::new();
        write_propstats(&props, &resource, viewer, false, &mut out);
        out
    };
    let sharees = [
        Sharee { address: "b@h.example".into(), name: "B & C".into(), access: Access::Read },
        Sharee { address: "c@h.example".into(), name: "".into(), access: Access::ReadWrite },
    ];
    let owner = Sharing::Owner(&sharees);
    let reader = Sharing::Sharee { owner: "a@h.example", access: Access::Read };
    let writer = Sharing::Sharee { owner: "a@h.example", access: Access::ReadWrite };
    for (sharing, property, has, has_not) in [
        (Sharing::None, "resourcetype", "<C:calendar/>", "shared"),
        (owner, "resourcetype", "<CS:shared-owner/>", "<CS:shared/>"),
        (reader, "resourcetype", "<CS:shared/>", "shared-owner"),
        (Sharing::None, "share-access", "<D:not-shared/>", "owner"),
        (owner, "share-access", "<D:shared-owner/>", "read"),
        (reader, "share-access", "<D:read/>", "write"),
        (writer, "share-access", "<D:read-write/>", "<D:read/>"),
        (Sharing::None, "CS:invite", "404", "CS:user"),
        (owner, "CS:invite", "<CS:common-name>B &amp; C</CS:common-name>", "404"),
        (reader, "CS:invite", "mailto:b@h.example", "c@h.example"),
        (owner, "invite", "mailto:c@h.example", "404"),
        (owner, "CS:allowed-sharing-modes", "<CS:can-be-shared/>", "404"),
        (reader, "CS:allowed-sharing-modes", "404", "can-be"),
        (reader, "owner", "/dav/principals/a@h.example/", "b@h.example"),
        (reader, "current-user-privilege-set", "<D:read/>", "<D:write/>"),
        (reader, "current-user-privilege-set", "<D:write-properties/>", "<D:all/>"),
        (writer, "current-user-privilege-set", "<D:write/>", "<D:all/>"),
        (Sharing::None, "current-user-privilege-set", "<D:all/>", "404"),
        (owner, "acl", "/dav/principals/c@h.example/", "404"),
        (reader, "acl", "/dav/principals/b@h.example/", "c@h.example"),
        (Sharing::None, "supportedlock", "<D:exclusive/>", "404"),
        (writer, "supportedlock", "<D:supportedlock/>", "exclusive"),
    ] {
        let text = told(sharing, "b@h.example", property);
        assert!(text.contains(has) && !text.contains(has_not), "{sharing:?} {property}: {text}");
    }
}
