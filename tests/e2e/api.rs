//! The transactional API on the real binary: what is asked for over GraphQL and REST arrives, once, and what became of
//! it is told.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Inbox, eventually, free_port, have};
use crate::nodes::{Database, furnish, nodes, queue};
use crate::scripted::Remote;
use crate::signing::Helper;

const TOOLS: [&str; 4] = ["python3", "python3:aiosmtpd", "python3:dkim", "python3:nacl"];

/// The document of the specification, word for word.
const SEND: &str = r#"mutation Send {
  sendEmail(
    from: "sender@example.com"
    to: ["user@example.net"]
    subject: "Hello"
    textBody: "Hi from Inbox"
    htmlBody: "<p>Hi from Inbox</p>"
    idempotencyKey: "send-2026-02-10-001"
  )
}"#;

/// An answer over HTTP.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// A field of the header, as it came but in lower case.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    /// The body, put together when it came in chunks.
    pub fn text(&self) -> String {
        if !self.head.contains("transfer-encoding: chunked") {
            return self.body.clone();
        }
        let (mut text, mut rest) = (String::new(), self.body.as_str());
        while let Some((length, after)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length.trim(), 16).expect("a chunk's length");
            text.push_str(&after[..length]);
            rest = after[length..].strip_prefix("\r\n").unwrap_or("");
        }
        text
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.status, self.body))
    }
}

