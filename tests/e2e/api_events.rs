//! What became of e-mails, told as it happens: server-sent events, WebSockets and webhooks of the real binary.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::api::User;
use crate::harness::{Inbox, eventually, free_port, have};
use crate::mta_sts::Pki;
use crate::signing::Helper;

const SUBSCRIPTION: &str =
    "subscription($after: ID) { deliveryEvents(after: $after) { id type emailId recipient reply } }";

fn letter(to: &str) -> Value {
    json!({"from": "alice@example.test", "to": [to], "subject": "x", "textBody": "x", "tags": ["t"],
           "metadata": [{"name": "order", "value": "7"}]})
}

/// A stream of events over one POST.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(user: &User, after: Option<&str>) -> Stream {
        let mut stream = TcpStream::connect(("127.0.0.1", user.port)).expect("the port accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out can be set");
        let body = json!({"query": SUBSCRIPTION, "variables": {"after": after}}).to_string();
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Accept: text/event-stream\r\nContent-Length: {}\r\n\r\n",
            user.authorization,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("taken");
        let mut stream = Stream(BufReader::new(stream));
        let mut line = stream.line();
        assert_eq!(line, "HTTP/1.1 200 OK");
        while !line.is_empty() {
            line = stream.line();
        }
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The next answer; none at the end.
    fn next(&mut self) -> Option<Value> {
        loop {
            let line = self.line();
            if line == "event: complete" {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }

    fn event(&mut self) -> Value {
        let answer = self.next().expect("an event");
        assert!(answer.get("errors").is_none(), "{answer}");
        answer["data"]["deliveryEvents"].clone()
    }
}

#[test]
fn au7_events_come_as_they_happen_go_on_where_they_were_left_and_end_with_the_key() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let mut live = Stream::open(&user, None);
    let id = user.send(letter("bob@example.test"));
    let told: Vec<Value> = (0..3).map(|_| live.event()).collect();
    let types: Vec<&str> = told.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["ACCEPTED", "ATTEMPTED", "DELIVERED"]);
    assert!(told.iter().all(|event| event["emailId"] == *id), "{told:?}");
    assert_eq!((&told[2]["recipient"], &told[0]["recipient"]), (&json!("bob@example.test"), &Value::Null));

    let after = told[1]["id"].as_str().expect("an ID");
    assert_eq!(Stream::open(&user, Some(after)).event(), told[2], "the same event has the same ID");
    let mut again = Stream::open(&user, Some("evt_0_1"));
    assert_eq!((0..3).map(|_| again.event()).collect::<Vec<_>>(), told);
    let asked =
        user.graphql("query($after: ID) { deliveryEvents(after: $after) { id } }", json!({"after": after}));
    assert_eq!(asked["data"]["deliveryEvents"], json!([{"id": told[2]["id"]}]));

    // Another organisation hears nothing of it.
    inbox.cli_ok(&["org", "create", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "read"]);
    let asked = other.graphql("{ deliveryEvents { id } }", json!({}));
    assert_eq!(asked["data"]["deliveryEvents"], json!([]));

    let keys = inbox.cli_json(&["key", "list", "--json"]);
    for key in keys.as_array().expect("keys").iter().filter(|key| key["org"] == "test") {
        inbox.cli_ok(&["key", "revoke", key["id"].as_str().expect("an ID")]);
    }
    let last = live.next().expect("an answer");
    assert_eq!(last["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{last}");
    assert_eq!(live.next(), None);
}

/// The client's side of a WebSocket, as far as it is needed.
struct Socket(TcpStream);

impl Socket {
    fn open(port: u16, fields: &str) -> Result<Socket, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out can be set");
        let head = format!(
            "GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: graphql-transport-ws\r\n{fields}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("taken");
        let mut answer = Vec::new();
        let mut octet = [0];
        while !answer.ends_with(b"\r\n\r\n") && stream.read_exact(&mut octet).is_ok() {
            answer.push(octet[0]);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match answer.starts_with("HTTP/1.1 101 ") {
            // RFC 6455 §1.3 has this key and this answer.
            true => assert!(answer.to_lowercase().contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}"),
            false => return Err(answer),
        }
        Ok(Socket(stream))
    }

    fn send(&mut self, message: Value) {
        let text = message.to_string();
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend((text.len() as u16).to_be_bytes());
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        self.0.write_all(&frame).expect("taken");
    }

    /// The next text, or the code of a close.
    fn next(&mut self) -> Result<Value, u16> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).expect("a frame");
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.0.read_exact(&mut length).expect("a length");
                    usize::from(u16::from_be_bytes(length))
                }
                length => usize::from(length),
            };
            let mut octets = vec![0; length];
            self.0.read_exact(&mut octets).expect("a payload");
            match head[0] & 15 {
                1 => return Ok(serde_json::from_slice(&octets).expect("JSON")),
                8 => return Err(u16::from_be_bytes([octets[0], octets[1]])),
                _ => {}
            }
        }
    }
}

