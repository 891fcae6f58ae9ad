//! Calendars and address books that colleagues share: who sees and changes what, before, during and after.

use crate::api::Answer;
use crate::dav::{Person, between, card, event};
use crate::harness::Inbox;

const SPACES: &str =
    "xmlns:D=\"DAV:\" xmlns:S=\"http://calendarserver.org/ns/\" xmlns:I=\"http://apple.com/ns/ical/\"";

fn share(who: &Person, path: &str, changes: &[(&str, &str)]) -> Answer {
    let change = |(address, access): &(&str, &str)| match *access {
        "" => format!("<S:remove><D:href>mailto:{address}</D:href></S:remove>"),
        access => format!("<S:set><D:href>mailto:{address}</D:href><S:{access}/></S:set>"),
    };
    let changes: String = changes.iter().map(change).collect();
    who.ask("POST", path, &[], format!("<S:share {SPACES}>{changes}</S:share>").as_bytes())
}

/// What is shared with somebody, by where they see it.
fn shared_with(who: &Person, home: &str) -> Vec<String> {
    let body = format!("<D:propfind {SPACES}><D:prop><D:resourcetype/></D:prop></D:propfind>");
    let answer = who.ask("PROPFIND", home, &[("Depth", "1")], body.as_bytes());
    assert_eq!(answer.status, 207, "{}", answer.body);
    let text = answer.text();
    let shared =
        text.split("<D:response>").filter(|row| row.contains("<S:shared/>") || row.contains("<CS:shared/>"));
    shared.filter_map(|row| between(row, "<D:href>", "</D:href>").map(str::to_owned)).collect()
}

fn only(mut all: Vec<String>) -> String {
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn props(who: &Person, path: &str, props: &str) -> String {
    let body = format!("<D:propfind {SPACES}><D:prop>{props}</D:prop></D:propfind>");
    let answer = who.ask("PROPFIND", path, &[("Depth", "0")], body.as_bytes());
    assert_eq!(answer.status, 207, "{path}: {}", answer.body);
    answer.text()
}

fn set(who: &Person, path: &str, props: &str) -> u16 {
    let body =
        format!("<D:propertyupdate {SPACES}><D:set><D:prop>{props}</D:prop></D:set></D:propertyupdate>");
    who.status("PROPPATCH", path, &[], body.as_bytes())
}

/// One of the two kinds of collection.
struct Kind {
    home: fn(&Person, &str) -> String,
    object: fn(&str) -> String,
    query: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        home: |who, below| who.cal(below),
        object: |uid| event(uid, uid, ""),
        query: "<C:calendar-query xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><D:prop><D:getetag/></D:prop>\
             <C:filter><C:comp-filter name=\"VCALENDAR\"/></C:filter></C:calendar-query>",
    },
    Kind {
        home: |who, below| who.card(below),
        object: |uid| card(uid, uid),
        query: "<C:addressbook-query xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:carddav\"><D:prop><D:getetag/></D:prop>\
             <C:filter/></C:addressbook-query>",
    },
];

