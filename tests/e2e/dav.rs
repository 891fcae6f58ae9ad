//! WebDAV, CalDAV and CardDAV on the real binary: by hand and by litmus. What hostile clients send is in `dav_attacks`.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::api::{Answer, http};
use crate::harness::{Inbox, PASSWORD, eventually, have};

/// Somebody with a mailbox.
pub struct Person {
    pub port: u16,
    pub address: String,
    pub password: String,
}

impl Person {
    pub fn new(inbox: &Inbox, name: &str) -> Person {
        let port = inbox.port("HTTP_PORT");
        Person { port, address: format!("{name}@example.test"), password: PASSWORD.to_owned() }
    }

    pub fn cal(&self, below: &str) -> String {
        format!("/dav/cal/{}/{below}", self.address)
    }

    pub fn card(&self, below: &str) -> String {
        format!("/dav/card/{}/{below}", self.address)
    }

    pub fn file(&self, below: &str) -> String {
        format!("/dav/files/{}/{below}", self.address)
    }

    pub fn authorization(&self) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", self.address, self.password)))
    }

    pub fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let authorization = self.authorization();
        let mut all = vec![("Authorization", authorization.as_str())];
        all.extend_from_slice(fields);
        http(self.port, method, path, &all, body)
    }

    /// What is put somewhere must be taken; its entity tag.
    pub fn put(&self, path: &str, body: &str) -> String {
        let answer = self.ask("PUT", path, &[], body.as_bytes());
        assert!(matches!(answer.status, 201 | 204), "PUT {path}: {} {}", answer.status, answer.body);
        answer.field("etag").unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn status(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> u16 {
        self.ask(method, path, fields, body).status
    }

    pub fn propfind(&self, path: &str, depth: &str, props: &str) -> String {
        let body = format!(
            "<D:propfind xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\" \
             xmlns:R=\"urn:ietf:params:xml:ns:carddav\"><D:prop>{props}</D:prop></D:propfind>"
        );
        let answer = self.ask("PROPFIND", path, &[("Depth", depth)], body.as_bytes());
        assert_eq!(answer.status, 207, "PROPFIND {path}: {}", answer.body);
        answer.text()
    }

    /// What changed since a token: the answer, and the next token.
    pub fn sync(&self, path: &str, token: &str) -> (String, String) {
        let body = format!(
            "<D:sync-collection xmlns:D=\"DAV:\"><D:sync-token>{token}</D:sync-token>\
             <D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
        );
        let answer = self.ask("REPORT", path, &[], body.as_bytes());
        assert_eq!(answer.status, 207, "sync {path}: {}", answer.body);
        let text = answer.text();
        let token = between(&text, "<D:sync-token>", "</D:sync-token>").expect("a token").to_owned();
        (text, token)
    }
}

pub fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let from = text.find(start)? + start.len();
    Some(&text[from..from + text[from..].find(end)?])
}

pub fn event(uid: &str, summary: &str, more: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260105T090000Z\r\nDTEND:20260105T100000Z\r\nSUMMARY:{summary}\r\n\
         {more}END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

pub fn card(uid: &str, name: &str) -> String {
    format!("BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:{name}\r\nN:{name};;;;\r\nEND:VCARD\r\n")
}

#[test]
fn litmus_finds_no_fault() {
    if !have(&["litmus"]) {
        return;
    }
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let url = format!("http://127.0.0.1:{}{}", alice.port, alice.file(""));
    let output = Command::new("litmus")
        .args(["--keep-going", &url, &alice.address, &alice.password])
        .current_dir(&inbox.dir.0)
        .output()
        .expect("litmus runs");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("FAIL"), "{text}");
    // hyper cuts a fragment off a request's target before anybody sees it.
    let warnings: Vec<&str> = text.lines().filter(|line| line.contains("WARNING")).collect();
    assert!(warnings.iter().all(|line| line.contains("delete_fragment")), "{text}");
    let good = text.matches(" 0 failed.").count();
    assert_eq!(good, 5, "basic, copymove, props, locks and http: {text}");
}