#[test]
fn subscriptions_are_served_over_graphql_transport_ws() {
    let mut inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let open = |fields: &str| Socket::open(user.port, fields);
    let subscribe =
        json!({"id": "1", "type": "subscribe", "payload": {"query": SUBSCRIPTION, "variables": {}}});
    // Who asks is told by the handshake or by the first message.
    for (fields, payload) in [
        (format!("Authorization: {}\r\n", user.authorization), json!({})),
        (String::new(), json!({"Authorization": user.authorization})),
        (format!("Origin: http://localhost\r\nAuthorization: {}\r\n", user.authorization), json!({})),
    ] {
        let mut socket = open(&fields).expect("accepted");
        socket.send(json!({"type": "connection_init", "payload": payload}));
        assert_eq!(socket.next().expect("an answer")["type"], "connection_ack");
        socket.send(subscribe.clone());
        // A query over the same connection, which also shows that the subscription was taken before.
        let query = json!({"query": "{ __typename }"});
        socket.send(json!({"id": "2", "type": "subscribe", "payload": query}));
        let answer = socket.next().expect("an answer");
        assert_eq!((&answer["id"], &answer["payload"]["data"]["__typename"]), (&json!("2"), &json!("Query")));
        assert_eq!(socket.next().expect("the end of the query")["type"], "complete");
        let id = user.send(letter("bob@example.test"));
        let event = socket.next().expect("an event");
        let told = &event["payload"]["data"]["deliveryEvents"];
        assert_eq!((&told["type"], &told["emailId"]), (&json!("ACCEPTED"), &json!(id)), "{event}");
        let nested = format!("query{}{}", "{a".repeat(50), "}".repeat(50));
        socket.send(json!({"id": "3", "type": "subscribe", "payload": {"query": nested}}));
        let refused = loop {
            let answer = socket.next().expect("an answer");
            if answer["id"] == "3" {
                break answer;
            }
        };
        assert!(refused.to_string().contains("BAD_REQUEST"), "{refused}");
    }
    let mut stranger = open("").expect("accepted");
    stranger.send(json!({"type": "connection_init", "payload": {"Authorization": "Bearer nonsense"}}));
    assert!(stranger.next().is_err());
    let mut early = open("").expect("accepted");
    early.send(subscribe);
    assert!(early.next().is_err(), "nothing is carried out for a stranger");
    assert!(
        open("Authorization: Bearer nonsense\r\n").is_err_and(|answer| answer.starts_with("HTTP/1.1 401 "))
    );
    let page = format!("Origin: https://evil.example\r\nAuthorization: {}\r\n", user.authorization);
    assert!(open(&page).is_err_and(|answer| answer.starts_with("HTTP/1.1 403 ")));
    let mut last = open(&format!("Authorization: {}\r\n", user.authorization)).expect("accepted");
    last.send(json!({"type": "connection_init"}));
    assert_eq!(last.next().expect("an answer")["type"], "connection_ack");
    assert!(inbox.stop().success());
    assert_eq!(last.next(), Err(1001), "the server says that it stops");
}

/// An address that events are sent to.
struct Hook {
    dir: PathBuf,
    url: String,
    _server: Helper,
    _names: Helper,
}

