//! What the API refuses: what could break a header, what costs too much, and whoever may not.

use serde_json::{Value, json};

use crate::api::{TOOLS, User, World, http, letter};
use crate::harness::{Inbox, have};
use crate::nodes::queue;

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

/// A document that anybody with a key may ask for.
const DOCUMENT: &str = r#"{"query":"{ __typename }"}"#;
const JSON_TYPE: (&str, &str) = ("Content-Type", "application/json");

/// Somebody who may send and read, and a server that believes the proxies on this host.
fn behind_a_proxy() -> (Inbox, User) {
    let mut inbox = Inbox::prepared();
    inbox.set("HTTP_TRUSTED_PROXIES", "127.0.0.0/8");
    inbox.start();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    (inbox, user)
}

#[test]
fn nobody_is_told_anything_before_it_is_known_who_asks() {
    let (inbox, user) = behind_a_proxy();
    let ask = |method: &str, fields: &[(&str, &str)], body: &str| {
        http(user.port, method, "/graphql", fields, body.as_bytes())
    };
    let key = ("Authorization", user.authorization.as_str());
    // Not even the schema.
    let schema = json!({"query": "{ __schema { types { name } } }"}).to_string();
    let answer = ask("POST", &[JSON_TYPE], &schema);
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["extensions"]["code"]),
        (401, &json!("UNAUTHENTICATED"))
    );
    assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    assert_eq!(ask("GET", &[], "").status, 401);
    for wrong in ["Bearer nonsense", "Bearer ", "Basic !", "Basic YTpi", "Digest x", "x"] {
        let answer = ask("POST", &[JSON_TYPE, ("Authorization", wrong)], DOCUMENT);
        assert_eq!(answer.status, 401, "{wrong}");
    }
    // A proxy that is trusted says that its client's connection was not encrypted.
    let plain = [JSON_TYPE, key, ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "http")];
    let answer = ask("POST", &plain, DOCUMENT);
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["extensions"]["code"]),
        (403, &json!("INSECURE_TRANSPORT"))
    );
    let elsewhere = User::made(&inbox, &["--org", "test", "--scope", "read", "--network", "192.0.2.0/24"]);
    let from = |address| {
        [JSON_TYPE, ("Authorization", elsewhere.authorization.as_str()), ("X-Forwarded-For", address)]
    };
    assert_eq!(ask("POST", &from("203.0.113.9"), DOCUMENT).status, 403);
    assert_eq!(ask("POST", &from("192.0.2.9"), DOCUMENT).status, 200);
}

#[test]
fn hg6_what_a_link_or_a_form_on_any_page_could_send_is_refused() {
    let (_inbox, user) = behind_a_proxy();
    let ask = |method: &str, path: &str, fields: &[(&str, &str)], body: &str| {
        http(user.port, method, path, fields, body.as_bytes())
    };
    let key = ("Authorization", user.authorization.as_str());
    assert_eq!(
        ask("GET", "/graphql?query=mutation%7BcancelEmail(id:%22x%22)%7Bid%7D%7D", &[key], "").status,
        405
    );
    assert_eq!(ask("PUT", "/graphql", &[key, JSON_TYPE], DOCUMENT).status, 405);
    for mime in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        assert_eq!(ask("POST", "/graphql", &[key, ("Content-Type", mime)], DOCUMENT).status, 415, "{mime}");
    }
    assert_eq!(ask("POST", "/graphql", &[key], DOCUMENT).status, 415);
    let answer = ask("POST", "/graphql", &[key, JSON_TYPE], DOCUMENT);
    assert_eq!((answer.status, answer.json()), (200, json!({"data": {"__typename": "Query"}})));
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
}

#[test]
fn hg5_what_costs_much_is_refused_before_it_is_carried_out() {
    let (inbox, user) = behind_a_proxy();
    let reader = User::made(&inbox, &["--org", "test", "--scope", "read"]);
    let ask =
        |fields: &[(&str, &str)], body: &str| http(user.port, "POST", "/graphql", fields, body.as_bytes());
    let key = ("Authorization", user.authorization.as_str());
    let refused = |query: String| {
        let answer = ask(&[key, JSON_TYPE], &json!({"query": query}).to_string());
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
    let batch = format!("[{}]", vec![DOCUMENT; 1_000].join(","));
    assert_eq!(ask(&[key, JSON_TYPE], &batch).status, 400);
    let megabytes =
        |n: usize| json!({"query": "{ __typename }", "variables": {"x": "x".repeat(n << 20)}}).to_string();
    let answer = ask(&[("Authorization", &reader.authorization), JSON_TYPE], &megabytes(2));
    assert_eq!(answer.status, 413);
    assert_eq!(ask(&[JSON_TYPE], &megabytes(2)).status, 401);
    assert_eq!(ask(&[key, JSON_TYPE], &megabytes(10)).status, 200);
    assert_eq!(ask(&[key, JSON_TYPE], &megabytes(37)).status, 413);
}

#[test]
fn hg12_scopes_senders_and_what_is_anothers() {
    let (inbox, user) = behind_a_proxy();
    let reader = User::made(&inbox, &["--org", "test", "--scope", "read"]);
    let mine =
        json!({"from": "alice@example.test", "to": ["bob@example.test"], "subject": "x", "textBody": "x"});
    assert_eq!(reader.ask("POST", "/v1/emails", &mine).json()["error"]["code"], "FORBIDDEN");
    let id = user.send(mine.clone());
    assert_eq!(user.email(&id)["state"], "DELIVERED");
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
    assert_eq!(user.ask("GET", &format!("/v1/emails/{id}"), &Value::Null).status, 401);
    assert!(!inbox.log().contains("inbox_live_"));
}