pub fn http(port: u16, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port accepts");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).expect("the head is taken");
    // A server that refuses a body may close before all of it was sent.
    let _ = stream.write_all(body);
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status =
        head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status: {text}"));
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Somebody with a key.
pub struct User {
    pub port: u16,
    pub authorization: String,
}

impl User {
    fn with_key(inbox: &Inbox, secret: &str) -> User {
        User { port: inbox.port("HTTP_PORT"), authorization: format!("Bearer {secret}") }
    }

    /// A key made by hand.
    pub fn made(inbox: &Inbox, args: &[&str]) -> User {
        let made = inbox.cli_json(&[&["key", "create", "--json"], args].concat());
        User::with_key(inbox, made["secret"].as_str().expect("a secret"))
    }

    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let fields = [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        http(self.port, method, path, &fields, body.to_string().as_bytes())
    }

    pub fn graphql(&self, document: &str, variables: Value) -> Value {
        let answer = self.ask("POST", "/graphql", &json!({"query": document, "variables": variables}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The ID of an e-mail that is sent with these arguments over REST.
    pub fn send(&self, email: Value) -> String {
        let answer = self.ask("POST", "/v1/emails", &email);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["id"].as_str().expect("an ID").to_owned()
    }

    pub fn email(&self, id: &str) -> Value {
        let answer = self.ask("GET", &format!("/v1/emails/{id}"), &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    fn reaches(&self, id: &str, state: &str) -> Value {
        eventually(Duration::from_secs(30), &format!("e-mail {id} is {state}"), || {
            self.email(id)["state"] == state
        });
        self.email(id)
    }
}

/// The demonstration server with `--deliver`, another organisation's server, and the DNS of both.
struct World {
    inbox: Inbox,
    key: String,
    zone: PathBuf,
    mail: PathBuf,
    _helpers: [Helper; 2],
}

impl World {
    fn new() -> World {
        let mut inbox = Inbox::bare();
        let (dns, smtp) = (free_port(), free_port());
        let (zone, mail) = (inbox.dir.0.join("zone.json"), inbox.dir.0.join("far"));
        fs::write(&zone, "{}").expect("written");
        inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}")).set("SMTP_OUTBOUND_PORT", smtp);
        inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
        let names = Helper::python("names.py", &[&dns.to_string(), &zone.display().to_string()]);
        let far_end = Helper::python("far_end.py", &[&smtp.to_string(), &mail.display().to_string()]);
        eventually(Duration::from_secs(20), "the far end listens", || {
            TcpStream::connect(("127.0.0.1", smtp)).is_ok()
        });
        inbox.spawn(&["quickstart", "--deliver", "--json"]);
        inbox.wait_ready();
        let log = inbox.log();
        let line = log.lines().find(|line| line.contains("graphqlUrl")).expect("what quickstart prints");
        let printed: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(printed["graphqlUrl"], format!("http://127.0.0.1:{}/graphql", inbox.port("HTTP_PORT")));
        let key = printed["apiKey"].as_str().expect("a key").to_owned();
        inbox.cli_ok(&["domain", "add", "example.com", "--org", "demo"]);
        let world = World { inbox, key, zone, mail, _helpers: [names, far_end] };
        world.publish();
        world
    }

    fn publish(&self) {
        let mut zone = json!({
            "example.net.": {"MX": ["10 mx.example.net."]},
            "mx.example.net.": {"A": ["127.0.0.1"]},
        });
        let records = self.inbox.cli_json(&["domain", "show", "example.com", "--json"])["dns"].take();
        for record in records.as_array().expect("records").iter().filter(|r| r["type"] == "TXT") {
            zone[record["name"].as_str().expect("a name")] = json!({"TXT": [record["value"]]});
        }
        let temporary = self.zone.with_extension("tmp");
        fs::write(&temporary, zone.to_string()).expect("written");
        fs::rename(&temporary, &self.zone).expect("renamed");
    }

    fn user(&self) -> User {
        User::with_key(&self.inbox, &self.key)
    }

    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.mail) else { return Vec::new() };
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "eml")).collect()
    }

    /// Messages at the far end, each behind a line with its envelope.
    fn received(&self) -> Vec<String> {
        self.files().iter().map(|p| fs::read_to_string(p).expect("readable")).collect()
    }

    fn tried(&self, address: &str) -> bool {
        let text = fs::read_to_string(self.mail.join("attempts")).unwrap_or_default();
        text.lines().any(|line| line.split(' ').nth(1) == Some(address))
    }

    /// What curl gets for a document, as a user would send it.
    fn curl(&self, document: &str) -> Value {
        let body = self.inbox.dir.0.join("body.json");
        fs::write(&body, json!({"query": document}).to_string()).expect("written");
        let out = Command::new("curl")
            .args(["-sS", "-H", "Content-Type: application/json", "-H"])
            .arg(format!("Authorization: Bearer {}", self.key))
            .arg("--data-binary")
            .arg(format!("@{}", body.display()))
            .arg(format!("http://127.0.0.1:{}/graphql", self.inbox.port("HTTP_PORT")))
            .output()
            .expect("curl runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).expect("JSON")
    }
}

fn letter(to: &str, subject: &str) -> Value {
    json!({"from": "sender@example.com", "to": [to], "subject": subject, "textBody": "Hi"})
}

#[test]
fn the_document_of_the_specification_sends_one_signed_message_however_often_it_is_sent() {
    if !have(&TOOLS) || !have(&["curl"]) {
        return;
    }
    let world = World::new();
    let answer = world.curl(SEND);
    let id = answer["data"]["sendEmail"].as_str().unwrap_or_else(|| panic!("an ID: {answer}")).to_owned();
    assert_eq!(world.curl(SEND)["data"]["sendEmail"], id, "the same request, the same ID");
    let user = world.user();
    let told = user.reaches(&id, "DELIVERED");
    assert_eq!(world.curl(SEND)["data"]["sendEmail"], id, "long after it was delivered, too");
    let conflict = world.curl(&SEND.replace("\"Hello\"", "\"Other\""));
    assert_eq!(conflict["errors"][0]["extensions"]["code"], "IDEMPOTENCY_CONFLICT", "{conflict}");
    assert_eq!(conflict["data"], Value::Null);

    assert_eq!(world.received().len(), 1, "nothing new was sent");
    let message = world.received().remove(0);
    let (envelope, message) = message.split_once('\n').expect("an envelope");
    assert!(
        envelope.contains("\"from\": \"sender@example.com\"") && envelope.contains("[\"user@example.net\"]")
    );
    for part in [
        "\r\nSubject: Hello\r\n",
        "\r\nContent-Type: multipart/alternative;\r\n",
        "Content-Type: text/plain; charset=us-ascii\r\n",
        "\r\n\r\nHi from Inbox\r\n",
        "Content-Type: text/html; charset=us-ascii\r\n",
        "\r\n\r\n<p>Hi from Inbox</p>\r\n",
    ] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
    let zone = world.zone.display().to_string();
    let file = world.files().remove(0).display().to_string();
    let verdict = world.inbox.python_ok("verify_dkim.py", &[&zone, "files", &file]);
    let both = "Hello; example.com/mail/rsa-sha256=good; example.com/mail-ed25519/ed25519-sha256=good";
    assert_eq!(verdict.trim(), both);

    let recipient = &told["recipients"][0];
    assert_eq!((&recipient["state"], &recipient["kind"]), (&json!("DELIVERED"), &json!("TO")));
    let attempt = &recipient["attempts"][0];
    assert_eq!((&attempt["type"], &attempt["attempt"]), (&json!("DELIVERED"), &json!(1)), "{told}");
    assert!(attempt["reply"].as_str().expect("a reply").contains("250 2.0.0 kept"), "{told}");
    assert!(attempt["host"].as_str().expect("a host").starts_with("mx.example.net"), "{told}");
    assert!(
        attempt["tls"].is_string() && told["messageId"].as_str().expect("an ID").ends_with("@example.com>")
    );
}

#[test]
fn what_was_sent_is_found_again_scheduled_put_off_and_cancelled() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new();
    let user = world.user();
    let document = "mutation($at: DateTime!, $metadata: [NameValueInput!]!) { sendEmail(from: \"Sales <sender@example.com>\" \
                    to: [\"later@example.net\"] subject: \"Später\" textBody: \"x\" sendAt: $at tags: [\"sale\"] \
                    metadata: $metadata) }";
    let metadata = json!([{"name": "order", "value": "7"}]);
    let sent = user.graphql(document, json!({"at": "2999-01-01T00:00:00Z", "metadata": metadata}));
    assert_eq!(sent["errors"][0]["extensions"]["reason"], "TOO_FAR_AHEAD", "{sent}");
    let at = |secs: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let out = Command::new("date")
            .args(["-u", "-d", &format!("@{}", now.as_secs() as i64 + secs), "+%Y-%m-%dT%H:%M:%SZ"])
            .output()
            .expect("date runs");
        String::from_utf8(out.stdout).expect("text").trim().to_owned()
    };
    let sent = user.graphql(document, json!({"at": at(3_600), "metadata": metadata}));
    let id = sent["data"]["sendEmail"].as_str().unwrap_or_else(|| panic!("an ID: {sent}")).to_owned();
    let shown = user.graphql(
        "query($id: ID!) { email(id: $id) { id state subject sendAt tags metadata { name value } \
         recipients { address state attempts { type } } } }",
        json!({"id": id}),
    );
    let email = &shown["data"]["email"];
    assert_eq!((&email["state"], &email["subject"]), (&json!("SCHEDULED"), &json!("Später")), "{shown}");
    assert_eq!((&email["tags"], &email["metadata"]), (&json!(["sale"]), &metadata));

    let others: Vec<String> =
        (0..3).map(|n| user.send(letter(&format!("u{n}@example.net"), "now"))).collect();
    for id in &others {
        user.reaches(id, "DELIVERED");
    }
    let list = "query($filter: EmailFilter, $after: String, $first: Int) { emails(filter: $filter, after: $after, \
                first: $first) { edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }";
    let ids = |answer: &Value| -> Vec<String> {
        let edges = answer["data"]["emails"]["edges"].as_array().unwrap_or_else(|| panic!("edges: {answer}"));
        edges.iter().map(|edge| edge["node"]["id"].as_str().expect("an ID").to_owned()).collect()
    };
    let mut newest: Vec<String> = others.iter().rev().cloned().collect();
    newest.push(id.clone());
    assert_eq!(ids(&user.graphql(list, json!({}))), newest);
    let page = user.graphql(list, json!({"first": 2}));
    assert_eq!(
        (ids(&page), &page["data"]["emails"]["pageInfo"]["hasNextPage"]),
        (newest[..2].to_vec(), &json!(true))
    );
    let after = &page["data"]["emails"]["edges"][1]["cursor"];
    let rest = user.graphql(list, json!({"first": 2, "after": after}));
    assert_eq!(
        (ids(&rest), &rest["data"]["emails"]["pageInfo"]["hasNextPage"]),
        (newest[2..].to_vec(), &json!(false))
    );
    for (filter, want) in [
        (json!({"states": ["SCHEDULED"]}), vec![id.clone()]),
        (json!({"tag": "sale"}), vec![id.clone()]),
        (json!({"recipient": "U1@Example.NET"}), vec![others[1].clone()]),
        (json!({"createdAfter": at(-3_600), "states": ["DELIVERED"]}), newest[..3].to_vec()),
        (json!({"createdBefore": at(-3_600)}), vec![]),
    ] {
        assert_eq!(ids(&user.graphql(list, json!({"filter": filter}))), want, "{filter}");
    }

    let put_off =
        "mutation($id: ID!, $at: DateTime!) { updateScheduledEmail(id: $id, sendAt: $at) { state sendAt } }";
    let answer = user.graphql(put_off, json!({"id": id, "at": at(7_200)}));
    assert_eq!(answer["data"]["updateScheduledEmail"]["state"], "SCHEDULED", "{answer}");
    let cancel = "mutation($id: ID!) { cancelEmail(id: $id) { state recipients { state } } }";
    let answer = user.graphql(cancel, json!({"id": id}));
    assert_eq!(answer["data"]["cancelEmail"]["state"], "CANCELLED", "{answer}");
    let again = user.graphql(cancel, json!({"id": id}));
    assert_eq!(again["errors"][0]["extensions"]["code"], "CONFLICT", "{again}");
    assert_eq!(user.ask("POST", &format!("/v1/emails/{}/cancel", others[0]), &Value::Null).status, 409);
    assert!(!world.tried("later@example.net"));

    // One that was scheduled and is wanted at once.
    let sent = user.graphql(document, json!({"at": at(3_600), "metadata": []}));
    let id = sent["data"]["sendEmail"].as_str().expect("an ID").to_owned();
    user.graphql(put_off, json!({"id": id, "at": at(-1)}));
    user.reaches(&id, "DELIVERED");
    let files: Vec<String> = world.files().iter().map(|path| path.display().to_string()).collect();
    let args: Vec<&str> = files.iter().map(String::as_str).collect();
    let zone = world.zone.display().to_string();
    let verdicts = world.inbox.python_ok("verify_dkim.py", &[&[zone.as_str(), "files"], &args[..]].concat());
    assert_eq!((verdicts.lines().count(), verdicts.matches("=good").count()), (4, 8), "{verdicts}");

    // A mailbox here waits as well as others do.
    let mut scheduled = letter("bob@example.test", "here");
    scheduled["sendAt"] = json!(at(3_600));
    let id = user.send(scheduled);
    let used =
        || world.inbox.cli_json(&["mailbox", "list", "--json"])[1]["usedBytes"].as_u64().expect("a number");
    assert_eq!((user.email(&id)["state"].clone(), used()), (json!("SCHEDULED"), 0));
    user.graphql(put_off, json!({"id": id, "at": at(-1)}));
    user.reaches(&id, "DELIVERED");
    assert!(used() > 0, "bob has it");
}