#[test]
fn an_address_and_a_password_lead_to_everything() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    for service in ["caldav", "carddav"] {
        let answer = http(alice.port, "PROPFIND", &format!("/.well-known/{service}"), &[], b"");
        assert_eq!(answer.status, 301);
        assert_eq!(answer.field("location").as_deref(), Some("/dav/"));
    }
    let nobody = http(alice.port, "PROPFIND", "/dav/", &[("Depth", "0")], b"");
    assert_eq!(nobody.status, 401);
    assert!(nobody.field("www-authenticate").is_some_and(|v| v.starts_with("basic")), "{}", nobody.head);
    let top = alice.propfind("/dav/", "0", "<D:current-user-principal/>");
    let principal = between(&top, "<D:current-user-principal><D:href>", "</D:href>").expect("a principal");
    assert_eq!(principal, format!("/dav/principals/{}/", alice.address));
    let homes = alice.propfind(
        principal,
        "0",
        "<C:calendar-home-set/><R:addressbook-home-set/><C:schedule-inbox-URL/><C:calendar-user-address-set/>",
    );
    for part in [alice.cal(""), alice.card(""), alice.cal("inbox/"), format!("mailto:{}", alice.address)] {
        assert!(homes.contains(&format!("<D:href>{part}</D:href>")), "{part}: {homes}");
    }
    let calendars =
        alice.propfind(&alice.cal(""), "1", "<D:resourcetype/><C:supported-calendar-component-set/>");
    for name in ["default/", "tasks/", "inbox/", "outbox/"] {
        assert!(calendars.contains(&format!("<D:href>{}</D:href>", alice.cal(name))), "{calendars}");
    }
    assert!(alice.propfind(&alice.card(""), "1", "<D:resourcetype/>").contains(&alice.card("default/")));
    let options = alice.ask("OPTIONS", &alice.cal("default/"), &[], b"");
    assert!(options.field("dav").is_some_and(|v| v.contains("calendar-access")), "{}", options.head);
    let dns = inbox.cli_ok(&["domain", "show", "example.test"]);
    for record in ["_caldavs._tcp.example.test.", "_carddavs._tcp.example.test.", "path=/dav/"] {
        assert!(dns.contains(record), "{dns}");
    }
}

#[test]
fn ti1_what_is_anothers_is_not_there() {
    let inbox = Inbox::prepared();
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    inbox.add_mailbox("carol@other.test");
    let mut inbox = inbox;
    inbox.start();
    let (alice, bob) = (Person::new(&inbox, "alice"), Person::new(&inbox, "bob"));
    let carol = Person { address: "carol@other.test".into(), ..Person::new(&inbox, "carol") };
    alice.put(&alice.cal("default/1.ics"), &event("1", "secret", ""));
    alice.put(&alice.file("a.txt"), "secret");
    let nowhere = alice.address.replace("alice", "nobody");
    for other in [&bob, &carol] {
        for path in [alice.cal("default/1.ics"), alice.file("a.txt"), alice.cal("default/"), alice.cal("")] {
            let absent = path.replace(&alice.address, &nowhere);
            for method in ["GET", "PROPFIND", "PUT", "DELETE", "REPORT", "LOCK", "MKCOL", "PROPPATCH"] {
                let fields = [("Depth", "0")];
                let (real, fake) =
                    (other.ask(method, &path, &fields, b""), other.ask(method, &absent, &fields, b""));
                assert_eq!(real.status, 404, "{method} {path}");
                assert_eq!((real.status, real.body), (fake.status, fake.body), "{method} {path}");
            }
        }
        let destination = format!("http://localhost{}", alice.file("b.txt"));
        other.put(&other.file("mine.txt"), "x");
        let copied = other.status("COPY", &other.file("mine.txt"), &[("Destination", &destination)], b"");
        assert_eq!(copied, 403);
        let multiget = format!(
            "<C:calendar-multiget xmlns:C=\"urn:ietf:params:xml:ns:caldav\" xmlns:D=\"DAV:\"><D:prop><D:getetag/></D:prop>\
             <D:href>{}</D:href></C:calendar-multiget>",
            alice.cal("default/1.ics")
        );
        let answer = other.ask("REPORT", &other.cal("default/"), &[], multiget.as_bytes());
        assert!(answer.status == 207 && answer.body.contains("404") && !answer.body.contains("200 OK"));
    }
    let wrong = Person { password: "wrong".into(), ..Person::new(&inbox, "alice") };
    assert_eq!(wrong.status("GET", &alice.file("a.txt"), &[], b""), 401);
    assert_eq!(http(alice.port, "GET", &alice.file("a.txt"), &[], b"").status, 401);
    // A key of the API opens no mailbox.
    let key = inbox.cli_json(&["key", "create", "--json", "--org", "test", "--scope", "admin"]);
    let bearer = format!("Bearer {}", key["secret"].as_str().expect("a secret"));
    assert_eq!(http(alice.port, "GET", &alice.file("a.txt"), &[("Authorization", &bearer)], b"").status, 401);
}

