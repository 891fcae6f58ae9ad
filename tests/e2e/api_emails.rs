//! E-mails over the API: what is asked for over GraphQL and REST arrives, once, and what became of it is told.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::api::{TOOLS, User, World, letter};
use crate::harness::have;
use crate::nodes::queue;

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

/// What curl gets for a document, as a user would send it.
fn curl(world: &World, document: &str) -> Value {
    let body = world.inbox.dir.0.join("body.json");
    fs::write(&body, json!({"query": document}).to_string()).expect("written");
    let out = Command::new("curl")
        .args(["-sS", "-H", "Content-Type: application/json", "-H"])
        .arg(format!("Authorization: Bearer {}", world.key))
        .arg("--data-binary")
        .arg(format!("@{}", body.display()))
        .arg(format!("http://127.0.0.1:{}/graphql", world.inbox.port("HTTP_PORT")))
        .output()
        .expect("curl runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

#[test]
fn the_document_of_the_specification_sends_one_signed_message_however_often_it_is_sent() {
    if !have(&TOOLS) || !have(&["curl"]) {
        return;
    }
    let world = World::new();
    let answer = curl(&world, SEND);
    let id = answer["data"]["sendEmail"].as_str().unwrap_or_else(|| panic!("an ID: {answer}")).to_owned();
    assert_eq!(curl(&world, SEND)["data"]["sendEmail"], id, "the same request, the same ID");
    let user = world.user();
    let told = user.reaches(&id, "DELIVERED");
    assert_eq!(curl(&world, SEND)["data"]["sendEmail"], id, "long after it was delivered, too");
    let conflict = curl(&world, &SEND.replace("\"Hello\"", "\"Other\""));
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

/// A time so many seconds from now, by RFC 3339.
fn at(secs: i64) -> String {
    let out = Command::new("date")
        .args(["-u", "-d", &format!("{secs:+} seconds"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .expect("date runs");
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

/// Sends one at a time, over GraphQL.
const SCHEDULE: &str = "mutation($at: DateTime!, $metadata: [NameValueInput!]!) { sendEmail( \
     from: \"Sales <sender@example.com>\" to: [\"later@example.net\"] subject: \"Später\" textBody: \"x\" \
     sendAt: $at tags: [\"sale\"] metadata: $metadata) }";
const PUT_OFF: &str =
    "mutation($id: ID!, $at: DateTime!) { updateScheduledEmail(id: $id, sendAt: $at) { state sendAt } }";
const LIST: &str = "query($filter: EmailFilter, $after: String, $first: Int) { emails(filter: $filter, after: $after, \
     first: $first) { edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }";

/// The ID of one that is scheduled for a time.
fn scheduled(user: &User, at: &str, metadata: &Value) -> String {
    let sent = user.graphql(SCHEDULE, json!({"at": at, "metadata": metadata}));
    sent["data"]["sendEmail"].as_str().unwrap_or_else(|| panic!("an ID: {sent}")).to_owned()
}

#[test]
fn what_was_sent_is_found_again() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new();
    let user = world.user();
    let metadata = json!([{"name": "order", "value": "7"}]);
    let id = scheduled(&user, &at(3_600), &metadata);
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
    let ids = |answer: &Value| -> Vec<String> {
        let edges = answer["data"]["emails"]["edges"].as_array().unwrap_or_else(|| panic!("edges: {answer}"));
        edges.iter().map(|edge| edge["node"]["id"].as_str().expect("an ID").to_owned()).collect()
    };
    let mut newest: Vec<String> = others.iter().rev().cloned().collect();
    newest.push(id.clone());
    assert_eq!(ids(&user.graphql(LIST, json!({}))), newest);
    let page = user.graphql(LIST, json!({"first": 2}));
    assert_eq!(
        (ids(&page), &page["data"]["emails"]["pageInfo"]["hasNextPage"]),
        (newest[..2].to_vec(), &json!(true))
    );
    let after = &page["data"]["emails"]["edges"][1]["cursor"];
    let rest = user.graphql(LIST, json!({"first": 2, "after": after}));
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
        assert_eq!(ids(&user.graphql(LIST, json!({"filter": filter}))), want, "{filter}");
    }
    // Nothing of one that arrived can be cancelled.
    assert_eq!(user.ask("POST", &format!("/v1/emails/{}/cancel", others[0]), &Value::Null).status, 409);
}

#[test]
fn what_is_scheduled_is_put_off_cancelled_and_wanted_at_once() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new();
    let user = world.user();
    let sent = user.graphql(SCHEDULE, json!({"at": "2999-01-01T00:00:00Z", "metadata": []}));
    assert_eq!(sent["errors"][0]["extensions"]["reason"], "TOO_FAR_AHEAD", "{sent}");
    let id = scheduled(&user, &at(3_600), &json!([]));
    let answer = user.graphql(PUT_OFF, json!({"id": id, "at": at(7_200)}));
    assert_eq!(answer["data"]["updateScheduledEmail"]["state"], "SCHEDULED", "{answer}");
    let cancel = "mutation($id: ID!) { cancelEmail(id: $id) { state recipients { state } } }";
    let answer = user.graphql(cancel, json!({"id": id}));
    assert_eq!(answer["data"]["cancelEmail"]["state"], "CANCELLED", "{answer}");
    let again = user.graphql(cancel, json!({"id": id}));
    assert_eq!(again["errors"][0]["extensions"]["code"], "CONFLICT", "{again}");
    assert_eq!(user.ask("POST", &format!("/v1/emails/{id}/cancel"), &Value::Null).status, 409);
    assert!(!world.tried("later@example.net"));

    // One that was scheduled and is wanted at once.
    let id = scheduled(&user, &at(3_600), &json!([]));
    user.graphql(PUT_OFF, json!({"id": id, "at": at(-1)}));
    user.reaches(&id, "DELIVERED");
    let files: Vec<String> = world.files().iter().map(|path| path.display().to_string()).collect();
    let args: Vec<&str> = files.iter().map(String::as_str).collect();
    let zone = world.zone.display().to_string();
    let verdicts = world.inbox.python_ok("verify_dkim.py", &[&[zone.as_str(), "files"], &args[..]].concat());
    assert_eq!((verdicts.lines().count(), verdicts.matches("=good").count()), (1, 2), "{verdicts}");

    // A mailbox here waits as well as others do.
    let mut later = letter("bob@example.test", "here");
    later["sendAt"] = json!(at(3_600));
    let id = user.send(later);
    let used =
        || world.inbox.cli_json(&["mailbox", "list", "--json"])[1]["usedBytes"].as_u64().expect("a number");
    assert_eq!((user.email(&id)["state"].clone(), used()), (json!("SCHEDULED"), 0));
    user.graphql(PUT_OFF, json!({"id": id, "at": at(-1)}));
    user.reaches(&id, "DELIVERED");
    assert!(used() > 0, "bob has it");
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
