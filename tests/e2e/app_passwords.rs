//! AU11: an app password opens what it was made for, and nothing else.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::api::User;
use crate::harness::{Inbox, PASSWORD, eventually, have};

const ALICE: &str = "alice@example.test";

/// Which protocols let each of these passwords in.
fn let_in(inbox: &Inbox, address: &str, passwords: &[&str]) -> Vec<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/py/logins.py");
    let mut child = Command::new("python3")
        .arg(script)
        .arg(address)
        .envs(&inbox.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let input = json!(passwords).to_string();
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("taken");
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success(), "logins.py failed");
    serde_json::from_slice(&out.stdout).expect("lists")
}

/// What a scope opens.
fn opens(scope: &str) -> &'static [&'static str] {
    match scope {
        "imap" => &["imap login", "imap plain"],
        "smtp" => &["smtp"],
        "dav" => &["dav"],
        "send" | "read" | "admin" => &["api basic", "api bearer"],
        _ => panic!("a scope without a row: {scope}"),
    }
}

fn secret(inbox: &Inbox, scopes: &str) -> Value {
    inbox.cli_json(&["key", "create", "--json", "--mailbox", ALICE, "--scope", scopes])
}

#[test]
fn au11_every_scope_opens_its_own_protocols_and_no_other() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    // The scopes of a mailbox's key, alone and each with each; the operator's is none of a mailbox's.
    let scopes = ["send", "read", "admin", "imap", "smtp", "dav"];
    let mut sets: Vec<Vec<&str>> = scopes.iter().map(|scope| vec![*scope]).collect();
    for (n, one) in scopes.iter().enumerate() {
        sets.extend(scopes[n + 1..].iter().map(|other| vec![*one, *other]));
    }
    let made: Vec<Value> = sets.iter().map(|set| secret(&inbox, &set.join(","))).collect();
    let mut passwords: Vec<&str> = made.iter().map(|key| key["secret"].as_str().expect("a secret")).collect();
    let wrong = format!("{}x", passwords[0]);
    passwords.extend([PASSWORD, "wrong", wrong.as_str()]);
    let found = let_in(&inbox, ALICE, &passwords);
    for (set, found) in sets.iter().zip(&found) {
        let mut wanted: Vec<&str> = set.iter().flat_map(|scope| opens(scope)).copied().collect();
        let order = ["imap login", "imap plain", "smtp", "dav", "api basic", "api bearer"];
        wanted.sort_by_key(|name| order.iter().position(|known| known == name));
        wanted.dedup();
        assert_eq!(found, &wanted, "{set:?}");
    }
    // The mailbox's own password opens everything; nothing else opens anything.
    assert_eq!(found[sets.len()], ["imap login", "imap plain", "smtp", "dav", "api basic"]);
    assert!(found[sets.len() + 1..].iter().all(Vec::is_empty), "{found:?}");
    // It is a password of its own mailbox alone, but as a bearer token, which names no mailbox.
    for (set, found) in sets.iter().zip(let_in(&inbox, "bob@example.test", &passwords)) {
        assert!(found.iter().all(|name| name == "api bearer"), "{set:?}: {found:?}");
    }
}

#[test]
fn au11_a_revoked_app_password_opens_nothing_and_its_last_use_is_known() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    let key = secret(&inbox, "imap,smtp,dav");
    let (id, secret) = (key["id"].as_str().expect("an ID"), key["secret"].as_str().expect("a secret"));
    let all = ["imap login", "imap plain", "smtp", "dav"];
    assert_eq!(let_in(&inbox, ALICE, &[secret]), [all]);
    let used = || {
        let keys = inbox.cli_json(&["key", "list", "--json"]);
        let mut keys = keys.as_array().expect("a list").clone().into_iter();
        keys.find(|key| key["id"] == id).expect("it is listed")["lastUsedAt"].is_string()
    };
    eventually(std::time::Duration::from_secs(20), "its use is written down", used);
    let listed = inbox.cli_ok(&["key", "list", "--json"]);
    assert!(!listed.contains(secret) && !inbox.log().contains(secret), "the secret is nowhere");
    inbox.cli_ok(&["key", "revoke", id]);
    assert_eq!(let_in(&inbox, ALICE, &[secret, PASSWORD])[0], Vec::<String>::new());
    // One that has ended.
    let ended = inbox.cli_json(&[
        "key",
        "create",
        "--json",
        "--mailbox",
        ALICE,
        "--scope",
        "imap,smtp,dav",
        "--expires",
        "2020-01-01",
    ]);
    // One for another network, and one whose mailbox is disabled.
    let elsewhere = inbox.cli_json(&[
        "key",
        "create",
        "--json",
        "--mailbox",
        ALICE,
        "--scope",
        "imap,smtp,dav",
        "--network",
        "192.0.2.0/24",
    ]);
    let good = self::secret(&inbox, "imap,smtp,dav");
    let secrets = [&ended, &elsewhere, &good].map(|key| key["secret"].as_str().expect("a secret"));
    let found = let_in(&inbox, ALICE, &secrets);
    assert_eq!(found, [vec![], vec![], all.map(str::to_owned).to_vec()]);
    inbox.cli_ok(&["mailbox", "disable", ALICE]);
    assert_eq!(let_in(&inbox, ALICE, &secrets[2..])[0], Vec::<String>::new());
}

#[test]
fn au11_an_app_password_is_a_mailboxs_and_its_administrator_makes_it() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    for refused in [
        vec!["--org", "test", "--scope", "imap"],
        vec!["--org", "test", "--scope", "send,smtp"],
        vec!["--mailbox", ALICE, "--scope", "imap", "--test"],
        vec!["--mailbox", ALICE, "--scope", "smtp", "--from", "example.test"],
        vec!["--mailbox", ALICE, "--scope", "pop3"],
    ] {
        let out = inbox.cli(&[&["key", "create"], &refused[..]].concat());
        assert_eq!(out.status.code(), Some(1), "{refused:?}");
    }
    let admin = User::made(&inbox, &["--org", "test", "--scope", "read,admin"]);
    let create = "mutation($mailbox: String, $scopes: [KeyScope!]!) { createApiKey(name: \"phone\", scopes: $scopes, \
                  mailbox: $mailbox) { secret apiKey { id scopes mailboxId } } }";
    let made = admin.graphql(create, json!({"mailbox": ALICE, "scopes": ["IMAP", "DAV"]}));
    let made = &made["data"]["createApiKey"];
    assert_eq!(made["apiKey"]["scopes"], json!(["IMAP", "DAV"]), "{made}");
    let secret = made["secret"].as_str().expect("a secret");
    assert_eq!(let_in(&inbox, ALICE, &[secret]), [["imap login", "imap plain", "dav"]]);
    let code = |answer: Value| answer["errors"][0]["extensions"]["code"].clone();
    let without = admin.graphql(create, json!({"mailbox": null, "scopes": ["IMAP"]}));
    assert_eq!(code(without), "INVALID_ARGUMENT");
    let nobody = admin.graphql(create, json!({"mailbox": "nobody@example.test", "scopes": ["IMAP"]}));
    assert_eq!(code(nobody), "NOT_FOUND");
    let revoke = "mutation($id: ID!) { revokeApiKey(id: $id) }";
    admin.graphql(revoke, json!({"id": made["apiKey"]["id"]}));
    assert_eq!(let_in(&inbox, ALICE, &[secret])[0], Vec::<String>::new());
}