#[test]
fn q8_a_submission_with_a_key_is_accepted_again_and_sent_once() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    let file = |name: &str, subject: &str, key: &str| {
        let path = inbox.dir.0.join(name);
        let text = format!(
            "From: alice@example.test\r\nSubject: {subject}\r\nX-Test-Id: {subject}\r\nIdempotency-Key: {key}\r\n\r\nhello\r\n"
        );
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (one, two, bad) = (file("1", "one", "k"), file("2", "two", "k"), file("3", "three", ""));
    let args = ["alice@example.test", "bob@example.test", "7BIT", &one, &one, &two, &bad];
    let said = inbox.python_ok("send_raw.py", &args);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("250 ") && lines[0] == lines[1], "{said}");
    assert!(lines[2].starts_with("550 5.6.0 ") && lines[3].starts_with("550 5.6.0 "), "{said}");
    assert_eq!(inbox.python_ok("ids.py", &["bob@example.test"]).trim(), "one");
    let mail = inbox.dir.0.join("out.mbox").display().to_string();
    inbox.cli_ok(&["export", "mbox", &mail, "--mailbox", "bob@example.test"]);
    assert!(!fs::read_to_string(mail).expect("readable").contains("Idempotency-Key"));
}

#[test]
fn so13_so15_every_recipient_has_its_own_outcome_and_nobody_sees_bcc() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new();
    let user = world.user();
    fs::write(world.mail.join("mode"), "mixed").expect("written");
    world.inbox.cli_ok(&["suppression", "add", "gone@example.net", "--org", "demo"]);
    let id = user.send(json!({
        "from": "sender@example.com", "subject": "mixed", "htmlBody": "<b>x</b>",
        "to": ["good@example.net", "never@example.net", "bob@example.test", "nobody@example.test"],
        "cc": ["gone@example.net"], "bcc": ["hidden@example.net"],
    }));
    let told = user.reaches(&id, "PARTIALLY_DELIVERED");
    let states: HashMap<&str, &str> = told["recipients"]
        .as_array()
        .expect("recipients")
        .iter()
        .map(|r| (r["address"].as_str().expect("an address"), r["state"].as_str().expect("a state")))
        .collect();
    let want = [
        ("good@example.net", "DELIVERED"),
        ("never@example.net", "BOUNCED"),
        ("bob@example.test", "DELIVERED"),
        ("nobody@example.test", "BOUNCED"),
        ("gone@example.net", "SUPPRESSED"),
        ("hidden@example.net", "DELIVERED"),
    ];
    assert_eq!(states, HashMap::from(want));
    assert!(!world.tried("gone@example.net"), "never dialled");
    for message in world.received() {
        let (_, message) = message.split_once('\n').expect("an envelope");
        assert!(!message.to_lowercase().contains("bcc") && !message.contains("hidden@"), "{message}");
    }
    // The bounce suppresses the address for this organisation.
    let id = user.send(letter("never@example.net", "again"));
    assert_eq!(user.reaches(&id, "FAILED")["recipients"][0]["state"], "SUPPRESSED");
}