/// Everything that can be asked of a collection and what is in it: its name, and the status.
fn all_requests(who: &Person, kind: &Kind, at: &str, names: [&str; 3]) -> Vec<(&'static str, u16)> {
    let [there, gone, new] = names.map(|name| format!("{at}{name}"));
    let put = |path: &str, uid: &str| who.status("PUT", path, &[], (kind.object)(uid).as_bytes());
    let to = |method: &str, from: &str, to: &str| {
        let to = format!("http://localhost{to}");
        who.status(method, from, &[("Destination", &to)], b"")
    };
    let lock = "<D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>";
    let sync = "<D:sync-collection xmlns:D=\"DAV:\"><D:sync-token/><D:sync-level>1</D:sync-level><D:prop/></D:sync-collection>";
    vec![
        ("PROPFIND 0", who.status("PROPFIND", at, &[("Depth", "0")], b"")),
        ("PROPFIND 1", who.status("PROPFIND", at, &[("Depth", "1")], b"")),
        ("PROPFIND object", who.status("PROPFIND", &there, &[("Depth", "0")], b"")),
        ("GET", who.status("GET", &there, &[], b"")),
        ("HEAD", who.status("HEAD", &there, &[], b"")),
        ("REPORT query", who.status("REPORT", at, &[("Depth", "1")], kind.query.as_bytes())),
        ("REPORT sync", who.status("REPORT", at, &[], sync.as_bytes())),
        ("PROPPATCH object", set(who, &there, "<D:displayname>x</D:displayname>")),
        ("PUT there", put(&there, "there")),
        ("PUT new", put(&new, "new")),
        ("DELETE object", who.status("DELETE", &gone, &[], b"")),
        ("MOVE within", to("MOVE", &new, &format!("{at}moved"))),
        ("COPY out", to("COPY", &there, &(kind.home)(who, "default/copied"))),
        ("MOVE out", to("MOVE", &there, &(kind.home)(who, "default/copied"))),
        ("MOVE in", to("MOVE", &(kind.home)(who, "default/own"), &format!("{at}own"))),
        ("COPY collection", to("COPY", at, &(kind.home)(who, "copied/"))),
        ("LOCK object", who.status("LOCK", &there, &[], lock.as_bytes())),
        ("LOCK collection", who.status("LOCK", at, &[], lock.as_bytes())),
        ("MKCOL", who.status("MKCOL", at, &[], b"")),
        ("share", share(who, at, &[("dave@example.test", "read")]).status),
        ("PROPPATCH collection", set(who, at, "<D:displayname>own</D:displayname>")),
    ]
}

#[test]
fn ti1_who_may_do_what_with_what_is_shared() {
    let inbox = Inbox::started();
    for name in ["carol", "dave"] {
        inbox.add_mailbox(&format!("{name}@example.test"));
    }
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    inbox.add_mailbox("eve@other.test");
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| Person::new(&inbox, name));
    let eve = Person { address: "eve@other.test".into(), ..Person::new(&inbox, "eve") };
    for kind in &KINDS {
        let at = (kind.home)(&alice, "default/");
        for name in ["there", "gone-r", "gone-w", "gone-o"] {
            alice.put(&format!("{at}{name}"), &(kind.object)(name));
        }
        for who in [&bob, &carol, &dave, &eve, &alice] {
            who.put(&(kind.home)(who, "default/own"), &(kind.object)("own"));
        }
        assert_eq!(
            share(&alice, &at, &[("bob@example.test", "read"), ("carol@example.test", "read-write")]).status,
            200
        );
        let reads = only(shared_with(&bob, &(kind.home)(&bob, "")));
        let writes = only(shared_with(&carol, &(kind.home)(&carol, "")));
        assert!(shared_with(&dave, &(kind.home)(&dave, "")).is_empty());

        // What may be read is read, and nothing else is done.
        let read = |name: &str| match name {
            "GET" | "HEAD" => 200,
            "MKCOL" => 405,
            // What could not be put there is not there.
            "MOVE within" => 404,
            _ if name.starts_with("PROPFIND") || name.starts_with("REPORT") => 207,
            "PROPPATCH collection" => 207,
            _ => 403,
        };
        for (name, status) in all_requests(&bob, kind, &reads, ["there", "gone-r", "new-r"]) {
            assert_eq!(status, read(name), "who may read: {name}");
        }
        assert_eq!(alice.get(&format!("{at}gone-r")).status, 200);
        // Who may write changes what is in it, but nothing leaves or enters the owner's tree by it.
        for (name, status) in all_requests(&carol, kind, &writes, ["there", "gone-w", "new-w"]) {
            let expected = match name {
                "PUT there" | "DELETE object" => 204,
                "PUT new" | "MOVE within" => 201,
                "PROPPATCH object" => 207,
                name => read(name),
            };
            assert_eq!(status, expected, "who may write: {name}");
        }
        assert_eq!(alice.get(&format!("{at}gone-w")).status, 404);
        assert_eq!(alice.get(&format!("{at}moved")).status, 200);
        // By the owner's path nobody else gets anywhere, whatever is shared with them.
        for who in [&bob, &carol, &dave, &eve] {
            for (name, status) in all_requests(who, kind, &at, ["there", "gone-o", "new-o"]) {
                let expected = if name == "MOVE in" { 403 } else { 404 };
                assert_eq!(status, expected, "{}, by the owner's path: {name}", who.address);
            }
        }
        assert_eq!(alice.get(&format!("{at}gone-o")).status, 200);

        // When it has ended, the place is one at which nothing ever was.
        assert_eq!(share(&alice, &at, &[("bob@example.test", ""), ("carol@example.test", "")]).status, 200);
        for (who, was) in [(&bob, &reads), (&carol, &writes)] {
            assert!(shared_with(who, &(kind.home)(who, "")).is_empty());
            let never = (kind.home)(who, "never/");
            let names = ["there", "gone-o", "new-x"];
            let expected = all_requests(who, kind, &never, names);
            // Here one is made, at last.
            assert_eq!(who.status("DELETE", &never, &[], b""), 204);
            assert_eq!(all_requests(who, kind, was, names), expected, "{}, after the end", who.address);
            assert_eq!(who.status("DELETE", was, &[], b""), 204);
        }
        assert_eq!(alice.get(&format!("{at}gone-o")).status, 200);
        assert!(!props(&alice, &at, "<S:invite/>").contains("mailto:bob"));
    }
}

