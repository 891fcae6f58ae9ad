//! Keys of idempotency: what is asked for again under a key is sent once, whoever asks and wherever.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::api::User;
use crate::harness::{Inbox, eventually, have};
use crate::nodes::{Database, furnish, nodes, queue};
use crate::scripted::Remote;

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

#[test]
fn q8_a_retry_is_answered_as_before_though_its_template_is_gone() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let save = "mutation { saveTemplate(name: \"x\", subject: \"{{ word }}\", textBody: \"x\", \
                variables: [{name: \"word\", type: STRING}]) { id } }";
    let made = user.graphql(save, json!({}));
    let template = made["data"]["saveTemplate"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let email = |key: &str| {
        json!({
            "from": "alice@example.test", "to": ["bob@example.test"], "templateId": template,
            "variables": {"word": "hello"}, "idempotencyKey": key,
        })
    };
    let id = user.send(email("one"));
    user.graphql(&format!("mutation {{ deleteTemplate(id: \"{template}\") }}"), json!({}));
    assert_eq!(user.send(email("one")), id);
    // Another request under the key, and the same under another one, are what they would be.
    let mut other = email("one");
    other["to"] = json!(["alice@example.test"]);
    assert_eq!(user.ask("POST", "/v1/emails", &other).json()["error"]["code"], "IDEMPOTENCY_CONFLICT");
    assert_eq!(user.ask("POST", "/v1/emails", &email("two")).json()["error"]["code"], "NOT_FOUND");
    let mail = inbox.dir.0.join("bob.mbox").display().to_string();
    inbox.cli_ok(&["export", "mbox", &mail, "--mailbox", "bob@example.test"]);
    assert_eq!(fs::read_to_string(mail).expect("readable").matches("\nSubject: hello").count(), 1);
}

#[test]
fn a_list_that_is_null_is_one_that_is_absent() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let lists = ["cc", "bcc", "replyTo", "headers", "attachments", "tags", "metadata"];
    let mut email = json!({"from": "alice@example.test", "to": ["bob@example.test"], "textBody": "x"});
    let plain = email.clone();
    lists.iter().for_each(|name| email[*name] = json!(null));
    // It is the same request, too: an equal one under its key.
    let with_key = |mut email: serde_json::Value, key: &str| {
        email["idempotencyKey"] = json!(key);
        email
    };
    let id = user.send(with_key(plain.clone(), "rest"));
    assert_eq!(user.send(with_key(email.clone(), "rest")), id);
    let document = "mutation($email: SendEmailInput!) { sendEmails(emails: [$email]) { id error { code } } }";
    let sent = |email: serde_json::Value| {
        let answer = user.graphql(document, json!({"email": email}));
        answer["data"]["sendEmails"][0]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    assert_eq!(sent(with_key(plain, "graphql")), sent(with_key(email.clone(), "graphql")));
    // One that is needed is not there either.
    email["to"] = json!(null);
    assert_eq!(user.ask("POST", "/v1/emails", &email).status, 400);
}
