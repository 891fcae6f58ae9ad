//! Traces of the real binary, taken by a collector of the test's own: one connected trace for each message, wherever
//! it enters, and nothing in it but IDs, counts and outcomes.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{User, http};
use crate::harness::{Inbox, eventually, have};
use crate::nodes::queue;
use crate::scripted::Remote;
use crate::webhooks::Hook;

/// What a caller says it is a part of.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A span as it was exported.
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    attributes: HashMap<String, String>,
}

/// One request of the exporter.
#[derive(Clone)]
struct Request {
    head: String,
    body: Vec<u8>,
}

/// Takes everything; its threads end with the test's process.
struct Collector {
    port: u16,
    taken: Arc<Mutex<Vec<Request>>>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let taken: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let request = read(&stream);
                let _ = (&stream)
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
                shared.lock().unwrap_or_else(PoisonError::into_inner).extend(request);
            }
        });
        Collector { port, taken }
    }

    fn requests(&self) -> Vec<Request> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything that came as JSON.
    fn spans(&self) -> Vec<Span> {
        self.requests().iter().flat_map(|request| spans_of(&request.body)).collect()
    }

    /// The spans of one trace, once those of these names are there.
    fn trace(&self, of: impl Fn(&Span) -> bool, names: &[&str]) -> Vec<Span> {
        let mut found = Vec::new();
        eventually(Duration::from_secs(30), &format!("spans {names:?}"), || {
            let all = self.spans();
            let Some(one) = all.iter().find(|span| of(span)) else { return false };
            found = all.iter().filter(|span| span.trace == one.trace).cloned().collect();
            names.iter().all(|name| found.iter().any(|span| span.name == *name))
        });
        found
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        head.push_str(&line.to_ascii_lowercase());
        line.clear();
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body })
}