#[test]
fn what_is_shared_has_everybodys_own_name_and_one_content() {
    let mut inbox = Inbox::started();
    let (alice, bob) = (Person::new(&inbox, "alice"), Person::new(&inbox, "bob"));
    let at = alice.cal("default/");
    alice.put(&alice.cal("default/1.ics"), &event("1", "one", ""));
    assert_eq!(
        set(&alice, &at, "<D:displayname>Team</D:displayname><I:calendar-color>#ff0000</I:calendar-color>"),
        207
    );
    // Only people of the same organisation, and who else there is nobody learns.
    let refused: Vec<Answer> = ["nobody@example.test", "eve@elsewhere.test", "alice@example.test"]
        .iter()
        .map(|address| share(&alice, &at, &[(address, "read")]))
        .collect();
    assert!(refused.iter().all(|a| a.status == 403 && a.body == refused[0].body), "{}", refused[0].body);
    assert!(refused[0].body.contains("valid-sharee"), "{}", refused[0].body);
    assert_eq!(share(&alice, &at, &[("bob@example.test", "read-write")]).status, 200);
    let place = only(shared_with(&bob, &bob.cal("")));
    let told = props(
        &bob,
        &place,
        "<D:displayname/><I:calendar-color/><D:owner/><D:current-user-privilege-set/><D:acl/><S:invite/>",
    );
    for part in
        ["Team", "#ff0000", "/dav/principals/alice@example.test/", "<D:write/>", "mailto:alice@example.test"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("<D:privilege><D:all/></D:privilege></D:current-user-privilege-set>"), "{told}");
    assert_eq!(
        set(
            &bob,
            &place,
            "<D:displayname>Alice's</D:displayname><I:calendar-color>#00ff00</I:calendar-color>"
        ),
        207
    );
    let (theirs, own) = (
        props(&bob, &place, "<D:displayname/><I:calendar-color/>"),
        props(&alice, &at, "<D:displayname/><I:calendar-color/>"),
    );
    assert!(theirs.contains("Alice's") && theirs.contains("#00ff00"), "{theirs}");
    assert!(own.contains("Team") && own.contains("#ff0000"), "{own}");
    assert!(props(&alice, &at, "<S:invite/><D:resourcetype/><D:acl/>").contains("mailto:bob@example.test"));
    // One content, by either's synchronisation.
    let (_, alices) = alice.sync(&at, "");
    let (first, bobs) = bob.sync(&place, "");
    assert!(first.contains(&format!("{place}1.ics")), "{first}");
    bob.put(&format!("{place}2.ics"), &event("2", "two", ""));
    let (changes, _) = alice.sync(&at, &alices);
    assert!(changes.contains("default/2.ics") && !changes.contains("1.ics"), "{changes}");
    assert_eq!(alice.status("DELETE", &alice.cal("default/1.ics"), &[], b""), 204);
    inbox.stop();
    inbox.start();
    let (changes, _) = bob.sync(&place, &bobs);
    assert!(changes.contains("2.ics") && changes.contains("404"), "{changes}");
    // Wherever the owner moves it, it is the same; less may be allowed; and who has enough of it leaves.
    let to = format!("http://localhost{}", alice.cal("team/"));
    assert_eq!(alice.status("MOVE", &at, &[("Destination", &to)], b""), 201);
    assert_eq!(bob.get(&format!("{place}2.ics")).status, 200);
    assert_eq!(share(&alice, &alice.cal("team/"), &[("bob@example.test", "read")]).status, 200);
    assert_eq!(only(shared_with(&bob, &bob.cal(""))), place);
    assert_eq!(bob.status("DELETE", &format!("{place}2.ics"), &[], b""), 403);
    assert_eq!(bob.status("DELETE", &place, &[], b""), 204);
    assert_eq!(alice.get(&alice.cal("team/2.ics")).status, 200);
    assert!(!props(&alice, &alice.cal("team/"), "<S:invite/>").contains("mailto:bob"));
    // A calendar that is gone is gone for everybody.
    assert_eq!(share(&alice, &alice.cal("team/"), &[("bob@example.test", "read")]).status, 200);
    let place = only(shared_with(&bob, &bob.cal("")));
    assert_eq!(alice.status("DELETE", &alice.cal("team/"), &[], b""), 204);
    assert!(shared_with(&bob, &bob.cal("")).is_empty());
    assert_eq!(bob.status("PROPFIND", &place, &[("Depth", "0")], b""), 404);
}

