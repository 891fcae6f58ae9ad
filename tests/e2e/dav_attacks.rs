//! What hostile clients send to the real server over DAV, row by row (docs/SECURITY.md).

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::api::{Answer, http};
use crate::dav::{Person, card, event};
use crate::harness::{Inbox, have};

/// What an answer may add to the server's memory, whatever its size.
const ANSWER_KIB_MAX: u64 = 16 * 1024;

fn alive(who: &Person) {
    assert_eq!(http(who.port, "GET", "/health/live", &[], b"").status, 200, "it is still there");
}

fn refused(answer: &Answer, status: u16, condition: &str) {
    assert!(answer.status == status && answer.body.contains(condition), "{} {}", answer.status, answer.body);
}

fn propfind(who: &Person, depth: &str, body: &[u8]) -> Answer {
    who.ask("PROPFIND", &who.file(""), &[("Depth", depth)], body)
}

fn kib(inbox: &Inbox, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", inbox.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// Resident memory that something adds at its peak, in KiB, and what it gives.
fn added<T>(inbox: &Inbox, work: impl Fn() -> T) -> (u64, T) {
    // What is made once for all answers is no cost of this one.
    work();
    std::fs::write(format!("/proc/{}/clear_refs", inbox.pid()), "5").expect("the peak can be forgotten");
    let before = kib(inbox, "VmRSS");
    let got = work();
    (kib(inbox, "VmHWM").saturating_sub(before), got)
}

#[test]
fn dv1_document_types_are_refused_and_nothing_is_opened_for_them() {
    if !have(&["strace"]) {
        return;
    }
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    propfind(&alice, "0", b"");
    let secret = inbox.dir.0.join("secret.txt");
    std::fs::write(&secret, "the secret").expect("a file");
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("asked without waiting");
    let port = elsewhere.local_addr().expect("bound").port();
    let calls = inbox.dir.0.join("calls");
    let mut tracer = Command::new("strace")
        .args(["-f", "-e", "trace=open,openat,openat2,connect", "-o"])
        .arg(&calls)
        .args(["-p", &inbox.pid().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace starts");
    let mut told = String::new();
    BufReader::new(tracer.stderr.take().expect("piped")).read_line(&mut told).expect("a line");
    assert!(told.contains("attached"), "{told}");
    let file = format!("file://{}", secret.display());
    let web = format!("http://127.0.0.1:{port}/x");
    let laughs: String = (1..10).fold("<!ENTITY l0 \"ha\">".to_owned(), |mut all, n| {
        let _ = write!(all, "<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10));
        all
    });
    let bodies = [
        format!(
            "<!DOCTYPE p [<!ENTITY x SYSTEM \"{file}\">]><D:propfind xmlns:D=\"DAV:\"><D:prop>&x;</D:prop></D:propfind>"
        ),
        format!(
            "<!DOCTYPE p [<!ENTITY x SYSTEM \"{web}\">]><D:propfind xmlns:D=\"DAV:\"><D:prop>&x;</D:prop></D:propfind>"
        ),
        format!(
            "<!DOCTYPE p [<!ENTITY % x SYSTEM \"{web}\"> %x;]><D:propfind xmlns:D=\"DAV:\"><D:allprop/></D:propfind>"
        ),
        format!("<!DOCTYPE p SYSTEM \"{web}\"><D:propfind xmlns:D=\"DAV:\"><D:allprop/></D:propfind>"),
        format!("<!DOCTYPE p [{laughs}]><D:propfind xmlns:D=\"DAV:\"><D:prop>&l9;</D:prop></D:propfind>"),
        "<!DOCTYPE p><D:propfind xmlns:D=\"DAV:\"><D:allprop/></D:propfind>".to_owned(),
        "<D:propfind xmlns:D=\"DAV:\"><D:prop>&x;</D:prop></D:propfind>".to_owned(),
    ];
    for body in &bodies {
        for (method, path) in [
            ("PROPFIND", alice.file("")),
            ("PROPPATCH", alice.cal("default/")),
            ("REPORT", alice.cal("default/")),
            ("LOCK", alice.file("new")),
            ("MKCOL", alice.file("new/")),
            ("POST", alice.cal("default/")),
        ] {
            let answer = alice.ask(method, &path, &[("Depth", "0")], body.as_bytes());
            assert!(matches!(answer.status, 400 | 403 | 415), "{method} {body}: {}", answer.status);
            assert!(!answer.body.contains("the secret"), "{}", answer.body);
        }
    }
    alive(&alice);
    let id = rustix::process::Pid::from_child(&tracer);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it takes signals");
    tracer.wait().expect("it ends");
    let calls = std::fs::read_to_string(&calls).expect("what was called");
    assert!(!calls.contains("secret.txt") && !calls.contains(&format!("htons({port})")), "{calls}");
    assert!(elsewhere.accept().is_err(), "nobody came");
}

#[test]
fn dv2_xml_is_bounded_as_it_arrives() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let root = |inside: &str| format!("<D:propfind xmlns:D=\"DAV:\"{inside}><D:allprop/></D:propfind>");
    let each = |count: usize, one: fn(usize) -> String| root(&(0..count).map(one).collect::<String>());
    let attribute = |n| format!(" a{n}=\"\"");
    let namespace = |n| format!(" xmlns:n{n}=\"u{n}\"");
    let bodies = [
        root(&format!(" a=\"{}\"", "x".repeat(10_000_000))),
        format!("<{}", "x".repeat(10_000_000)),
        each(1_000_000, attribute),
        each(1_000_000, namespace),
        each(257, attribute),
        each(257, namespace),
        "<a>".repeat(100_000),
        "<a>".repeat(65),
        "<".repeat(2_000_000),
    ];
    let (added, ()) = added(&inbox, || {
        for body in &bodies {
            let status = propfind(&alice, "0", body.as_bytes()).status;
            assert!(matches!(status, 400 | 413), "{status}: {}", &body[..60]);
        }
    });
    assert!(added < ANSWER_KIB_MAX, "{added} KiB");
    assert_eq!(propfind(&alice, "0", each(200, attribute).as_bytes()).status, 207);
    alive(&alice);
}

#[test]
fn dv3_depth_is_finite_and_large_collections_are_streamed() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    for body in ["", "<D:propfind xmlns:D=\"DAV:\"><D:allprop/></D:propfind>"] {
        refused(&propfind(&alice, "infinity", body.as_bytes()), 403, "propfind-finite-depth");
    }
    // So many that each copy of the answer in memory would be seen.
    let (many, octets) = (1_500, 20_000);
    alice.put(&alice.file("0"), "x");
    let note = "x".repeat(octets);
    let patch = format!(
        "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><note>{note}</note></D:prop></D:set></D:propertyupdate>"
    );
    assert_eq!(alice.status("PROPPATCH", &alice.file("0"), &[], patch.as_bytes()), 207);
    for n in 1..many {
        let to = format!("http://localhost{}", alice.file(&n.to_string()));
        assert_eq!(alice.status("COPY", &alice.file("0"), &[("Destination", &to)], b""), 201);
    }
    let (added, answer) = added(&inbox, || propfind(&alice, "1", b""));
    let text = answer.text();
    assert_eq!(text.matches("<D:response>").count(), many + 1);
    assert!(text.len() > many * octets && text.ends_with("</D:multistatus>\n"));
    assert!(added < ANSWER_KIB_MAX, "{added} KiB for {} KiB", text.len() / 1024);
}

#[test]
fn dv4_multigets_and_limits_are_counted() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let report = |body: String| alice.ask("REPORT", &alice.cal("default/"), &[], body.as_bytes());
    let multiget = |count: usize| {
        let href = format!("<D:href>{}</D:href>", alice.cal("default/x.ics"));
        format!(
            "<C:calendar-multiget xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><D:prop/>{}</C:calendar-multiget>",
            href.repeat(count)
        )
    };
    assert_eq!(report(multiget(1_000_000)).status, 413);
    refused(&report(multiget(10_001)), 507, "number-of-matches-within-limits");
    assert_eq!(report(multiget(10_000)).status, 207);
    for name in ["a", "b"] {
        alice.put(&alice.cal(&format!("default/{name}.ics")), &event(name, name, ""));
    }
    let (_, token) = alice.sync(&alice.cal("default/"), "");
    let limited = |limit: &str| {
        report(format!(
            "<D:sync-collection xmlns:D=\"DAV:\"><D:sync-token/><D:sync-level>1</D:sync-level>\
             <D:limit><D:nresults>{limit}</D:nresults></D:limit><D:prop/></D:sync-collection>"
        ))
    };
    assert_eq!(limited("0").status, 400);
    assert!(limited("1").text().contains("number-of-matches-within-limits"));
    assert!(!limited("18446744073709551616").text().contains("number-of-matches-within-limits"));
    let stale = token.replace("sync:", "sync:f").chars().take(token.len()).collect::<String>();
    let stale = report(format!(
        "<D:sync-collection xmlns:D=\"DAV:\"><D:sync-token>{stale}</D:sync-token><D:sync-level>1</D:sync-level><D:prop/></D:sync-collection>"
    ));
    refused(&stale, 403, "valid-sync-token");
}

fn expand(who: &Person, calendar: &str, start: &str, end: &str) -> Answer {
    let body = format!(
        "<C:calendar-query xmlns:C=\"urn:ietf:params:xml:ns:caldav\" xmlns:D=\"DAV:\"><D:prop><C:calendar-data>\
         <C:expand start=\"{start}\" end=\"{end}\"/></C:calendar-data></D:prop><C:filter>\
         <C:comp-filter name=\"VCALENDAR\"><C:comp-filter name=\"VEVENT\"/></C:comp-filter></C:filter></C:calendar-query>"
    );
    who.ask("REPORT", &who.cal(calendar), &[("Depth", "1")], body.as_bytes())
}

#[test]
fn dv5_expansion_ends_soon_whatever_the_rule() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let ruled = |rule: &str| event("often", "often", &format!("RRULE:{rule}\r\n"));
    for (rule, refused) in [
        ("FREQ=SECONDLY", true),
        ("FREQ=SECONDLY;COUNT=2000000000", true),
        ("FREQ=SECONDLY;BYSECOND=0,1,2,3;BYMINUTE=0,1,2;BYHOUR=1,2,3", true),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", false),
        ("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", false),
        ("FREQ=DAILY;BYMONTHDAY=31;BYMONTH=4;BYSETPOS=366", false),
    ] {
        let path = alice.cal("default/often.ics");
        let begun = Instant::now();
        if !matches!(alice.ask("PUT", &path, &[], ruled(rule).as_bytes()).status, 201 | 204) {
            continue;
        }
        let answer = expand(&alice, "default/", "20260101T000000Z", "21260101T000000Z");
        assert_eq!(answer.status, 207, "{rule}");
        assert_eq!(answer.body.contains("max-instances"), refused, "{rule}: {}", answer.body);
        // On a machine that does other things too.
        assert!(begun.elapsed() < Duration::from_secs(2), "{rule}: {:?}", begun.elapsed());
    }
}

