//! Webhooks of the real binary: what is told of what was sent, and of what arrived.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::api::{User, http};
use crate::harness::{Inbox, Raw, eventually, free_port, have};
use crate::mta_sts::Pki;
use crate::signing::Helper;

fn letter() -> Value {
    json!({"from": "alice@example.test", "to": ["bob@example.test"], "subject": "x", "textBody": "x", "tags": ["t"],
           "metadata": [{"name": "order", "value": "7"}]})
}

/// An address that events are sent to.
pub struct Hook {
    pub dir: PathBuf,
    pub url: String,
    _server: Helper,
    _names: Helper,
}

impl Hook {
    /// At `hook.test`; the server knows its name and trusts its certificate.
    pub fn new(inbox: &mut Inbox) -> Hook {
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
    pub fn seen(&self) -> Vec<Value> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&self.dir).expect("readable").flatten().map(|e| e.path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "json"));
        files.sort();
        files
            .iter()
            .map(|p| serde_json::from_str(&fs::read_to_string(p).expect("readable")).expect("JSON"))
            .collect()
    }

    pub fn answer(&self, status: &str) {
        fs::write(self.dir.join("status"), status).expect("written");
    }
}

/// Whether what was sent is signed with this secret.
pub fn is_signed(secret: &str, seen: &Value) -> bool {
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
    let email = user.send(letter());
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
    user.send(letter());
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
    user.send(letter());
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
    user.send(letter());
    let state =
        || user.graphql("{ webhooks { lastError } }", json!({}))["data"]["webhooks"][0]["lastError"].clone();
    eventually(Duration::from_secs(20), "it is not dialled", || {
        state().as_str().is_some_and(|why| why.contains("no address that may be dialled"))
    });
    assert_eq!(hook.seen(), Vec::<Value>::new());
}

/// A message over port 25.
fn arrives(inbox: &Inbox, to: &str, subject: &str) {
    let mut raw = Raw::greeted(inbox.smtp());
    assert!(raw.ask("MAIL FROM:<writer@example.net>\r\n").starts_with("250 "));
    assert!(raw.ask(&format!("RCPT TO:<{to}>\r\n")).starts_with("250 "));
    assert!(raw.ask("DATA\r\n").starts_with("354 "));
    let reply =
        raw.ask(&format!("From: Writer <writer@example.net>\r\nSubject: {subject}\r\n\r\nhello\r\n.\r\n"));
    assert!(reply.starts_with("250 "), "{reply}");
}

fn body(seen: &Value) -> Value {
    serde_json::from_str(seen["body"].as_str().expect("text")).expect("JSON")
}