impl Hook {
    /// At `hook.test`; the server knows its name and trusts its certificate.
    fn new(inbox: &mut Inbox) -> Hook {
        let pki = Pki::new(&inbox.dir.0, &["hook.test"]);
        let (dns, port) = (free_port(), free_port());
        let (zone, dir) = (inbox.dir.0.join("zone.json"), inbox.dir.0.join("hook"));
        fs::write(&zone, json!({"hook.test.": {"A": ["127.0.0.1"]}}).to_string()).expect("written");
        fs::create_dir_all(&dir).expect("a directory");
        inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}")).set("TLS_EXTRA_ROOTS_FILE", &pki.roots);
        let names = Helper::python("names.py", &[&dns.to_string(), &zone.display().to_string()]);
        let place = dir.display().to_string();
        let server = Helper::python("hook.py", &[&port.to_string(), &place, &pki.cert, &pki.key]);
        eventually(Duration::from_secs(20), "the hook listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Hook { dir, url: format!("https://hook.test:{port}/events?a=b"), _server: server, _names: names }
    }

    /// What it was sent, in order.
    fn seen(&self) -> Vec<Value> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&self.dir).expect("readable").flatten().map(|e| e.path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "json"));
        files.sort();
        files
            .iter()
            .map(|p| serde_json::from_str(&fs::read_to_string(p).expect("readable")).expect("JSON"))
            .collect()
    }

    fn answer(&self, status: &str) {
        fs::write(self.dir.join("status"), status).expect("written");
    }
}

fn is_signed(secret: &str, seen: &Value) -> bool {
    let key = BASE64.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    let field = |name: &str| seen["headers"][name].as_str().unwrap_or_default().to_owned();
    let signed = format!(
        "{}.{}.{}",
        field("webhook-id"),
        field("webhook-timestamp"),
        seen["body"].as_str().expect("a body")
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    mac.update(signed.as_bytes());
    field("webhook-signature") == format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

#[test]
fn webhooks_get_signed_events_in_order_again_when_they_fail_and_again_when_they_are_asked_for() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let hook = Hook::new(&mut inbox);
    inbox.set("WEBHOOK_ALLOW_PRIVATE_NETWORKS", "true");
    inbox.start();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let create = "mutation($url: String!) { createWebhook(url: $url, types: [ACCEPTED, DELIVERED]) { secret webhook { id } } }";
    let made = user.graphql(create, json!({"url": hook.url}));
    let made = &made["data"]["createWebhook"];
    let (secret, id) = (made["secret"].as_str().expect("a secret"), &made["webhook"]["id"]);
    let email = user.send(letter("bob@example.test"));
    eventually(Duration::from_secs(20), "two events", || hook.seen().len() == 2);
    let seen = hook.seen();
    assert!(seen.iter().all(|s| is_signed(secret, s) && s["path"] == "/events?a=b"), "{seen:?}");
    let bodies: Vec<Value> =
        seen.iter().map(|s| serde_json::from_str(s["body"].as_str().expect("text")).expect("JSON")).collect();
    assert_eq!(
        (&bodies[0]["type"], &bodies[1]["type"]),
        (&json!("email.accepted"), &json!("email.delivered"))
    );
    assert_eq!((&bodies[1]["data"]["emailId"], &bodies[1]["data"]["tags"]), (&json!(email), &json!(["t"])));
    assert_eq!(bodies[1]["data"]["metadata"], json!([{"name": "order", "value": "7"}]));
    assert_eq!(bodies[1]["data"]["eventId"], seen[1]["headers"]["webhook-id"]);

    // A redirect is no answer, and is not followed; the event waits, and those behind it.
    hook.answer("302");
    user.send(letter("bob@example.test"));
    let list = "{ webhooks { attempts lastError givenUp } }";
    let state = || user.graphql(list, json!({}))["data"]["webhooks"][0].clone();
    eventually(Duration::from_secs(20), "a failed try", || state()["attempts"] == 1);
    assert_eq!(state()["lastError"], "it answered 302");
    assert_eq!(hook.seen().len(), 3);
    hook.answer("200");
    // Its next try is due in five seconds, or at once when somebody changes the webhook.
    let update = "mutation($id: ID!) { updateWebhook(id: $id, enabled: true) { enabled } }";
    user.graphql(update, json!({"id": id}));
    eventually(Duration::from_secs(20), "both events of the second e-mail", || hook.seen().len() == 5);
    let ids = |seen: &[Value]| seen.iter().map(|s| s["headers"]["webhook-id"].clone()).collect::<Vec<_>>();
    let all = ids(&hook.seen());
    assert_eq!(all[2], all[3], "the same event has the same ID");

    let replay = "mutation($id: ID!, $after: ID) { replayWebhook(id: $id, after: $after) { id } }";
    user.graphql(replay, json!({"id": id, "after": all[0]}));
    eventually(Duration::from_secs(20), "three of four again", || hook.seen().len() == 8);
    assert_eq!(ids(&hook.seen())[5..], [all[1].clone(), all[3].clone(), all[4].clone()]);
    hook.answer("410");
    user.send(letter("bob@example.test"));
    let enabled =
        || user.graphql("{ webhooks { enabled } }", json!({}))["data"]["webhooks"][0]["enabled"].clone();
    eventually(Duration::from_secs(20), "one that is gone is not called any more", || enabled() == false);
    assert!(!inbox.log().contains("whsec_"));
}

#[test]
fn hg10_webhooks_go_to_public_addresses_over_https_only() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let hook = Hook::new(&mut inbox);
    inbox.start();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let create = "mutation($url: String!) { createWebhook(url: $url) { webhook { id } } }";
    for url in [
        "http://hook.test/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://user@hook.test/",
        "https://hook.test:25/",
        "https://hook.test:6379/",
        &hook.url,
        "ftp://hook.test/",
        "",
        "https://hook.test/\r\nX: y",
    ] {
        let answer = user.graphql(create, json!({"url": url}));
        assert_eq!(answer["errors"][0]["extensions"]["argument"], "url", "{url}: {answer}");
    }
    // A name is looked up when something is sent, and what it leads to is looked at then.
    let made = user.graphql(create, json!({"url": "https://hook.test/"}));
    assert!(made["data"]["createWebhook"]["webhook"]["id"].is_string(), "{made}");
    user.send(letter("bob@example.test"));
    let state =
        || user.graphql("{ webhooks { lastError } }", json!({}))["data"]["webhooks"][0]["lastError"].clone();
    eventually(Duration::from_secs(20), "it is not dialled", || {
        state().as_str().is_some_and(|why| why.contains("no address that may be dialled"))
    });
    assert_eq!(hook.seen(), Vec::<Value>::new());
}