#[test]
fn what_is_kept_outlives_the_process_and_is_sealed() {
    let mut inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let object = event("kept-uid", "Sandcastle", "LOCATION:Beachfront\r\n");
    let etag = alice.put(&alice.cal("default/kept-name.ics"), &object);
    alice.put(&alice.card("default/c.vcf"), &card("c", "Wilhelmina"));
    let large: String = (0..400_000).map(|n| format!("line {n} of Mountaintop\n")).collect();
    alice.put(&alice.file("remarkable-name.txt"), &large);
    let (_, token) = alice.sync(&alice.cal("default/"), "");
    inbox.kill();
    inbox.start();
    let got = alice.get(&alice.cal("default/kept-name.ics"));
    assert_eq!((got.status, got.body.as_str()), (200, object.as_str()));
    assert_eq!(got.field("etag"), Some(etag));
    assert_eq!(alice.get(&alice.file("remarkable-name.txt")).body, large);
    let part = alice.ask("GET", &alice.file("remarkable-name.txt"), &[("Range", "bytes=100000-100099")], b"");
    assert_eq!((part.status, part.body.as_str()), (206, &large[100_000..100_100]));
    alice.put(&alice.cal("default/new.ics"), &event("new", "New", ""));
    assert_eq!(alice.status("DELETE", &alice.cal("default/kept-name.ics"), &[], b""), 204);
    let (changes, _) = alice.sync(&alice.cal("default/"), &token);
    assert!(changes.contains("new.ics") && changes.contains("kept-name.ics"), "{changes}");
    assert!(changes.contains("404 Not Found"), "{changes}");
    inbox.stop();
    let mut seen = 0;
    let mut directories = vec![inbox.data_dir()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("it can be listed").flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
                continue;
            }
            let octets = std::fs::read(entry.path()).expect("it can be read");
            seen += octets.len();
            for word in
                ["Sandcastle", "Beachfront", "Wilhelmina", "Mountaintop", "kept-name", "remarkable-name"]
            {
                let found = octets.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!found, "{word} stands in {}", entry.path().display());
            }
        }
    }
    assert!(seen > large.len(), "the data was looked at");
    let checked = inbox.cli_ok(&["check"]);
    assert!(!checked.contains("counted"), "{checked}");
}

#[test]
fn preconditions_hold_and_quotas_too() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let path = alice.cal("default/1.ics");
    let first = alice.put(&path, &event("1", "one", ""));
    let put = |fields: &[(&str, &str)], body: &str| alice.status("PUT", &path, fields, body.as_bytes());
    let two = event("1", "two", "");
    assert_eq!(put(&[("If-None-Match", "*")], &two), 412);
    assert_eq!(put(&[("If-Match", "\"other\"")], &two), 412);
    assert_eq!(put(&[("If-Match", &first)], &two), 204);
    assert_eq!(put(&[("If-Match", &first)], &two), 412, "it has changed since");
    let conflict = alice.ask("PUT", &alice.cal("default/2.ics"), &[], two.as_bytes());
    assert!(conflict.status == 409 && conflict.body.contains("no-uid-conflict"), "{}", conflict.body);
    let todo = two.replace("VEVENT", "VTODO").replace("DTEND", "DUE").replace("UID:1", "UID:3");
    let wrong = alice.ask("PUT", &alice.cal("default/3.ics"), &[], todo.as_bytes());
    assert!(wrong.status == 403 && wrong.body.contains("supported-calendar-component"), "{}", wrong.body);
    alice.put(&alice.cal("tasks/3.ics"), &todo);
    // An alarm that would run a program is dropped, so the entity tag of what was sent is not told.
    let alarm =
        "BEGIN:VALARM\r\nACTION:PROCEDURE\r\nTRIGGER:-PT5M\r\nATTACH:file:///bin/sh\r\nEND:VALARM\r\n";
    assert_eq!(alice.put(&alice.cal("default/4.ics"), &event("4", "four", alarm)), "");
    assert!(!alice.get(&alice.cal("default/4.ics")).body.contains("PROCEDURE"));

    inbox.cli_ok(&["domain", "set", "example.test", "quota_mailbox_bytes=100000"]);
    assert_eq!(alice.status("PUT", &alice.file("big"), &[], &vec![b'x'; 200_000]), 507);
    assert_eq!(alice.status("PUT", &alice.file("small"), &[], &vec![b'x'; 60_000]), 201);
    assert_eq!(alice.status("PUT", &alice.file("other"), &[], &vec![b'x'; 60_000]), 507);
    let quota = alice.propfind(&alice.file(""), "0", "<D:quota-used-bytes/><D:quota-available-bytes/>");
    assert!(quota.contains("<D:quota-used-bytes>6"), "{quota}");
    assert_eq!(alice.status("DELETE", &alice.file("small"), &[], b""), 204);
    assert_eq!(alice.status("PUT", &alice.file("other"), &[], &vec![b'x'; 60_000]), 201);
}

