use super::*;
use crate::headers::Depth;
use crate::precondition::{Current, State};
use crate::refusal::Status;
use crate::resource::{Access, Components, DeadProperty, Resource};

const ME: &str = "a@h.example";

#[test]
fn a_calendar_is_published_by_a_post() {
    let plan = |target: &str, body: &str| {
        let mut planner = planner("POST", target, &[])?;
        planner.feed(body.as_bytes())?;
        planner.finish()
    };
    let calendar = "/dav/cal/a@h.example/c/";
    let body = |name: &str| format!("<x:{name} xmlns:x=\"http://calendarserver.org/ns/\"/>");
    for (name, on) in [("publish-calendar", true), ("unpublish-calendar", false)] {
        match plan(calendar, &body(name)).unwrap() {
            Plan::Publish(publish) => assert_eq!(publish.on, on),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(plan(calendar, &body("share")).unwrap_err().status, Status(400));
    assert_eq!(plan(calendar, "").unwrap_err().status, Status(400));
    assert_eq!(plan("/dav/card/a@h.example/c/", &body("publish-calendar")).unwrap_err().status, Status(405));
    assert_eq!(plan("/dav/cal/b@h.example/c/", &body("publish-calendar")).unwrap_err().status, Status(404));
}

#[test]
fn a_collection_is_shared_by_a_post() {
    let shared = |target: &str, body: &str| match planned("POST", target, &[], body)? {
        Plan::Share(share) => Ok(share.changes),
        other => panic!("{other:?}"),
    };
    let spaces = "xmlns:D=\"DAV:\" xmlns:S=\"http://calendarserver.org/ns/\"";
    let calendar_server = |inside: &str| format!("<S:share {spaces}>{inside}</S:share>");
    let draft = |inside: &str| format!("<D:share-resource {spaces}>{inside}</D:share-resource>");
    let sharee = |href: &str, access: &str| {
        format!("<D:sharee><D:href>{href}</D:href><D:share-access>{access}</D:share-access></D:sharee>")
    };
    let (book, b) = ("/dav/card/a@h.example/c/", "<D:href>mailto:B@h.example</D:href>");
    let of = |access| Ok(vec![("b@h.example".into(), access)]);
    for (body, access) in [
        (calendar_server(&format!("<S:set>{b}<S:read-write/></S:set>")), Some(Access::ReadWrite)),
        (
            calendar_server(&format!("<S:set>{b}<S:common-name>B</S:common-name><S:read/></S:set>")),
            Some(Access::Read),
        ),
        (calendar_server(&format!("<S:set>{b}</S:set>")), Some(Access::Read)),
        (calendar_server(&format!("<S:remove>{b}</S:remove>")), None),
        (draft(&sharee("/dav/principals/b@h.example/", "<D:read/>")), Some(Access::Read)),
        (draft(&sharee("mailto:b@h.example", "<D:read-write/>")), Some(Access::ReadWrite)),
        (draft(&sharee("mailto:b@h.example", "<D:no-access/>")), None),
    ] {
        assert_eq!(shared(book, &body), of(access), "{body}");
        assert_eq!(shared("/dav/cal/a@h.example/c/", &body), of(access), "{body}");
    }
    for (body, status) in [
        (calendar_server(""), 400),
        (calendar_server("<S:set><S:read/></S:set>"), 400),
        (calendar_server("<S:set><D:href>https://h.example/b</D:href><S:read/></S:set>"), 403),
        (draft(&sharee("mailto:b@h.example", "")), 400),
        (draft(&sharee("mailto:b@h.example", "<D:read/><D:no-access/>")), 400),
        (draft(&sharee("mailto:b@h.example", "<D:read/>").repeat(limits::SHAREES_MAX + 1)), 507),
    ] {
        assert_eq!(code(shared(book, &body)), status, "{body}");
    }
    assert!(
        shared(book, &draft(&sharee("mailto:b@h.example", "<D:read/>").repeat(limits::SHAREES_MAX))).is_ok()
    );
    let body = calendar_server(&format!("<S:set>{b}</S:set>"));
    for (target, status) in [
        ("/dav/cal/b@h.example/c/", 404),
        ("/dav/files/a@h.example/c/", 405),
        ("/dav/cal/a@h.example/inbox/", 405),
    ] {
        assert_eq!(code(shared(target, &body)), status, "{target}");
    }
}

fn planner(method: &str, target: &str, fields: &[(&str, &str)]) -> Result<Planner, Refusal> {
    let fields: Vec<(&str, &[u8])> = fields.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
    plan(&Head { method, target, host: "h.example", fields: &fields, principal: ME })
}

fn planned(method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Result<Plan, Refusal> {
    let mut planner = planner(method, target, fields)?;
    for octet in body.as_bytes().chunks(7) {
        planner.feed(octet)?;
    }
    planner.finish()
}

fn code<T>(result: Result<T, Refusal>) -> u16 {
    result.err().map_or(200, |refusal| refusal.status.0)
}

fn condition<T>(result: Result<T, Refusal>) -> Option<Condition> {
    result.err().and_then(|refusal| refusal.condition)
}

#[test]
fn what_is_possible_where() {
    for (method, target, status) in [
        ("OPTIONS", "/dav/", 200),
        ("PUT", "/dav/", 405),
        ("BREW", "/dav/", 501),
        ("PROPFIND", "/elsewhere", 404),
        ("PROPFIND", "/dav/../x", 400),
        ("GET", "/dav/cal/a@h.example/c/", 405),
        ("GET", "/dav/cal/a@h.example/c/x.ics", 200),
        ("PUT", "/dav/cal/a@h.example/c/x/y", 403),
        ("GET", "/dav/cal/a@h.example/c/x/y", 404),
        ("PUT", "/dav/cal/a@h.example/inbox/x", 405),
        ("DELETE", "/dav/cal/a@h.example/inbox/x", 200),
        ("DELETE", "/dav/cal/a@h.example/inbox/", 405),
        ("POST", "/dav/cal/a@h.example/outbox/", 200),
        // A book can be shared, but not by saying nothing.
        ("POST", "/dav/card/a@h.example/c/", 400),
        ("POST", "/dav/files/a@h.example/c/", 405),
        ("MKCOL", "/dav/cal/a@h.example/", 405),
        ("MKCOL", "/dav/files/a@h.example/", 405),
        ("MKCOL", "/dav/files/a@h.example/x/", 200),
        ("MKCALENDAR", "/dav/files/a@h.example/x/", 403),
        ("MKCALENDAR", "/dav/card/a@h.example/x/", 403),
        ("MKCALENDAR", "/dav/cal/a@h.example/c/x", 403),
        ("MKCALENDAR", "/dav/cal/a@h.example/c/", 200),
        ("DELETE", "/dav/files/a@h.example/", 405),
        ("DELETE", "/dav/principals/a@h.example/", 405),
    ] {
        let result = planned(method, target, &[("Depth", "infinity")], "");
        assert_eq!(code(result), status, "{method} {target}");
    }
    let refusal = planned("PUT", "/dav/", &[], "").unwrap_err();
    assert_eq!(refusal.allow, Some("OPTIONS, PROPFIND, REPORT"));
    let options = options(&Path::root());
    assert_eq!(options.headers[0], ("dav", DAV_CLASSES.to_owned()));
}

#[test]
fn ti1_what_is_anothers_is_answered_as_what_is_not_there() {
    for target in [
        "/dav/cal/b@h.example/default/",
        "/dav/files/b@h.example/x",
        "/dav/principals/b@h.example/",
        "/dav/files/nobody@other.example/",
    ] {
        for method in ["PROPFIND", "GET", "PUT", "DELETE", "MKCOL", "LOCK", "REPORT", "OPTIONS"] {
            let refusal = planner(method, target, &[("Depth", "0")]).unwrap_err();
            assert_eq!(refusal, Refusal::not_found(), "{method} {target}");
        }
    }
    let to = [("Destination", "/dav/files/b@h.example/x")];
    assert_eq!(code(planner("COPY", "/dav/files/a@h.example/x", &to)), 403);
}

#[test]
fn dv3_propfind_has_a_finite_depth() {
    for fields in [&[][..], &[("Depth", "infinity")]] {
        let refused = condition(planned("PROPFIND", "/dav/files/a@h.example/", fields, ""));
        assert_eq!(refused, Some(Condition::PropfindFiniteDepth));
    }
    let Ok(Plan::Propfind(propfind)) =
        planned("PROPFIND", "/dav/files/a@h.example/", &[("Depth", "1"), ("Brief", "t")], "")
    else {
        panic!("a plan")
    };
    assert_eq!((propfind.depth, propfind.props, propfind.prefer.minimal), (Depth::One, PropSet::all(), true));
}

#[test]
fn bodies_are_bounded_as_they_arrive() {
    let mut planner = planner("PROPFIND", "/dav/", &[("Depth", "0")]).unwrap();
    assert_eq!(planner.body(), BodyKind::Xml);
    let piece = vec![b' '; limits::XML_BODY_MAX];
    assert_eq!(planner.feed(&piece), Ok(()));
    assert_eq!(code(planner.feed(b" ")), 413);
    assert_eq!(code(planned("DELETE", "/dav/files/a@h.example/x", &[], "body")), 415);
    assert_eq!(code(planned("MKCOL", "/dav/files/a@h.example/x", &[], "not xml")), 415);
    assert_eq!(code(planned("PROPFIND", "/dav/", &[("Depth", "0")], "<D:propfind xmlns:D='DAV:'>")), 400);
    let dtd = "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>";
    for (method, target) in
        [("PROPFIND", "/dav/"), ("MKCOL", "/dav/files/a@h.example/x"), ("REPORT", "/dav/")]
    {
        let refusal = planned(method, target, &[("Depth", "0")], dtd).unwrap_err();
        assert_eq!((refusal.status.0, refusal.condition), (400, Some(Condition::NoExternalEntities)));
    }
}

#[test]
fn new_collections() {
    let make = |target: &str, body: &str| match planned("MKCOL", target, &[], body)? {
        Plan::Make(make) => Ok(make),
        other => panic!("{other:?}"),
    };
    let typed = |types: &str| {
        format!(
            "<D:mkcol xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav' \
             xmlns:R='urn:ietf:params:xml:ns:carddav'><D:set><D:prop><D:resourcetype>{types}\
             </D:resourcetype><D:displayname>Mine</D:displayname></D:prop></D:set></D:mkcol>"
        )
    };
    let calendar = make("/dav/cal/a@h.example/c/", &typed("<D:collection/><C:calendar/>")).unwrap();
    assert_eq!(calendar.collection, NewCollection::Calendar(Components::ALL));
    assert_eq!(calendar.properties.len(), 1);
    assert_eq!(code(calendar.check(None, Some(Kind::Home))), 200);
    assert_eq!(code(calendar.check(None, None)), 409);
    assert_eq!(code(calendar.check(Some(Kind::Calendar), Some(Kind::Home))), 405);
    let book = make("/dav/card/a@h.example/b/", &typed("<D:collection/><R:addressbook/>")).unwrap();
    assert_eq!(book.collection, NewCollection::Book);
    let folder = make("/dav/files/a@h.example/x/y", "").unwrap();
    assert_eq!(folder.collection, NewCollection::Folder);
    assert_eq!(code(folder.check(None, Some(Kind::File))), 409);

    for (target, types, expected) in [
        (
            "/dav/files/a@h.example/x/",
            "<D:collection/><C:calendar/>",
            Condition::CalendarCollectionLocationOk,
        ),
        (
            "/dav/cal/a@h.example/x/",
            "<D:collection/><R:addressbook/>",
            Condition::CalendarCollectionLocationOk,
        ),
        (
            "/dav/card/a@h.example/x/",
            "<D:collection/><C:calendar/>",
            Condition::AddressbookCollectionLocationOk,
        ),
        ("/dav/cal/a@h.example/x/", "<C:calendar/>", Condition::ValidResourcetype),
        ("/dav/files/a@h.example/x/", "<D:collection/><D:principal/>", Condition::ValidResourcetype),
    ] {
        assert_eq!(condition(make(target, &typed(types))), Some(expected), "{target} {types}");
    }

    let twisted = typed("<D:collection/>").replace("<D:displayname>", "<D:getetag/><D:displayname>");
    let refusal = make("/dav/files/a@h.example/x/", &twisted).unwrap_err().response();
    let root = crate::xml::parse(&refusal.body).unwrap();
    assert!(refusal.status == Status(403) && root.is(&Namespace::Dav, "mkcol-response"));
    assert_eq!(root.elements().count(), 2);

    let with_components = |names: &[&str]| {
        let comps: String = names.iter().map(|name| format!("<C:comp name='{name}'/>")).collect();
        let body = format!(
            "<C:mkcalendar xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><D:set><D:prop>\
             <C:supported-calendar-component-set>{comps}</C:supported-calendar-component-set>\
             </D:prop></D:set></C:mkcalendar>"
        );
        match planned("MKCALENDAR", "/dav/cal/a@h.example/t/", &[], &body)? {
            Plan::Make(make) => Ok(make.collection),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with_components(&["VTODO"]), Ok(NewCollection::Calendar(Components::TODO)));
    assert_eq!(condition(with_components(&["VPOLL"])), Some(Condition::SupportedCalendarComponent));
}

#[test]
fn property_changes_are_all_or_none() {
    let patch = |body: &str| {
        let body = format!(
            "<D:propertyupdate xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'>{body}</D:propertyupdate>"
        );
        match planned("PROPPATCH", "/dav/cal/a@h.example/c/", &[], &body).unwrap() {
            Plan::Proppatch(patch) => patch,
            other => panic!("{other:?}"),
        }
    };
    let set = |property: &str| format!("<D:set><D:prop>{property}</D:prop></D:set>");
    let good = patch(&set("<D:displayname>x</D:displayname><y xmlns='urn:y'/>"));
    assert!(good.refused.is_empty());
    let properties = apply(&[], &good.updates).unwrap();
    assert_eq!(properties.len(), 2);
    let text = String::from_utf8(good.response("/dav/x").body).unwrap();
    assert!(text.contains("200 OK") && crate::xml::parse(text.as_bytes()).is_ok(), "{text}");

    let removed = patch("<D:remove><D:prop><y xmlns='urn:y'/><D:z/></D:prop></D:remove>");
    assert_eq!(apply(&properties, &removed.updates).unwrap().len(), 1);

    for (property, expected) in [
        ("<D:getetag>x</D:getetag>", Condition::CannotModifyProtectedProperty),
        ("<C:supported-calendar-component-set/>", Condition::CannotModifyProtectedProperty),
        ("<C:calendar-data/>", Condition::CannotModifyProtectedProperty),
        ("<C:calendar-timezone>nonsense</C:calendar-timezone>", Condition::ValidTimezone),
    ] {
        let bad = patch(&set(&format!("<D:displayname>x</D:displayname>{property}")));
        assert_eq!(bad.refused.iter().map(|(_, c)| *c).collect::<Vec<_>>(), [expected], "{property}");
        let text = String::from_utf8(bad.response("/dav/x").body).unwrap();
        assert!(text.contains("424 Failed Dependency") && text.contains("403 Forbidden"), "{text}");
    }

    let long = |length: usize| patch(&set(&format!("<y>{}</y>", "x".repeat(length - 7))));
    assert!(long(limits::PROPERTY_MAX).refused.is_empty());
    assert_eq!(long(limits::PROPERTY_MAX + 1).refused[0].1, Condition::SufficientDiskSpace);
    let many: Vec<DeadProperty> = (0..limits::DEAD_PROPERTIES_MAX)
        .map(|n| DeadProperty { name: crate::name::Name::dav(&format!("p{n}")), fragment: "".into() })
        .collect();
    let one_more = patch(&set("<y/>"));
    assert_eq!(code(apply(&many, &one_more.updates)), 507);
    assert!(apply(&many[1..], &one_more.updates).is_ok());
    let short = patch(&set("<y></y>"));
    let added = short.updates[0].1.as_ref().unwrap().fragment.len();
    let of = |octets: usize| {
        let name = crate::name::Name::dav("long");
        DeadProperty { name, fragment: "x".repeat(octets - added).into() }
    };
    assert!(apply(&[of(limits::DEAD_OCTETS_MAX)], &short.updates).is_ok());
    assert_eq!(code(apply(&[of(limits::DEAD_OCTETS_MAX + 1)], &short.updates)), 507);
}

#[test]
fn dv10_copy_and_move_onto_themselves_and_their_own() {
    let to = |from: &str, to: &str, depth: &str| {
        let files = |below: &str| format!("/dav/files/a@h.example/{below}");
        planned("COPY", &files(from), &[("Destination", &files(to)), ("Depth", depth)], "")
    };
    for (from, dest, depth, status) in [
        ("x", "x", "infinity", 403),
        ("x", "x", "0", 403),
        ("x", "x/y", "infinity", 403),
        ("x", "x/y", "0", 200),
        ("x/y", "x", "infinity", 403),
        ("x", "xy", "infinity", 200),
        ("x", "y", "1", 400),
        ("", "y", "infinity", 405),
    ] {
        assert_eq!(code(to(from, dest, depth)), status, "{from} {dest} {depth}");
    }
    for (from, dest) in [
        ("/dav/cal/a@h.example/c/x.ics", "/dav/card/a@h.example/b/x.ics"),
        ("/dav/cal/a@h.example/c/x.ics", "/dav/cal/a@h.example/c/"),
        ("/dav/cal/a@h.example/c/x.ics", "/dav/cal/a@h.example/inbox/x.ics"),
        ("/dav/cal/a@h.example/c/", "/dav/cal/a@h.example/inbox/"),
        ("/dav/files/a@h.example/x", "/dav/cal/a@h.example/c/x"),
    ] {
        assert_eq!(code(planned("MOVE", from, &[("Destination", dest)], "")), 403, "{from} {dest}");
    }
}

#[test]
fn dv10_what_is_there_decides_the_rest() {
    let relocate = |overwrite: &str| {
        let fields = [("Destination", "/dav/files/a@h.example/y"), ("Overwrite", overwrite)];
        match planned("MOVE", "/dav/files/a@h.example/x", &fields, "").unwrap() {
            Plan::Move(relocate) => relocate,
            other => panic!("{other:?}"),
        }
    };
    let folder = Some(Kind::Folder);
    assert_eq!(relocate("T").check(Some(Kind::File), None, folder), Ok(true));
    assert_eq!(relocate("T").check(Some(Kind::File), folder, folder), Ok(false));
    assert_eq!(relocate("F").check(Some(Kind::File), None, folder), Ok(true));
    assert_eq!(code(relocate("F").check(Some(Kind::File), folder, folder)), 412);
    assert_eq!(code(relocate("T").check(None, folder, folder)), 404);
    assert_eq!(code(relocate("T").check(folder, None, None)), 409);
    assert_eq!(code(relocate("T").check(folder, None, Some(Kind::File))), 409);
}

#[test]
fn puts() {
    let put = |target: &str, content_type: &str| {
        let fields: Vec<(&str, &str)> =
            if content_type.is_empty() { Vec::new() } else { vec![("Content-Type", content_type)] };
        let planner = planner("PUT", target, &fields)?;
        let body = planner.body();
        match planner.finish()? {
            Plan::Put(put) => Ok((body, put)),
            other => panic!("{other:?}"),
        }
    };
    let (body, file) = put("/dav/files/a@h.example/x", "text/html").unwrap();
    assert_eq!((body, &*file.content_type), (BodyKind::Stream, "text/html"));
    assert_eq!(code(file.check(Some(Kind::Folder), Some(Kind::Folder))), 405);
    assert_eq!(code(file.check(None, None)), 409);
    assert_eq!(code(file.check(None, Some(Kind::File))), 409);
    assert_eq!(code(file.check(Some(Kind::File), Some(Kind::Folder))), 200);
    let (body, event) = put("/dav/cal/a@h.example/c/x", "text/calendar; charset=utf-8").unwrap();
    assert_eq!(body, BodyKind::Object(limits::CALENDAR_OBJECT_MAX));
    assert_eq!(code(event.check(None, Some(Kind::Calendar))), 200);
    assert_eq!(code(event.check(None, Some(Kind::Book))), 409);
    assert!(put("/dav/card/a@h.example/b/x", "").is_ok());
    let html = put("/dav/cal/a@h.example/c/x", "text/html");
    assert_eq!(condition(html), Some(Condition::SupportedCalendarData));
    let html = put("/dav/card/a@h.example/c/x", "text/html");
    assert_eq!(condition(html), Some(Condition::SupportedAddressData));
    let part = [("Content-Range", "bytes 0-1/2")];
    assert_eq!(code(planner("PUT", "/dav/files/a@h.example/x", &part)), 400);
}

#[test]
fn deletes_say_whether_the_organizer_is_told() {
    let delete = |fields: &[(&str, &str)]| match planned("DELETE", "/dav/cal/a@h.example/c/x", fields, "")? {
        Plan::Delete(delete) => Ok(delete.schedule_reply),
        other => panic!("{other:?}"),
    };
    assert_eq!(delete(&[]), Ok(true));
    assert_eq!(delete(&[("Schedule-Reply", "F")]), Ok(false));
    assert_eq!(code(delete(&[("Schedule-Reply", "no")])), 400);
    let other = Path::parse("/dav/cal/a@h.example/c/y", "").unwrap();
    let refusal = uid_conflict(ObjectType::Calendar, true, &other);
    assert_eq!(
        (refusal.status.0, refusal.hrefs.as_slice()),
        (409, &["/dav/cal/a@h.example/c/y".to_owned()][..])
    );
}

#[test]
fn locks_are_taken_refreshed_and_given_back() {
    let body = "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:exclusive/></D:lockscope><D:locktype>\
                <D:write/></D:locktype></D:lockinfo>";
    let x = "/dav/files/a@h.example/x";
    let Ok(Plan::Lock(lock)) = planned("LOCK", x, &[("Timeout", "Infinite")], body) else { panic!("a lock") };
    assert_eq!((lock.request.infinite, lock.request.timeout_secs), (true, limits::LOCK_SECS_MAX));
    assert_eq!(lock.check(None, Some(Kind::Folder)), Ok(true));
    assert_eq!(lock.check(Some(Kind::File), Some(Kind::Folder)), Ok(false));
    assert_eq!(code(lock.check(None, None)), 409);
    assert_eq!(code(lock.check(None, Some(Kind::Calendar))), 404);
    assert_eq!(code(planned("LOCK", x, &[("Depth", "1")], body)), 400);
    assert_eq!(code(planned("LOCK", x, &[], "")), 400);
    let Ok(Plan::Refresh(refresh)) = planned("LOCK", x, &[("If", "(<urn:uuid:1>)")], "") else {
        panic!("a refresh")
    };
    assert_eq!(&*refresh.token, "urn:uuid:1");
    assert_eq!(code(planned("LOCK", x, &[("If", "(<urn:uuid:1>) (<urn:uuid:2>)")], "")), 400);
    assert!(matches!(planned("UNLOCK", x, &[("Lock-Token", "<urn:uuid:1>")], ""), Ok(Plan::Unlock(_))));
    assert_eq!(code(planned("UNLOCK", x, &[], "")), 400);
}

#[test]
fn a_put_on_what_is_there_does_not_change_its_parents_members() {
    let Ok(Plan::Put(put)) = planned("PUT", "/dav/files/a@h.example/d/x", &[], "") else { panic!("a put") };
    let folder = crate::lock::LockRequest {
        path: Path::parse("/dav/files/a@h.example/d", "").unwrap(),
        infinite: false,
        exclusive: true,
        owner: None,
        principal: ME.into(),
        timeout_secs: 9,
    };
    let locks = [folder.grant("urn:uuid:d", &[], 0, protocol_core::Timestamp(0)).unwrap()];
    let check = |there: bool| {
        let states = [there.then_some(State { etag: Some("e"), schedule_tag: None })];
        code(put.preconditions.check(&Current { states: &states, locks: &locks }))
    };
    assert_eq!((check(true), check(false)), (200, 423));
}

#[test]
fn a_lock_beside_a_shared_one_is_a_question_of_granting() {
    let x = "/dav/files/a@h.example/d/x";
    let body = "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:shared/></D:lockscope><D:locktype>\
                <D:write/></D:locktype></D:lockinfo>";
    let lock = |target: &str| match planned("LOCK", target, &[("Depth", "0")], body).unwrap() {
        Plan::Lock(lock) => lock,
        other => panic!("{other:?}"),
    };
    let first = lock(x).request.grant("urn:uuid:1", &[], 0, protocol_core::Timestamp(0)).unwrap();
    let folder = lock("/dav/files/a@h.example/d").request;
    let parent = folder.grant("urn:uuid:2", &[], 0, protocol_core::Timestamp(0)).unwrap();
    let check = |there: bool, locks: &[crate::lock::ActiveLock]| {
        let states = [there.then_some(State { etag: Some("e"), schedule_tag: None })];
        code(lock(x).preconditions.check(&Current { states: &states, locks }))
    };
    assert_eq!((check(true, &[first]), check(false, &[parent])), (200, 423));
}

#[test]
fn reports_where_they_belong() {
    let multiget = |space: &str, name: &str| {
        format!("<X:{name} xmlns:X='{space}' xmlns:D='DAV:'><D:prop/><D:href>/dav/x</D:href></X:{name}>")
    };
    let calendar = multiget("urn:ietf:params:xml:ns:caldav", "calendar-multiget");
    let card = multiget("urn:ietf:params:xml:ns:carddav", "addressbook-multiget");
    let sync = "<D:sync-collection xmlns:D='DAV:'><D:sync-token/><D:sync-level>1</D:sync-level><D:prop/>\
                </D:sync-collection>";
    for (target, depth, body, status) in [
        ("/dav/cal/a@h.example/c/", "1", calendar.as_str(), 200),
        ("/dav/cal/a@h.example/inbox/", "0", &calendar, 200),
        ("/dav/cal/a@h.example/", "0", &calendar, 403),
        ("/dav/card/a@h.example/c/", "0", &calendar, 403),
        ("/dav/card/a@h.example/c/", "0", &card, 200),
        ("/dav/cal/a@h.example/c/", "0", sync, 200),
        ("/dav/cal/a@h.example/c/", "1", sync, 400),
        ("/dav/cal/a@h.example/", "0", sync, 403),
        ("/dav/files/a@h.example/", "0", sync, 200),
        ("/dav/cal/a@h.example/c/", "0", "", 400),
    ] {
        assert_eq!(code(planned("REPORT", target, &[("Depth", depth)], body)), status, "{target} {depth}");
    }
    let deep = sync.replace(">1<", ">infinite<");
    assert_eq!(code(planned("REPORT", "/dav/cal/a@h.example/c/", &[], &deep)), 200);
    let refused = condition(planned("REPORT", "/dav/files/a@h.example/", &[], &deep));
    assert_eq!(refused, Some(Condition::SyncTraversalSupported));
}

#[test]
fn gets() {
    let path = Path::parse("/dav/files/a@h.example/x.html", "").unwrap();
    let resource = Resource {
        etag: Some("e1"),
        length: 10,
        content_type: "text/html",
        modified: protocol_core::Timestamp(951_782_400_000),
        ..Resource::new(&path, Kind::File)
    };
    let get = |method: &str, fields: &[(&str, &str)]| match planned(
        method,
        "/dav/files/a@h.example/x.html",
        fields,
        "",
    )
    .unwrap()
    {
        Plan::Get(get) => get.answer(Some(&resource)),
        other => panic!("{other:?}"),
    };
    let whole = get("GET", &[]).unwrap();
    assert_eq!((whole.status, whole.part, whole.length), (Status(200), Some((0, 10)), Some(10)));
    let last_modified = ("last-modified", "Tue, 29 Feb 2000 00:00:00 GMT".to_owned());
    assert!(whole.headers.contains(&last_modified));
    let head = get("HEAD", &[("Range", "bytes=1-2")]).unwrap();
    assert_eq!((head.status, head.part, head.length), (Status(200), None, Some(10)));
    let part = get("GET", &[("Range", "bytes=1-2")]).unwrap();
    assert_eq!((part.status, part.part, part.length), (Status(206), Some((1, 2)), Some(2)));
    assert!(part.headers.contains(&("content-range", "bytes 1-2/10".to_owned())));
    assert_eq!(get("GET", &[("Range", "bytes=10-")]).unwrap().status, Status(416));
    assert_eq!(get("GET", &[("If-None-Match", "\"e1\"")]).unwrap().status, Status(304));
    assert_eq!(code(get("GET", &[("If-Match", "\"e2\"")])), 412);
    let folder = Resource::new(&path, Kind::Folder);
    let Ok(Plan::Get(plan)) = planned("GET", "/dav/files/a@h.example/x.html", &[], "") else {
        panic!("a get")
    };
    assert_eq!(code(plan.answer(Some(&folder))), 405);
    assert_eq!(code(plan.answer(None)), 404);
}

#[test]
fn dv14_what_is_stored_is_never_shown_as_a_page_of_ours() {
    for (name, content_type) in [("x.html", "text/html"), ("x.svg", "image/svg+xml"), ("x", "")] {
        let path = Path::parse(&format!("/dav/files/a@h.example/{name}"), "").unwrap();
        let resource =
            Resource { etag: Some("e"), length: 1, content_type, ..Resource::new(&path, Kind::File) };
        let Ok(Plan::Get(get)) = planned("GET", &path.href(false), &[], "") else { panic!("a get") };
        let headers = get.answer(Some(&resource)).unwrap().headers;
        for expected in [
            ("content-disposition", "attachment"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox; default-src 'none'"),
        ] {
            assert!(headers.contains(&(expected.0, expected.1.to_owned())), "{name}: {headers:?}");
        }
    }
}