fn spans_of(body: &[u8]) -> Vec<Span> {
    let Ok(json) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let scopes = list(&json, "resourceSpans").into_iter().flat_map(|r| list(&r, "scopeSpans"));
    let spans = scopes.flat_map(|scope| list(&scope, "spans"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let span = |span: Value| Span {
        trace: text(&span["traceId"]),
        id: text(&span["spanId"]),
        parent: text(&span["parentSpanId"]),
        name: text(&span["name"]),
        attributes: list(&span, "attributes")
            .iter()
            .map(|pair| (text(&pair["key"]), pair["value"].to_string()))
            .collect(),
    };
    spans.map(span).collect()
}

/// Every span hangs below another one of the trace; the roots, where it begins: none, or one span of the caller's.
fn assert_connected(spans: &[Span], root: &str) {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let tops: Vec<&Span> = spans.iter().filter(|span| !ids.contains(span.parent.as_str())).collect();
    assert!(tops.len() == 1 && tops[0].parent == root, "{tops:?} of {spans:#?}");
}

/// No address, no word of a message, no secret (TI9).
fn assert_discreet(spans: &[Span]) {
    for span in spans {
        for (name, value) in &span.attributes {
            let told = ["@", "example", ".test", "Secret", "inbox_live_", "whsec_"];
            assert!(!told.iter().any(|word| value.contains(word)), "{name}={value} of {}", span.name);
        }
    }
}

/// A server that tells this collector everything, and sends to this remote.
fn traced(collector: &Collector, remote: &Remote) -> Inbox {
    let mut inbox = Inbox::prepared();
    inbox
        .set("OTEL_ENABLED", "true")
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", collector.port))
        .set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .set("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")
        .set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=trial")
        .set("SMTP_OUTBOUND_RELAY_HOST", format!("127.0.0.1:{}", remote.port))
        .set("SMTP_OUTBOUND_TLS_MODE", "disabled")
        .set("SMTP_OUTBOUND_DANE_MODE", "off")
        .set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1)
        .set("DNS_RESOLVERS", "127.0.0.1:1");
    inbox
}

fn send(user: &User, to: &str) -> String {
    let email = json!({"from": "alice@example.test", "to": [to], "subject": "Secret", "textBody": "Secret"});
    let traceparent = format!("00-{TRACE}-{SPAN}-01");
    let fields = [
        ("Authorization", user.authorization.as_str()),
        ("Content-Type", "application/json"),
        ("traceparent", traceparent.as_str()),
    ];
    let answer = http(user.port, "POST", "/v1/emails", &fields, email.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["id"].as_str().expect("an ID").to_owned()
}

/// What an acceptance leaves, and what an attempt does.
const ACCEPTED: [&str; 3] = ["storage.accept", "storage.objects", "storage.commit"];
const ATTEMPTED: [&str; 5] =
    ["queue.attempt", "queue.route", "smtp.session", "queue.result", "storage.result"];

#[test]
fn an_email_of_the_api_is_one_trace_from_its_caller_to_the_remote_server_and_the_webhook() {
    if !have(&["python3"]) {
        return;
    }
    let (collector, remote) = (Collector::start(), Remote::start());
    let mut inbox = traced(&collector, &remote);
    let hook = Hook::new(&mut inbox);
    inbox.set("WEBHOOK_ALLOW_PRIVATE_NETWORKS", "true");
    inbox.start();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let create =
        "mutation($url: String!) { createWebhook(url: $url, types: [DELIVERED]) { webhook { id } } }";
    let made = user.graphql(create, json!({"url": hook.url}));
    assert!(made["data"]["createWebhook"]["webhook"]["id"].is_string(), "{made}");
    let id = send(&user, "m5@d0.test");
    user.reaches(&id, "DELIVERED");
    let names =
        [&["POST /v1/emails", "email.send", "webhook.deliver"], &ACCEPTED[..], &ATTEMPTED[..]].concat();
    let spans = collector.trace(|span| span.trace == TRACE, &names);
    assert_connected(&spans, SPAN);
    assert_discreet(&spans);
    let attempt = spans.iter().find(|span| span.name == "queue.attempt").expect("there");
    assert!(attempt.attributes["inbox.message"].contains(&id), "{attempt:?}");
    let told = hook.seen()[0]["headers"]["traceparent"].as_str().expect("a trace").to_owned();
    let deliver = spans.iter().find(|span| span.name == "webhook.deliver").expect("there");
    assert_eq!(told, format!("00-{TRACE}-{}-01", deliver.id));
    let request = collector.requests().remove(0);
    assert!(request.head.starts_with("post /v1/traces http/1.1"), "{}", request.head);
    assert!(
        request.head.contains("content-type: application/json") && request.head.contains("x-tenant: a b")
    );
    let text = String::from_utf8_lossy(&request.body).into_owned();
    for said in ["service.name", "\"inbox\"", "deployment.environment.name", "\"trial\""] {
        assert!(text.contains(said), "{said} in {text}");
    }
    let log = inbox.log();
    assert!(!log.contains("storage.commit") && !log.contains("a%20b") && !log.contains("a b"), "{log}");
    assert!(inbox.stop().success());
}

#[test]
fn a_submission_is_one_trace_however_often_the_server_is_restarted_in_between() {
    if !have(&["python3"]) {
        return;
    }
    let (collector, remote) = (Collector::start(), Remote::start());
    let mut inbox = traced(&collector, &remote);
    inbox.set("SMTP_OUTBOUND_QUEUE_ENABLED", "false");
    inbox.start();
    let user = "alice@example.test";
    inbox.python_ok("submit.py", &[user, user, "m6@d0.test,bob@example.test", "1", "Secret"]);
    let begun = collector.trace(|span| span.name == "smtp.message", &ACCEPTED);
    assert_eq!(queue(&inbox).len(), 1);
    assert!(inbox.stop().success());
    inbox.set("SMTP_OUTBOUND_QUEUE_ENABLED", "true");
    inbox.start();
    let spans = collector.trace(|span| span.name == "smtp.message", &ATTEMPTED);
    assert_eq!(spans[0].trace, begun[0].trace);
    assert_connected(&spans, "");
    assert_discreet(&spans);
    assert_eq!(remote.copies(), HashMap::from([(6, 1)]));

    // What a client puts into a folder is a trace of its own.
    inbox.python_ok("append.py", &["bob@example.test", "Secret"]);
    let appended = collector.trace(|span| span.name == "imap.append", &ACCEPTED);
    assert_connected(&appended, "");
    assert_discreet(&appended);
    assert_ne!(appended[0].trace, spans[0].trace);
}

#[test]
fn a_collector_that_never_answers_holds_up_nothing_and_none_is_needed_to_pass_a_trace_on() {
    if !have(&["python3"]) {
        return;
    }
    let (silent, remote) = (TcpListener::bind("127.0.0.1:0").expect("a free port"), Remote::start());
    let collector = Collector { port: silent.local_addr().expect("bound").port(), taken: Arc::default() };
    let mut inbox = traced(&collector, &remote);
    inbox.set("OTEL_EXPORTER_OTLP_TIMEOUT", "600000").set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    inbox.start();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    for _ in 0..20 {
        send(&user, "bob@example.test");
    }
    // The exporter is at it, and mail goes on.
    let (mut stream, _) = silent.accept().expect("the exporter connects");
    let mut start = [0; 16];
    stream.read_exact(&mut start).expect("a request");
    assert_eq!(&start, b"POST /v1/traces ");
    let id = send(&user, "m5@d0.test");
    user.reaches(&id, "DELIVERED");
    let begun = std::time::Instant::now();
    assert!(inbox.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "the last spans are not waited for");

    // Without any, the caller's own trace is what webhooks are told.
    inbox.set("OTEL_ENABLED", "false");
    let hook = Hook::new(&mut inbox);
    inbox.set("WEBHOOK_ALLOW_PRIVATE_NETWORKS", "true");
    inbox.start();
    let create =
        "mutation($url: String!) { createWebhook(url: $url, types: [DELIVERED]) { webhook { id } } }";
    user.graphql(create, json!({"url": hook.url}));
    send(&user, "bob@example.test");
    eventually(Duration::from_secs(20), "an event", || !hook.seen().is_empty());
    assert_eq!(hook.seen()[0]["headers"]["traceparent"], format!("00-{TRACE}-{SPAN}-01"));
}

#[test]
fn what_arrives_is_told_to_a_webhook_in_the_trace_of_its_reception() {
    if !have(&["python3"]) {
        return;
    }
    let (collector, remote) = (Collector::start(), Remote::start());
    let mut inbox = traced(&collector, &remote);
    let hook = Hook::new(&mut inbox);
    inbox.set("WEBHOOK_ALLOW_PRIVATE_NETWORKS", "true");
    inbox.start();
    inbox.cli_ok(&["mailbox", "webhook", "bob@example.test", &hook.url]);
    let user = "alice@example.test";
    inbox.python_ok("submit.py", &[user, user, "bob@example.test", "1", "Secret"]);
    eventually(Duration::from_secs(20), "an event", || !hook.seen().is_empty());
    let received = collector.trace(|span| span.name == "smtp.message", &["smtp.message", "webhook.deliver"]);
    let deliver = received.iter().find(|span| span.name == "webhook.deliver").expect("there");
    let told = hook.seen()[0]["headers"]["traceparent"].clone();
    assert_eq!(told, format!("00-{}-{}-01", deliver.trace, deliver.id));
    assert_connected(&received, "");
    assert_discreet(&received);
}