#[test]
fn a_tree_goes_with_its_mailbox() {
    let inbox = Inbox::started();
    let bob = Person::new(&inbox, "bob");
    bob.put(&bob.file("a.txt"), "text");
    bob.put(&bob.cal("default/1.ics"), &event("1", "x", ""));
    inbox.cli_ok(&["mailbox", "delete", "bob@example.test"]);
    assert_eq!(bob.status("GET", &bob.file("a.txt"), &[], b""), 401);
    inbox.add_mailbox("bob@example.test");
    assert_eq!(bob.status("GET", &bob.file("a.txt"), &[], b""), 404);
    assert_eq!(bob.status("GET", &bob.cal("default/1.ics"), &[], b""), 404);
    assert!(bob.propfind(&bob.cal(""), "1", "<D:resourcetype/>").contains("/tasks/"));
}

#[test]
fn a_published_calendar_is_read_by_its_address_until_it_is_not() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let calendar = alice.cal("default/");
    alice.put(&alice.cal("default/1.ics"), &event("1", "Concert", "ATTENDEE:mailto:bob@example.test\r\n"));
    alice.put(&alice.cal("default/2.ics"), &event("2", "Surgery", "CLASS:PRIVATE\r\n"));
    let publish = |what: &str| {
        let body = format!("<p:{what} xmlns:p=\"http://calendarserver.org/ns/\"/>");
        assert_eq!(alice.status("POST", &calendar, &[], body.as_bytes()), 200);
        let url =
            alice.propfind(&calendar, "0", "<p:publish-url xmlns:p=\"http://calendarserver.org/ns/\"/>");
        between(&url, "<D:href>http://localhost", "</D:href>").map(str::to_owned)
    };
    let read = |path: &str| http(alice.port, "GET", path, &[], b"");
    assert_eq!(
        alice
            .propfind(&calendar, "0", "<p:publish-url xmlns:p=\"http://calendarserver.org/ns/\"/>")
            .matches("404")
            .count(),
        1
    );
    let first = publish("publish-calendar").expect("an address");
    let feed = read(&first);
    let text = feed.text();
    assert_eq!(feed.status, 200);
    assert!(
        text.contains("SUMMARY:Concert") && !text.contains("Surgery") && !text.contains("bob@"),
        "{text}"
    );
    assert!(text.starts_with("BEGIN:VCALENDAR\r\n") && text.ends_with("END:VCALENDAR\r\n"), "{text}");
    assert_eq!(http(alice.port, "PUT", &first, &[], b"x").status, 405);
    let mut guessed = first.clone();
    let digit = guessed.len() - ".ics".len() - 1;
    guessed.replace_range(digit..=digit, if first.as_bytes()[digit] == b'0' { "1" } else { "0" });
    assert_eq!(read(&guessed).status, 404);
    let second = publish("publish-calendar").expect("an address");
    assert_ne!(first, second);
    assert_eq!((read(&first).status, read(&second).status), (404, 200));
    // A copy is not published by that.
    let fields = [("Destination", format!("http://localhost{}", alice.cal("copy/")))];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert_eq!(alice.status("COPY", &calendar, &fields, b""), 201);
    assert!(
        !alice
            .propfind(&alice.cal("copy/"), "0", "<p:publish-url xmlns:p=\"http://calendarserver.org/ns/\"/>")
            .contains("public")
    );
    assert_eq!(publish("unpublish-calendar"), None);
    assert_eq!(read(&second).status, 404);
}