#[test]
fn what_arrives_in_a_mailbox_is_told_to_its_webhook_with_its_header_and_where_it_is() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let hook = Hook::new(&mut inbox);
    inbox.set("WEBHOOK_ALLOW_PRIVATE_NETWORKS", "true");
    inbox.start();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    arrives(&inbox, "bob@example.test", "before");
    let made = inbox.cli_json(&["mailbox", "webhook", "bob@example.test", &hook.url, "--json"]);
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    hook.answer("503");
    arrives(&inbox, "alice@example.test", "another's");
    arrives(&inbox, "bob@example.test", "told");
    user.send(json!({"from": "alice@example.test", "to": ["bob@example.test"], "subject": "by API", "textBody": "x"}));
    eventually(Duration::from_secs(20), "a first try", || !hook.seen().is_empty());
    hook.answer("200");
    // Changed by nobody, it is tried again when its time comes.
    eventually(Duration::from_secs(30), "three tries of two events", || hook.seen().len() == 3);
    let seen = hook.seen();
    assert!(seen.iter().all(|s| is_signed(&secret, s)), "{seen:?}");
    assert_eq!(seen[0]["headers"]["webhook-id"], seen[1]["headers"]["webhook-id"], "the same event again");
    let (told, api) = (body(&seen[1]), body(&seen[2]));
    assert_eq!(
        (&told["type"], &told["data"]["mailbox"]),
        (&json!("email.received"), &json!("bob@example.test"))
    );
    let header = |told: &Value, name: &str| {
        let fields = told["data"]["headers"].as_array().expect("a header").clone();
        let found = fields.into_iter().find(|field| field["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {told}"))["value"].clone()
    };
    assert_eq!(header(&told, "Subject"), "told");
    assert_eq!(header(&told, "Return-Path"), "<writer@example.net>");
    assert_eq!(header(&api, "Subject"), "by API");

    // Where it can be fetched: by the organisation and the mailbox itself, and by nobody else.
    let path = told["data"]["path"].as_str().expect("a path").to_owned();
    assert!(told["data"]["url"].as_str().expect("a URL").ends_with(&path), "{told}");
    let get = |key: &str| http(user.port, "GET", &path, &[("Authorization", key)], b"");
    let message = get(&user.authorization);
    assert_eq!((message.status, told["data"]["size"].as_u64()), (200, Some(message.body.len() as u64)));
    assert!(message.body.ends_with("Subject: told\r\n\r\nhello\r\n"), "{}", message.body);
    assert!(message.head.contains("content-type: message/rfc822"), "{}", message.head);
    let owner = User::made(&inbox, &["--mailbox", "bob@example.test", "--scope", "read"]);
    assert_eq!(get(&owner.authorization).status, 200);
    let neighbour = User::made(&inbox, &["--mailbox", "alice@example.test", "--scope", "read"]);
    inbox.cli_ok(&["org", "create", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "read"]);
    let sender = User::made(&inbox, &["--org", "test", "--scope", "send"]);
    for (stranger, status) in [(&neighbour, 404), (&other, 404), (&sender, 403)] {
        assert_eq!(get(&stranger.authorization).status, status);
    }
    assert_eq!(get("Bearer nonsense").status, 401);

    assert_eq!(inbox.cli_json(&["mailbox", "webhook", "bob@example.test", "off", "--json"])["removed"], 1);
    let log = user.graphql("{ deliveryEvents(types: [RECEIVED], first: 100) { recipient } }", json!({}));
    assert_eq!(log["data"]["deliveryEvents"].as_array().expect("events").len(), 2, "{log}");
    arrives(&inbox, "bob@example.test", "after");
    let again = user.graphql("{ deliveryEvents(types: [RECEIVED], first: 100) { recipient } }", json!({}));
    assert_eq!(again, log, "a mailbox without a webhook is not in the log");
}

#[test]
fn the_webhook_of_a_mailbox_over_graphql_is_its_organisations() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "read,admin"]);
    let create = "mutation($mailbox: String, $types: [EventType!]) { createWebhook(url: \"https://a.example/\", \
                  mailbox: $mailbox, types: $types) { webhook { id mailboxId } } }";
    let made = user.graphql(create, json!({"mailbox": "BOB@example.test", "types": ["RECEIVED"]}));
    assert!(made["data"]["createWebhook"]["webhook"]["mailboxId"].is_string(), "{made}");
    let wrong = user.graphql(create, json!({"mailbox": "bob@example.test", "types": ["DELIVERED"]}));
    assert_eq!(wrong["errors"][0]["extensions"]["argument"], "types", "{wrong}");
    inbox.cli_ok(&["org", "create", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "read,admin"]);
    let theirs = other.graphql(create, json!({"mailbox": "bob@example.test"}));
    let never = other.graphql(create, json!({"mailbox": "nobody@example.test"}));
    assert_eq!((&theirs["errors"][0]["extensions"]["code"], &theirs), (&json!("NOT_FOUND"), &never));
    inbox.cli_ok(&["mailbox", "delete", "bob@example.test"]);
    assert_eq!(user.graphql("{ webhooks { id } }", json!({}))["data"]["webhooks"], json!([]));
}