#[test]
fn hg14_templates_make_messages_and_belong_to_their_organisation() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let save = "mutation($html: String!, $id: ID) { saveTemplate(id: $id, name: \"n\", subject: \"Order {{ order }}\", \
                htmlBody: $html, variables: [{name: \"order\", type: NUMBER}, {name: \"who\", type: STRING, optional: true}]) \
                { id version } }";
    let made = user.graphql(save, json!({"html": "<p>{{ who }}</p>"}));
    let id = made["data"]["saveTemplate"]["id"].clone();
    let next = user.graphql(save, json!({"html": "<b>{{ who }}</b>", "id": id}));
    assert_eq!(next["data"]["saveTemplate"], json!({"id": id, "version": 2}));
    let bad = user.graphql(save, json!({"html": "{{ other }}"}));
    assert_eq!(bad["errors"][0]["extensions"]["argument"], "htmlBody", "{bad}");
    let email = |variables: Value, version: Value| {
        json!({"from": "alice@example.test", "to": ["bob@example.test"], "templateId": id,
               "templateVersion": version, "variables": variables})
    };
    let sent = user.send(email(json!({"order": 7, "who": "<script>{{ 1 }}"}), Value::Null));
    assert_eq!(user.email(&sent)["subject"], "Order 7");
    user.send(email(json!({"order": 8}), json!(1)));
    let path = inbox.dir.0.join("out.mbox").display().to_string();
    inbox.cli_ok(&["export", "mbox", &path, "--mailbox", "bob@example.test"]);
    let text = fs::read_to_string(path).expect("readable");
    assert!(text.contains("<b>&lt;script&gt;{{ 1 }}</b>") && text.contains("<p></p>"), "{text}");
    for (variables, reason) in
        [(json!({}), "MISSING"), (json!({"order": "7"}), "SYNTAX"), (json!({"order": 1, "x": 1}), "SYNTAX")]
    {
        let answer = user.ask("POST", "/v1/emails", &email(variables, Value::Null));
        assert_eq!(answer.json()["error"]["reason"], reason, "{}", answer.body);
    }
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "send,read,admin"]);
    let mut theirs = email(json!({"order": 7}), Value::Null);
    theirs["from"] = json!("a@other.test");
    assert_eq!(other.ask("POST", "/v1/emails", &theirs).status, 404);
    assert_eq!(other.graphql("{ templates { id } }", json!({}))["data"]["templates"], json!([]));
}