#[test]
fn the_directory_shows_the_organisation_and_cannot_be_changed() {
    let inbox = Inbox::prepared();
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    inbox.add_mailbox("carol@other.test");
    let mut inbox = inbox;
    inbox.start();
    let alice = Person::new(&inbox, "alice");
    let book = alice.card("directory/");
    assert!(alice.propfind(&alice.card(""), "1", "<D:resourcetype/>").contains(&book));
    let rights = alice.propfind(&book, "0", "<D:current-user-privilege-set/>");
    assert!(rights.contains("<D:read/>") && !rights.contains("<D:write"), "{rights}");
    let query = "<R:addressbook-query xmlns:R=\"urn:ietf:params:xml:ns:carddav\" xmlns:D=\"DAV:\"><D:prop><D:getetag/><R:address-data/></D:prop>\
         <R:filter><R:prop-filter name=\"EMAIL\"><R:text-match match-type=\"contains\">example.test</R:text-match></R:prop-filter></R:filter>\
         </R:addressbook-query>";
    let found = alice.ask("REPORT", &book, &[("Depth", "1")], query.as_bytes()).text();
    assert!(found.contains("EMAIL;TYPE=INTERNET:bob@example.test") && !found.contains("carol"), "{found}");
    let (all, token) = alice.sync(&book, "");
    let href = between(&all, "<D:href>", "</D:href>").expect("an href").to_owned();
    assert_eq!(alice.get(&href).status, 200);
    let multiget = format!(
        "<R:addressbook-multiget xmlns:R=\"urn:ietf:params:xml:ns:carddav\" xmlns:D=\"DAV:\"><D:prop><R:address-data/></D:prop>\
         <D:href>{href}</D:href></R:addressbook-multiget>"
    );
    assert!(alice.ask("REPORT", &book, &[], multiget.as_bytes()).text().contains("BEGIN:VCARD"));
    let (nothing, same) = alice.sync(&book, &token);
    assert!(same == token && !nothing.contains("<D:response>"), "{nothing}");
    for (method, path) in
        [("PUT", &*href), ("DELETE", &*href), ("DELETE", &*book), ("PUT", &format!("{book}x.vcf"))]
    {
        let text = if method == "PUT" { card("x", "X") } else { String::new() };
        let answer = alice.ask(method, path, &[], text.as_bytes());
        assert!(
            answer.status == 403 && answer.body.contains("need-privileges"),
            "{method} {path}: {}",
            answer.body
        );
    }
    inbox.add_mailbox("dora@example.test");
    let body = format!(
        "<D:sync-collection xmlns:D=\"DAV:\"><D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level><D:prop/></D:sync-collection>"
    );
    let answer = alice.ask("REPORT", &book, &[], body.as_bytes());
    assert!(answer.status == 403 && answer.body.contains("valid-sync-token"), "{}", answer.body);
    assert!(alice.sync(&book, "").0.matches("<D:response>").count() == 3);
}

#[test]
fn a_large_collection_is_gone_at_once_and_what_was_in_it_soon() {
    let mut inbox = Inbox::started();
    inbox.cli_ok(&["domain", "set", "example.test", "quota_mailbox_bytes=10000000"]);
    let alice = Person::new(&inbox, "alice");
    let used = || {
        let text = alice.propfind(&alice.file(""), "0", "<D:quota-used-bytes/>");
        between(&text, "<D:quota-used-bytes>", "<").and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    let calendar = alice.cal("large/");
    assert_eq!(alice.status("MKCALENDAR", &calendar, &[], b""), 201);
    // More than is removed at once, and a series of messages that must not find what nobody gets at.
    let many = 450;
    for n in 0..many {
        alice.put(&format!("{calendar}{n}.ics"), &event(&format!("u{n}"), "x", ""));
    }
    let full = used();
    assert_eq!(alice.status("DELETE", &calendar, &[], b""), 204);
    assert_eq!(alice.status("PROPFIND", &calendar, &[("Depth", "0")], b""), 404);
    assert_eq!(alice.get(&format!("{calendar}0.ics")).status, 404);
    let invited = "ORGANIZER:mailto:alice@example.test\r\nATTENDEE:mailto:bob@example.test\r\n";
    alice.put(&alice.cal("default/u449.ics"), &event("u449", "again", invited));
    // Killed meanwhile, it goes on where it was.
    inbox.kill();
    inbox.start();
    assert_eq!(alice.status("MKCALENDAR", &calendar, &[], b""), 201);
    assert!(alice.sync(&calendar, "").0.matches("<D:response>").count() == 0);
    alice.put(&format!("{calendar}0.ics"), &event("u0", "new", ""));
    let left = full / u64::from(many as u32) * 4;
    eventually(Duration::from_secs(90), "the octets are free again", || used() < left);
    assert_eq!(alice.get(&format!("{calendar}0.ics")).status, 200);
    assert_eq!(alice.get(&alice.cal("default/u449.ics")).status, 200);
    inbox.stop();
    inbox.cli_ok(&["check"]);
}