#[test]
fn dv6_an_expansion_of_long_texts_is_streamed() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let more = format!("DESCRIPTION:{}\r\nRRULE:FREQ=DAILY;COUNT=150\r\n", "x".repeat(1_000));
    for n in 0..300 {
        alice.put(&alice.cal(&format!("default/{n}.ics")), &event(&n.to_string(), "x", &more));
    }
    let ask = || expand(&alice, "default/", "20200101T000000Z", "20300101T000000Z");
    let (added, answer) = added(&inbox, ask);
    let text = answer.text();
    assert_eq!((answer.status, text.matches("BEGIN:VEVENT").count()), (207, 300 * 150));
    assert!(added < ANSWER_KIB_MAX, "{added} KiB for {} KiB", text.len() / 1024);
}

/// Sends an object of a gigabyte, or as much of it as is taken.
fn endless(who: &Person, path: &str, head: &str, line: &str) -> (usize, u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", who.port)).expect("the port accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out can be set");
    let text = format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: 1073741824\r\n\r\n{head}",
        who.authorization()
    );
    stream.write_all(text.as_bytes()).expect("the head is taken");
    stream.set_nonblocking(true).expect("asked without waiting");
    let (piece, mut sent, mut answer) = (line.repeat(65_536 / line.len()), 0, Vec::new());
    while sent < 1 << 30 {
        let mut buffer = [0; 4_096];
        match stream.read(&mut buffer) {
            Ok(many) => {
                answer.extend_from_slice(&buffer[..many]);
                break;
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        match stream.write(piece.as_bytes()) {
            Ok(many) => sent += many,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&answer);
    (sent, text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
}

#[test]
fn dv8_objects_are_bounded_as_they_arrive() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let put = |path: &str, body: &str| alice.ask("PUT", path, &[], body.as_bytes());
    let (ics, vcf) = (alice.cal("default/x.ics"), alice.card("default/x.vcf"));
    refused(&put(&ics, &event("x", &"x".repeat(2 << 20), "")), 403, "max-resource-size");
    let nested = "BEGIN:VEVENT\r\n".repeat(10_000);
    refused(&put(&ics, &event("x", "x", &nested)), 403, "valid-calendar-data");
    let parameters: String = (0..100_000).map(|n| format!(";P{n}=x")).collect();
    let folded: String = parameters.as_bytes().chunks(70).fold(String::new(), |mut all, piece| {
        let _ = write!(all, "{}\r\n ", String::from_utf8_lossy(piece));
        all
    });
    for parameters in [&parameters, &folded] {
        let line = format!("X{parameters}:x\r\n");
        let answer = put(&ics, &event("x", "x", &line));
        assert!(answer.status == 403, "{} {}", answer.status, answer.body);
        let answer = put(&vcf, &card("x", "x").replace("END:", &format!("{line}END:")));
        assert!(answer.status == 403, "{} {}", answer.status, answer.body);
    }
    let photo = format!("PHOTO;ENCODING=b;TYPE=JPEG:{}\r\nEND:", "A".repeat(100 << 20));
    let whole = card("x", "x").replace("END:", &photo);
    let (added, ()) = added(&inbox, || {
        assert_eq!(put(&vcf, &whole).status, 403);
        // A line that is folded for ever, and one that never is.
        for line in ["\r\n x", "x"] {
            let head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nSUMMARY:";
            let (sent, status) = endless(&alice, &ics, head, line);
            assert!(sent < 64 << 20 && matches!(status, 0 | 403 | 413), "{sent} octets, {status}");
        }
    });
    assert!(added < 2 * ANSWER_KIB_MAX, "{added} KiB");
    assert_eq!((alice.get(&ics).status, alice.get(&vcf).status), (404, 404));
    alive(&alice);
}

#[test]
fn dv10_copy_and_move_never_loop_and_are_all_or_nothing() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    assert_eq!(alice.status("MKCOL", &alice.file("d"), &[], b""), 201);
    assert_eq!(alice.status("MKCOL", &alice.file("d/e"), &[], b""), 201);
    for name in ["d/x", "d/e/z", "y"] {
        alice.put(&alice.file(name), name);
    }
    let relocate = |method: &str, from: &str, to: &str, overwrite: &str| {
        let to = format!("http://localhost{}", alice.file(to));
        alice.status(method, &alice.file(from), &[("Destination", &to), ("Overwrite", overwrite)], b"")
    };
    for method in ["COPY", "MOVE"] {
        for (from, to) in [("d/", "d/"), ("d/", "d/e/f"), ("d/x", "d"), ("d/e/", "d/"), ("d/x", "d/x")] {
            assert_eq!(relocate(method, from, to, "T"), 403, "{method} {from} {to}");
        }
        assert_eq!(relocate(method, "d/x", "no/where", "T"), 409);
        assert_eq!(relocate(method, "d/x", "y", "F"), 412);
        assert_eq!(relocate(method, "d/", "y", "F"), 412);
    }
    for method in ["BIND", "REBIND"] {
        let body = format!(
            "<D:bind xmlns:D=\"DAV:\"><D:segment>l</D:segment><D:href>{}</D:href></D:bind>",
            alice.file("d/")
        );
        assert_eq!(alice.status(method, &alice.file("d/e/"), &[], body.as_bytes()), 501);
    }
    for name in ["d/x", "d/e/z", "y"] {
        assert_eq!(alice.get(&alice.file(name)).body, name, "what was refused changed nothing");
    }
}

#[test]
fn dv12_locks_are_counted_end_and_belong_to_who_took_them() {
    let inbox = Inbox::started();
    let (alice, bob) = (Person::new(&inbox, "alice"), Person::new(&inbox, "bob"));
    let info = |scope: &str| {
        format!(
            "<D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>"
        )
    };
    alice.put(&alice.file("y"), "y");
    let locked =
        alice.ask("LOCK", &alice.file("y"), &[("Timeout", "Infinite")], info("exclusive").as_bytes());
    let token = locked.field("lock-token").expect("a token");
    assert!(locked.body.contains("Second-3600"), "{}", locked.body);
    assert_eq!(alice.status("PUT", &alice.file("y"), &[], b"z"), 423);
    assert_eq!(alice.status("PUT", &alice.file("y"), &[("If", &format!("({token})"))], b"z"), 204);
    // What was overheard is worth nothing to another, in their tree or in its own.
    bob.put(&bob.file("y"), "bob's");
    let own = bob.ask("LOCK", &bob.file("y"), &[], info("exclusive").as_bytes());
    assert_eq!(own.status, 200);
    for (method, path) in [("UNLOCK", alice.file("y")), ("UNLOCK", bob.file("y"))] {
        let status = bob.status(method, &path, &[("Lock-Token", &token)], b"");
        assert!(matches!(status, 403 | 404 | 409), "{path}: {status}");
    }
    let status = bob.status("PUT", &bob.file("y"), &[("If", &format!("({token})"))], b"z");
    assert!(matches!(status, 412 | 423), "{status}");
    assert_eq!(alice.status("PUT", &alice.file("y"), &[], b"z"), 423, "it is locked still");
    assert_eq!(alice.status("UNLOCK", &alice.file("y"), &[("Lock-Token", &token)], b""), 204);
    let shared = || alice.status("LOCK", &alice.file("y"), &[], info("shared").as_bytes());
    for _ in 0..32 {
        assert_eq!(shared(), 200);
    }
    assert_eq!(shared(), 403, "the 33rd of one resource");
}

#[test]
fn dv13_nothing_of_an_invitation_is_run_or_fetched() {
    let inbox = Inbox::started();
    let (alice, bob) = (Person::new(&inbox, "alice"), Person::new(&inbox, "bob"));
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("asked without waiting");
    let url = format!("http://{}/x", elsewhere.local_addr().expect("bound"));
    let alarm =
        "BEGIN:VALARM\r\nACTION:PROCEDURE\r\nTRIGGER:-PT5M\r\nATTACH:file:///bin/sh\r\nEND:VALARM\r\n";
    let more = format!(
        "ORGANIZER:mailto:alice@example.test\r\nATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:bob@example.test\r\n\
         ATTACH:file:///etc/passwd\r\nATTACH:{url}\r\nURL:{url}\r\n{alarm}"
    );
    alice.put(&alice.cal("default/1.ics"), &event("1", "lunch", &more));
    let kept = alice.get(&alice.cal("default/1.ics")).text();
    assert!(kept.contains("lunch") && !kept.contains("PROCEDURE") && !kept.contains("/bin/sh"), "{kept}");
    let (list, _) = bob.sync(&bob.cal("default/"), "");
    let href = list.split("<D:href>").filter_map(|part| part.split('<').next()).find(|h| h.ends_with(".ics"));
    let invited = bob.get(href.expect("the invitation")).text();
    assert!(invited.contains("lunch") && !invited.contains("VALARM"), "{invited}");
    // Who is not the organizer sends nothing under their name.
    let spoofed = event(
        "2",
        "spoofed",
        "ORGANIZER:mailto:alice@example.test\r\nATTENDEE:mailto:bob@example.test\r\n\
         ATTENDEE:mailto:eve@example.test\r\n",
    );
    bob.put(&bob.cal("default/2.ics"), &spoofed);
    let (list, _) = alice.sync(&alice.cal("default/"), "");
    assert_eq!(list.matches(".ics</D:href>").count(), 1, "{list}");
    let attendees = |count: usize| -> String {
        (0..count).map(|n| format!("ATTENDEE:mailto:x{n}@example.test\r\n")).collect()
    };
    let many = event("3", "x", &attendees(10_000));
    let answer = alice.ask("PUT", &alice.cal("default/3.ics"), &[], many.as_bytes());
    refused(&answer, 403, "max-attendees-per-instance");
    assert!(elsewhere.accept().is_err(), "nobody came");
}

#[test]
fn dv14_what_is_stored_is_never_shown_as_a_page_of_ours() {
    let inbox = Inbox::started();
    let alice = Person::new(&inbox, "alice");
    let script = "<script xmlns=\"http://www.w3.org/1999/xhtml\">alert(1)</script>";
    let mut stored = Vec::new();
    for (name, kind) in [
        ("evil.html", "text/html"),
        ("evil.svg", "image/svg+xml"),
        ("evil.xml", "application/xml"),
        ("evil", "text/html; charset=utf-7"),
        ("evil.txt", "text/html\t"),
    ] {
        let status = alice.status("PUT", &alice.file(name), &[("Content-Type", kind)], script.as_bytes());
        assert_eq!(status, 201, "{name}");
        stored.push(alice.file(name));
    }
    alice.put(&alice.cal("default/x.ics"), &event("x", script, ""));
    alice.put(&alice.card("default/x.vcf"), &card("x", script));
    stored.extend([alice.cal("default/x.ics"), alice.card("default/x.vcf")]);
    for path in stored {
        for method in ["GET", "HEAD"] {
            let page = alice.ask(method, &path, &[], b"");
            assert_eq!(page.status, 200, "{path}");
            for (name, value) in [
                ("content-disposition", "attachment"),
                ("x-content-type-options", "nosniff"),
                ("content-security-policy", "sandbox; default-src 'none'"),
            ] {
                assert_eq!(page.field(name).as_deref(), Some(value), "{method} {path}");
            }
        }
    }
}