#[test]
fn test_keys_and_the_simulator_send_nothing() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new();
    let tester = User::made(&world.inbox, &["--org", "demo", "--scope", "send,read", "--test"]);
    let sent = tester.email(&tester.send(letter("user@example.net", "pretended")));
    assert_eq!((&sent["state"], &sent["test"]), (&json!("DELIVERED"), &json!(true)));
    let local = tester.email(&tester.send(letter("bob@example.test", "pretended")));
    assert_eq!(local["state"], "DELIVERED");
    for (name, state) in [
        ("delivered", "DELIVERED"),
        ("deferred", "DELIVERED"),
        ("bounced+7", "BOUNCED"),
        ("suppressed", "SUPPRESSED"),
        ("complained", "COMPLAINED"),
    ] {
        let user = world.user();
        let told = user.email(&user.send(letter(&format!("{name}@simulator.invalid"), "pretended")));
        assert_eq!(told["recipients"][0]["state"], state, "{told}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    let mailboxes = world.inbox.cli_json(&["mailbox", "list", "--json"]);
    assert!(
        mailboxes.as_array().expect("mailboxes").iter().all(|mailbox| mailbox["usedBytes"] == 0),
        "{mailboxes}"
    );
    assert!(queue(&world.inbox).is_empty());
}

#[test]
fn hg7_hg8_what_could_break_a_header_is_refused_with_its_argument() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new();
    let user = world.user();
    for evil in ["\r\nBcc: x@y.example", "\n", "\r", "\0", "\u{85}", "\u{2028}", "=?utf-8?q?=0d=0aBcc:_x?="] {
        for (argument, name) in [
            ("subject", "subject"),
            ("from", "from"),
            ("idempotencyKey", "idempotencyKey"),
            ("replyTo[0]", "replyTo"),
            ("to[0]", "to"),
            ("tags[0]", "tags"),
        ] {
            let mut email = letter("user@example.net", "x");
            let text = format!("Name{evil} <sender@example.com>");
            email[name] = if argument.ends_with(']') { json!([text]) } else { json!(text) };
            let answer = user.ask("POST", "/v1/emails", &email);
            let error = answer.json()["error"].take();
            assert_eq!((answer.status, &error["argument"]), (400, &json!(argument)), "{evil:?}: {error}");
        }
        let mut email = letter("user@example.net", "x");
        email["headers"] = json!([{"name": "X-Test", "value": format!("a{evil}")}]);
        email["attachments"] = json!([{"filename": format!("a{evil}"), "content": ""}]);
        let answer = user.ask("POST", "/v1/emails", &email);
        assert_eq!(answer.json()["error"]["argument"], "headers[0].value", "{}", answer.body);
        email["headers"] = json!([]);
        let answer = user.ask("POST", "/v1/emails", &email);
        assert_eq!(answer.json()["error"]["argument"], "attachments[0].filename", "{}", answer.body);
    }
    for name in ["Bcc", "Received", "DKIM-Signature", "Return-Path", "Content-Type", "Date", "Message-ID"] {
        let mut email = letter("user@example.net", "x");
        email["headers"] = json!([{"name": name, "value": "x"}]);
        let answer = user.ask("POST", "/v1/emails", &email);
        assert_eq!(answer.json()["error"]["reason"], "FORBIDDEN_HEADER", "{name}: {}", answer.body);
    }
    assert!(queue(&world.inbox).is_empty() && world.received().is_empty());
}