#[test]
fn nobody_arranges_meetings_in_the_name_of_somebody_else() {
    let inbox = Inbox::started();
    inbox.add_mailbox("carol@example.test");
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| Person::new(&inbox, name));
    let invite = |uid: &str, organizer: &str| {
        let parties = format!("ORGANIZER:mailto:{organizer}\r\nATTENDEE:mailto:carol@example.test\r\n");
        event(uid, uid, &parties)
    };
    alice.put(&alice.cal("default/own.ics"), &invite("own", "alice@example.test"));
    alice.put(&alice.cal("default/plain.ics"), &event("plain", "plain", ""));
    let carols = || carol.sync(&carol.cal("default/"), "").0.matches(".ics</D:href>").count();
    assert_eq!(carols(), 1);
    assert_eq!(share(&alice, &alice.cal("default/"), &[("bob@example.test", "read-write")]).status, 200);
    let place = only(shared_with(&bob, &bob.cal("")));
    let put = |name: &str, text: &str| bob.ask("PUT", &format!("{place}{name}"), &[], text.as_bytes());
    for organizer in ["alice@example.test", "bob@example.test", "carol@example.test"] {
        for name in ["new.ics", "own.ics", "plain.ics"] {
            let answer = put(name, &invite(name.trim_end_matches(".ics"), organizer));
            assert!(
                answer.status == 403 && answer.body.contains("need-privileges"),
                "{name} {organizer}: {}",
                answer.status
            );
        }
    }
    // What the owner has arranged stays as it is, even for somebody who would take it away quietly.
    assert_eq!(put("own.ics", &event("own", "own", "")).status, 403);
    let moved = format!("http://localhost{place}elsewhere.ics");
    for (method, fields) in [("DELETE", ("Schedule-Reply", "F")), ("MOVE", ("Destination", moved.as_str()))] {
        assert_eq!(bob.status(method, &format!("{place}own.ics"), &[fields], b""), 403, "{method}");
    }
    assert_eq!(put("plain.ics", &event("plain", "changed", "")).status, 204);
    assert_eq!(carols(), 1, "and nobody heard of anything");
    // Nor does what others do make somebody busy, or take in what they are invited to.
    let asked = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nMETHOD:REQUEST\r\nBEGIN:VFREEBUSY\r\nUID:f\r\nDTSTAMP:20260101T000000Z\r\n\
         ORGANIZER:mailto:carol@example.test\r\nATTENDEE:mailto:bob@example.test\r\nDTSTART:20200101T000000Z\r\n\
         DTEND:20300101T000000Z\r\nEND:VFREEBUSY\r\nEND:VCALENDAR\r\n";
    let answer = carol.ask("POST", &carol.cal("outbox/"), &[], asked.as_bytes());
    assert!(answer.status == 200 && !answer.body.contains("FREEBUSY;"), "{}", answer.body);
    alice.put(&alice.cal("default/b.ics"), &invite("b", "alice@example.test").replace("carol", "bob"));
    assert!(bob.sync(&bob.cal("default/"), "").0.contains(".ics</D:href>"));
}
