//! The API as programs of others speak with it: gql of Python, graphql-ws of JavaScript, and schemathesis, which asks
//! everything that the OpenAPI document allows and much that it does not.

use std::process::{Command, Output};

use serde_json::json;

use crate::api::User;
use crate::harness::{Inbox, have, javascript};

fn text(out: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn served() -> (Inbox, User) {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    (inbox, user)
}

#[test]
fn gql_of_python_sends_asks_and_listens() {
    if !have(&["python3", "python3:gql.transport.requests", "python3:gql.transport.websockets"]) {
        return;
    }
    let (inbox, user) = served();
    let url = format!("http://127.0.0.1:{}/graphql", user.port);
    let args = [&url, &user.authorization, "alice@example.test", "bob@example.test"];
    let id = inbox.python_ok("gql_client.py", &args);
    assert_eq!(user.email(id.trim())["state"], "DELIVERED");
}

#[test]
fn graphql_ws_of_javascript_listens_and_hears_what_is_wrong() {
    if !have(&["node:graphql-ws", "node:ws"]) {
        return;
    }
    let (_inbox, user) = served();
    let id = user.send(json!({"from": "alice@example.test", "to": ["bob@example.test"], "textBody": "x"}));
    let url = format!("ws://127.0.0.1:{}/graphql", user.port);
    let out = javascript("graphql_ws.cjs", &[&url, &user.authorization, &id]);
    assert!(out.status.success(), "{}", text(&out));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "ACCEPTED ATTEMPTED DELIVERED", "{said}");
    assert_eq!(lines[1], r#"{"data":{"__typename":"Query"}}"#, "{said}");
    assert!(lines[2].contains("nonsense"), "{said}");
    assert!(lines[3].starts_with("error 4403"), "a connection of a stranger is closed: {said}");
}

#[test]
fn schemathesis_finds_nothing_in_the_rest_api_that_its_document_does_not_say() {
    if !have(&["schemathesis"]) {
        return;
    }
    let (inbox, user) = served();
    let base = format!("http://127.0.0.1:{}", user.port);
    // A method that nobody knows is 501 (RFC 9110 §9.1), which it would take for a fault of the server's.
    let settings = "[phases.coverage]\nunexpected-methods = [\"PUT\", \"PATCH\", \"DELETE\", \"TRACE\"]\n";
    std::fs::write(inbox.dir.0.join("schemathesis.toml"), settings).expect("written");
    let out = Command::new("schemathesis")
        .args(["run", &format!("{base}/v1/openapi.json"), "--url", &base])
        .args(["-H", &format!("Authorization: {}", user.authorization)])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", "7"])
        .args(["--checks", "all", "--no-color", "--request-timeout", "20"])
        // Addresses have more rules than a pattern says, and a body of random text is not always what a rule calls wrong.
        .args(["--exclude-checks", "positive_data_acceptance,negative_data_rejection"])
        .current_dir(&inbox.dir.0)
        .output()
        .expect("python3 runs");
    assert!(out.status.success(), "{}", text(&out));
    // Nothing that was asked upset the server itself.
    let log = inbox.log();
    assert!(!log.contains("panicked") && !log.contains("\"level\":\"ERROR\""), "{log}");
}