#[test]
fn hg5_hg6_hg12_only_documents_of_those_who_may_are_carried_out() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.set("HTTP_TRUSTED_PROXIES", "127.0.0.0/8");
    inbox.start();
    let port = inbox.port("HTTP_PORT");
    let both = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let reader = User::made(&inbox, &["--org", "test", "--scope", "read"]);
    let document = json!({"query": "{ __typename }"}).to_string();
    let ask = |method: &str, path: &str, fields: &[(&str, &str)], body: &str| {
        http(port, method, path, fields, body.as_bytes())
    };
    let json_type = ("Content-Type", "application/json");
    let key = ("Authorization", both.authorization.as_str());

    // Nobody is told anything, the schema included, before it is known who asks.
    let schema = json!({"query": "{ __schema { types { name } } }"}).to_string();
    let answer = ask("POST", "/graphql", &[json_type], &schema);
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["extensions"]["code"]),
        (401, &json!("UNAUTHENTICATED"))
    );
    assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    assert_eq!(ask("GET", "/graphql", &[], "").status, 401);
    for wrong in ["Bearer nonsense", "Bearer ", "Basic !", "Basic YTpi", "Digest x", "x"] {
        let answer = ask("POST", "/graphql", &[json_type, ("Authorization", wrong)], &document);
        assert_eq!(answer.status, 401, "{wrong}");
    }
    // A proxy that is trusted says that its client's connection was not encrypted.
    let plain = [json_type, key, ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "http")];
    let answer = ask("POST", "/graphql", &plain, &document);
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["extensions"]["code"]),
        (403, &json!("INSECURE_TRANSPORT"))
    );
    let elsewhere = User::made(&inbox, &["--org", "test", "--scope", "read", "--network", "192.0.2.0/24"]);
    let from = |address| {
        [json_type, ("Authorization", elsewhere.authorization.as_str()), ("X-Forwarded-For", address)]
    };
    assert_eq!(ask("POST", "/graphql", &from("203.0.113.9"), &document).status, 403);
    assert_eq!(ask("POST", "/graphql", &from("192.0.2.9"), &document).status, 200);

    // HG6: what a link or a form on any page could send is refused.
    assert_eq!(
        ask("GET", "/graphql?query=mutation%7BcancelEmail(id:%22x%22)%7Bid%7D%7D", &[key], "").status,
        405
    );
    assert_eq!(ask("PUT", "/graphql", &[key, json_type], &document).status, 405);
    for mime in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        assert_eq!(ask("POST", "/graphql", &[key, ("Content-Type", mime)], &document).status, 415, "{mime}");
    }
    assert_eq!(ask("POST", "/graphql", &[key], &document).status, 415);
    let answer = ask("POST", "/graphql", &[key, json_type], &document);
    assert_eq!((answer.status, answer.json()), (200, json!({"data": {"__typename": "Query"}})));
    assert!(!answer.head.contains("access-control"), "{}", answer.head);

    // HG5: what costs much is refused before it is carried out.
    let refused = |query: String| {
        let answer = ask("POST", "/graphql", &[key, json_type], &json!({"query": query}).to_string());
        let body = answer.json();
        assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{body}");
        assert_eq!(body["data"], Value::Null);
    };
    refused(format!("query{}{}", "{email".repeat(100), "}".repeat(100)));
    refused(format!("query{}{}", "{a".repeat(50_000), "}".repeat(50_000)));
    refused(format!("{{{}}}", (0..10_000).map(|n| format!("a{n}:__typename ")).collect::<String>()));
    refused("{...a} fragment a on Query {...b} fragment b on Query {...a}".into());
    refused(format!("{{__typename {}}}", "@skip(if:false) ".repeat(10_000)));
    refused("{ nonsense }".into());
    let batch = format!("[{}]", vec![document.clone(); 1_000].join(","));
    assert_eq!(ask("POST", "/graphql", &[key, json_type], &batch).status, 400);
    let megabytes =
        |n: usize| json!({"query": "{ __typename }", "variables": {"x": "x".repeat(n << 20)}}).to_string();
    let answer =
        ask("POST", "/graphql", &[("Authorization", &reader.authorization), json_type], &megabytes(2));
    assert_eq!(answer.status, 413);
    assert_eq!(ask("POST", "/graphql", &[json_type], &megabytes(2)).status, 401);
    assert_eq!(ask("POST", "/graphql", &[key, json_type], &megabytes(10)).status, 200);
    assert_eq!(ask("POST", "/graphql", &[key, json_type], &megabytes(37)).status, 413);

    // Scopes, senders, and what is another's.
    let mine =
        json!({"from": "alice@example.test", "to": ["bob@example.test"], "subject": "x", "textBody": "x"});
    assert_eq!(reader.ask("POST", "/v1/emails", &mine).json()["error"]["code"], "FORBIDDEN");
    let id = both.send(mine.clone());
    assert_eq!(both.email(&id)["state"], "DELIVERED");
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "send,read,admin"]);
    let not_found = other.ask("GET", &format!("/v1/emails/{id}"), &Value::Null);
    let never_was = other.ask("GET", "/v1/emails/0123456789abcdefghjkmnpqrs", &Value::Null);
    assert_eq!((not_found.status, &not_found.body), (404, &never_was.body), "the two are not told apart");
    for path in ["x", "'%3B%20DELETE%20email", "email:%5B'a'%5D", "a..b", "%60", "$auth"] {
        assert_eq!(
            other.ask("GET", &format!("/v1/emails/{path}"), &Value::Null).body,
            never_was.body,
            "{path}"
        );
    }
    assert_eq!(other.ask("POST", &format!("/v1/emails/{id}/cancel"), &Value::Null).status, 404);
    let forged = other.ask("POST", "/v1/emails", &mine);
    assert_eq!((forged.status, &forged.json()["error"]["code"]), (403, &json!("SENDER_NOT_ALLOWED")));
    let narrow = User::made(&inbox, &["--org", "test", "--scope", "send", "--from", "bob@example.test"]);
    assert_eq!(narrow.ask("POST", "/v1/emails", &mine).json()["error"]["code"], "SENDER_NOT_ALLOWED");
    let mailbox = User::made(&inbox, &["--mailbox", "bob@example.test", "--scope", "send,read"]);
    assert_eq!(mailbox.ask("POST", "/v1/emails", &mine).json()["error"]["code"], "SENDER_NOT_ALLOWED");
    assert_eq!(
        mailbox.ask("GET", &format!("/v1/emails/{id}"), &Value::Null).status,
        404,
        "another mailbox's"
    );

    // A key that is revoked is worth nothing from then on (AU7), and none of them was ever logged.
    let listed = inbox.cli_json(&["key", "list", "--json"]);
    for key in listed.as_array().expect("keys") {
        inbox.cli_ok(&["key", "revoke", key["id"].as_str().expect("an ID")]);
    }
    assert_eq!(both.ask("GET", &format!("/v1/emails/{id}"), &Value::Null).status, 401);
    assert!(!inbox.log().contains("inbox_live_"));
}

