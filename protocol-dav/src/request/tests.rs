use super::*;
use crate::name::{Name, Namespace};
use crate::refusal::Status;

const NS: &str = "xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav' \
                  xmlns:R='urn:ietf:params:xml:ns:carddav'";

/// A body with the namespaces bound at its root, which is written `<D:x>...</D:x>`.
fn body(text: &str) -> Element {
    let end = text.find(['>', ' ', '/']).expect("a root");
    let whole = format!("{} {NS}{}", &text[..end], &text[end..]);
    xml::parse(whole.as_bytes()).unwrap_or_else(|e| panic!("{e}: {whole}"))
}

fn report(text: &str) -> Result<ReportBody, Refusal> {
    ReportBody::parse(&body(text), "h.example")
}

fn condition(result: Result<ReportBody, Refusal>) -> (Status, Option<Condition>) {
    let refusal = result.expect_err("a refusal");
    (refusal.status, refusal.condition)
}

#[test]
fn propfind_bodies() {
    let parse = |text: &str| PropSet::of_propfind(&body(text));
    assert_eq!(parse("<D:propfind><D:allprop/></D:propfind>"), Ok(PropSet::all()));
    assert_eq!(parse("<D:propfind><D:propname/></D:propfind>"), Ok(PropSet::Names));
    let Ok(PropSet::Some(requests)) =
        parse("<D:propfind><D:prop><D:getetag/><x xmlns='urn:x'/><D:getetag/></D:prop></D:propfind>")
    else {
        panic!("properties")
    };
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].name, Name::new(Namespace::Other("urn:x".into()), "x"));
    let Ok(PropSet::All { include }) =
        parse("<D:propfind><D:allprop/><D:include><D:quota-used-bytes/></D:include></D:propfind>")
    else {
        panic!("allprop with include")
    };
    assert_eq!(include.len(), 1);
    for text in ["<D:propfind/>", "<D:prop/>", "<D:propfind><D:prop/><D:allprop/></D:propfind>"] {
        assert_eq!(parse(text).unwrap_err().status, Status(400), "{text}");
    }
    let many = |count: usize| {
        let properties: String = (0..count).map(|n| format!("<D:p{n}/>")).collect();
        parse(&format!("<D:propfind><D:prop>{properties}</D:prop></D:propfind>"))
    };
    assert!(many(limits::PROPERTIES_MAX).is_ok());
    assert_eq!(many(limits::PROPERTIES_MAX + 1).unwrap_err().status, Status(413));
}

#[test]
fn property_updates_keep_their_order_and_language() {
    let updates = Update::parse(&body(
        "<D:propertyupdate xml:lang='de'><D:remove><D:prop><D:a/></D:prop></D:remove>\
         <D:set><D:prop><D:a>x</D:a><D:b xml:lang='en'/></D:prop></D:set></D:propertyupdate>",
    ))
    .unwrap();
    assert_eq!(updates[0], Update::Remove(Name::dav("a")));
    let Update::Set(a) = &updates[1] else { panic!("a set") };
    assert_eq!(a.lang(), Some("de"));
    let Update::Set(b) = &updates[2] else { panic!("a set") };
    assert_eq!(b.lang(), Some("en"));
    for text in ["<D:propertyupdate/>", "<D:propertyupdate><D:set/></D:propertyupdate>", "<D:x/>"] {
        assert!(Update::parse(&body(text)).is_err(), "{text}");
    }
}

#[test]
fn mkcol_and_mkcalendar_bodies() {
    let set = "<D:set><D:prop><D:resourcetype><D:collection/><C:calendar/></D:resourcetype>\
               <D:displayname>x</D:displayname><C:supported-calendar-component-set><C:comp name='VTODO'/>\
               </C:supported-calendar-component-set></D:prop></D:set>";
    let made = MakeBody::parse(&body(&format!("<D:mkcol>{set}</D:mkcol>")), false).unwrap();
    let types = made.types.unwrap();
    assert!(types[0].is(&Namespace::Dav, "collection") && types[1].is(&Namespace::CalDav, "calendar"));
    assert_eq!(made.components, Some(vec!["VTODO".to_owned()]));
    assert_eq!(made.properties.len(), 1);
    assert!(MakeBody::parse(&body(&format!("<C:mkcalendar>{set}</C:mkcalendar>")), true).is_ok());
    assert_eq!(MakeBody::parse(&body("<D:mkcol/>"), true).unwrap_err().status, Status(415));
}