#[test]
fn q8_a_hundred_clients_at_two_processes_with_one_key_send_one_message() {
    let (database, remote) = (Database::start(), Remote::start());
    let mut nodes = nodes(2, &database, &remote);
    nodes.iter_mut().for_each(|node| node.spawn(&["serve"]));
    nodes.iter_mut().for_each(Inbox::wait_ready);
    furnish(&nodes);
    let made = nodes[0].cli_json(&["key", "create", "--json", "--org", "test", "--scope", "send,read"]);
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    let email = json!({
        "from": "alice@example.test", "to": ["m5@d0.test"], "subject": "race", "textBody": "x",
        "idempotencyKey": "race",
    });
    let clients: Vec<_> = (0..100)
        .map(|n| {
            let (user, email) = (User::with_key(&nodes[n % 2], &secret), email.clone());
            std::thread::spawn(move || {
                // One that is told to come again does, as a client would.
                for _ in 0..20 {
                    let answer = user.ask("POST", "/v1/emails", &email);
                    if answer.status != 503 {
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        return answer.json()["id"].as_str().expect("an ID").to_owned();
                    }
                }
                panic!("no answer after twenty tries");
            })
        })
        .collect();
    let ids: Vec<String> = clients.into_iter().map(|client| client.join().expect("answered")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one ID: {ids:?}");
    let other = User::with_key(&nodes[1], &secret);
    let mut changed = email.clone();
    changed["subject"] = json!("other");
    let conflict = other.ask("POST", "/v1/emails", &changed);
    assert_eq!((conflict.status, &conflict.json()["error"]["code"]), (409, &json!("IDEMPOTENCY_CONFLICT")));
    other.reaches(&ids[0], "DELIVERED");
    eventually(Duration::from_secs(30), "an empty queue", || queue(&nodes[0]).is_empty());
    assert_eq!(remote.copies(), HashMap::from([(5, 1)]), "one message");
    for node in &mut nodes {
        assert!(node.stop().success(), "{}", node.log());
    }
}