#[test]
fn lock_bodies() {
    let parse = |text: &str| LockInfo::parse(&body(text));
    let info = parse(
        "<D:lockinfo><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype>\
         <D:owner><D:href>mailto:a</D:href></D:owner></D:lockinfo>",
    )
    .unwrap();
    assert!(!info.exclusive);
    let owner = xml::parse(info.owner.unwrap().as_bytes()).unwrap();
    assert_eq!(owner.child(&Namespace::Dav, "href").unwrap().text(), "mailto:a");
    for text in [
        "<D:lockinfo/>",
        "<D:lockinfo><D:lockscope><D:shared/></D:lockscope></D:lockinfo>",
        "<D:lockinfo><D:locktype><D:write/></D:locktype><D:lockscope/></D:lockinfo>",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    let owned = |length: usize| {
        let scope = "<D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>";
        let owner = "x".repeat(length - "<D:owner xmlns:D=\"DAV:\"></D:owner>".len());
        parse(&format!("<D:lockinfo>{scope}<D:owner>{owner}</D:owner></D:lockinfo>"))
    };
    assert!(owned(limits::LOCK_OWNER_MAX).is_ok());
    assert_eq!(owned(limits::LOCK_OWNER_MAX + 1).unwrap_err().status, Status(413));
}

#[test]
fn calendar_query() {
    let Ok(ReportBody::CalendarQuery(query)) = report(
        "<C:calendar-query><D:prop><D:getetag/><C:calendar-data><C:comp name='VCALENDAR'><C:allprop/>\
         <C:comp name='vevent'><C:prop name='summary' novalue='yes'/></C:comp></C:comp>\
         <C:expand start='20260101T000000Z' end='20260201T000000Z'/></C:calendar-data></D:prop>\
         <C:filter><C:comp-filter name='VCALENDAR'><C:comp-filter name='VEVENT'>\
         <C:time-range start='20260101T000000Z'/><C:prop-filter name='ATTENDEE'>\
         <C:text-match collation='i;octet' negate-condition='yes'>x</C:text-match>\
         <C:param-filter name='partstat'><C:is-not-defined/></C:param-filter></C:prop-filter>\
         </C:comp-filter></C:comp-filter></C:filter></C:calendar-query>",
    ) else {
        panic!("a query")
    };
    assert!(query.props.wants_data());
    let (component, range) = query.filter.hint();
    assert_eq!(component, Some("VEVENT"));
    assert_eq!(range, Some(TimeRange { start: Some(1_767_225_600), end: None }));
    let PropSet::Some(requests) = &query.props else { panic!("properties") };
    let Some(DataRequest::Calendar(data)) = &requests[1].data else { panic!("calendar-data") };
    let component = data.component.as_ref().unwrap();
    assert_eq!(component.properties, Selected::All);
    let Selected::These(inner) = &component.components else { panic!("components") };
    let summary = PropertySelection { name: "SUMMARY".into(), no_value: true };
    assert_eq!(inner[0].properties, Selected::These(vec![summary]));
}

#[test]
fn calendar_filters_that_are_not_valid_are_named() {
    let filtered = |filter: &str| {
        condition(report(&format!("<C:calendar-query><C:filter>{filter}</C:filter></C:calendar-query>"))).1
    };
    let valid = Some(Condition::ValidFilter);
    assert_eq!(filtered(""), valid);
    assert_eq!(filtered("<C:comp-filter name='VEVENT'/>"), valid);
    assert_eq!(filtered("<C:comp-filter/>"), valid);
    let within =
        |filter: &str| filtered(&format!("<C:comp-filter name='VCALENDAR'>{filter}</C:comp-filter>"));
    assert_eq!(within("<C:time-range start='20260101T000000Z'/>"), valid);
    assert_eq!(within("<C:is-not-defined/>"), valid);
    assert_eq!(within("<C:other/>"), Some(Condition::SupportedFilter));
    assert_eq!(within("<R:prop-filter name='FN'/>"), Some(Condition::SupportedFilter));
    let event = |filter: &str| within(&format!("<C:comp-filter name='VEVENT'>{filter}</C:comp-filter>"));
    for range in ["", "start='20260101'", "start='20260102T000000Z' end='20260101T000000Z'", "end='x'"] {
        assert_eq!(event(&format!("<C:time-range {range}/>")), valid, "{range}");
    }
    assert_eq!(
        event("<C:prop-filter name='X'><C:text-match collation='i;x'>a</C:text-match></C:prop-filter>"),
        Some(Condition::SupportedCollation)
    );
    let many = |count: usize| {
        let filters = "<C:prop-filter name='X'/>".repeat(count - 2);
        report(&format!(
            "<C:calendar-query><C:filter><C:comp-filter name='VCALENDAR'><C:comp-filter name='VEVENT'>\
             {filters}</C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"
        ))
    };
    assert!(many(limits::FILTERS_MAX).is_ok());
    assert_eq!(condition(many(limits::FILTERS_MAX + 1)).0, Status(413));
}

#[test]
fn address_book_query() {
    let Ok(ReportBody::CardQuery(query)) = report(
        "<R:addressbook-query><D:prop><R:address-data version='4.0'><R:prop name='fn'/></R:address-data>\
         </D:prop><R:filter test='allof'><R:prop-filter name='home.tel' test='allof'>\
         <R:text-match match-type='ends-with'>9</R:text-match><R:param-filter name='TYPE'/></R:prop-filter>\
         <R:prop-filter name='NOTE'><R:is-not-defined/></R:prop-filter></R:filter>\
         <R:limit><R:nresults>5</R:nresults></R:limit></R:addressbook-query>",
    ) else {
        panic!("a query")
    };
    assert_eq!(query.limit, Some(5));
    assert!(query.filter.all && query.filter.properties[0].all);
    assert_eq!(query.filter.properties[0].group.as_deref(), Some("HOME"));
    assert!(query.filter.properties[0].texts[0].matches("99"));
    assert!(query.filter.properties[1].is_not_defined);
    let PropSet::Some(requests) = &query.props else { panic!("properties") };
    let Some(DataRequest::Card(data)) = &requests[0].data else { panic!("address-data") };
    assert_eq!(data.version, Some(CardVersion::V4));
    let unknown = "<R:addressbook-query><D:prop><R:address-data version='5.0'/></D:prop><R:filter/>\
                   </R:addressbook-query>";
    assert_eq!(condition(report(unknown)).1, Some(Condition::SupportedAddressData));
}

#[test]
fn dv4_multigets_are_counted() {
    let many = |count: usize| {
        let hrefs = "<D:href>/dav/x</D:href>".repeat(count);
        report(&format!("<C:calendar-multiget><D:prop/>{hrefs}</C:calendar-multiget>"))
    };
    let Ok(ReportBody::CalendarMultiget(multiget)) = many(limits::MULTIGET_MAX) else { panic!("hrefs") };
    assert_eq!(multiget.hrefs.len(), limits::MULTIGET_MAX);
    let past = (Status(507), Some(Condition::NumberOfMatchesWithinLimits));
    assert_eq!(condition(many(limits::MULTIGET_MAX + 1)), past);
    assert_eq!(condition(many(0)).0, Status(400));
}

#[test]
fn dv4_limits_of_sync_collection() {
    let limited = |count: &str| {
        report(&format!(
            "<D:sync-collection><D:sync-token/><D:sync-level>1</D:sync-level>\
             <D:limit><D:nresults>{count}</D:nresults></D:limit><D:prop/></D:sync-collection>"
        ))
    };
    for (count, expected) in [("7", 7), ("18446744073709551616", limits::ROWS_MAX)] {
        let Ok(ReportBody::SyncCollection(sync)) = limited(count) else { panic!("{count}") };
        assert_eq!(sync.limit, Some(expected));
    }
    for count in ["0", "-1", "", "x"] {
        assert_eq!(condition(limited(count)).0, Status(400), "{count}");
    }
    let with = |token: &str, level: &str| {
        report(&format!(
            "<D:sync-collection><D:sync-token>{token}</D:sync-token>\
             <D:sync-level>{level}</D:sync-level><D:prop/></D:sync-collection>"
        ))
    };
    assert_eq!(condition(with("data:,1", "1")).1, Some(Condition::ValidSyncToken));
    assert_eq!(condition(with("", "2")).0, Status(400));
    let token = crate::resource::SyncToken { collection: 3, change: 4 };
    let Ok(ReportBody::SyncCollection(sync)) = with(&token.to_string(), "infinite") else { panic!("sync") };
    assert_eq!((sync.since, sync.infinite), (Some(token), true));
}

#[test]
fn other_reports() {
    assert_eq!(condition(report("<D:version-tree/>")).1, Some(Condition::SupportedReport));
    let range = "<C:time-range start='20260101T000000Z' end='20260102T000000Z'/>";
    assert!(matches!(
        report(&format!("<C:free-busy-query>{range}</C:free-busy-query>")),
        Ok(ReportBody::FreeBusy(_))
    ));
    assert!(report("<C:free-busy-query/>").is_err());
    let nested = |depth: usize| {
        let (open, close) = ("<D:property name='x'>".repeat(depth), "</D:property>".repeat(depth));
        report(&format!("<D:expand-property>{open}{close}</D:expand-property>"))
    };
    assert!(nested(limits::EXPAND_DEPTH_MAX).is_ok());
    assert_eq!(condition(nested(limits::EXPAND_DEPTH_MAX + 1)).0, Status(413));
    let Ok(ReportBody::PrincipalSearch(search)) = report(
        "<D:principal-property-search test='anyof'><D:property-search><D:prop><D:displayname/></D:prop>\
         <D:match>Al</D:match></D:property-search><D:prop><D:displayname/></D:prop>\
         <D:apply-to-principal-collection-set/></D:principal-property-search>",
    ) else {
        panic!("a search")
    };
    assert!(!search.all && search.everywhere && search.searches[0].text == "Al");
    assert!(report("<D:principal-property-search/>").is_err());
}

#[test]
fn collations() {
    let found = |collation, text: &str, value: &str| {
        TextMatch::new(text, collation, MatchKind::Contains, false).matches(value)
    };
    assert!(found(Collation::AsciiCasemap, "STR", "a string"));
    assert!(!found(Collation::Octet, "STR", "a string"));
    assert!(!found(Collation::AsciiCasemap, "Ä", "ä"));
    assert!(found(Collation::UnicodeCasemap, "Ä", "ä"));
    assert!(found(Collation::UnicodeCasemap, "ΟΔΟΣ", "οδος"));
}
