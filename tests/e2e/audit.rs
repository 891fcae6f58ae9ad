//! The audit log: who did what to which thing, whichever way it was done; each organisation's own, and no secret in it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::User;
use crate::harness::{Inbox, PASSWORD};

const ENTRIES: &str = "{ auditLog(first: 100) { at actor actorId action target named outcome code } }";

fn entries(user: &User) -> Vec<Value> {
    let answer = user.graphql(ENTRIES, json!({}));
    answer["data"]["auditLog"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

/// Action, target and outcome of each, the newest first.
fn told(entries: &[Value]) -> Vec<[String; 3]> {
    let of = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| ["action", "target", "outcome"].map(|name| of(entry, name))).collect()
}

#[test]
fn what_the_command_line_changes_is_in_the_log_of_whose_it_is() {
    let inbox = Inbox::started();
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    inbox.cli_ok(&["domain", "set", "example.test", "plus_addressing=false"]);
    inbox.cli_ok(&["mailbox", "disable", "bob@example.test"]);
    assert!(!inbox.cli(&["mailbox", "delete", "nobody@example.test"]).status.success());
    // What only looks is not in it.
    inbox.cli_ok(&["mailbox", "list"]);
    let admin = User::made(&inbox, &["--org", "test", "--scope", "admin"]);
    let entries = entries(&admin);
    let told = told(&entries);
    let key = entries[0]["target"].as_str().expect("the key's ID");
    let want = [
        ["key create", key, "DONE"],
        ["mailbox delete", "nobody@example.test", "REFUSED"],
        ["mailbox disable", "bob@example.test", "DONE"],
        ["domain set", "example.test", "DONE"],
        ["mailbox create", "bob@example.test", "DONE"],
        ["mailbox create", "alice@example.test", "DONE"],
        ["domain add", "example.test", "DONE"],
    ];
    assert_eq!(told, want);
    assert!(entries.iter().all(|entry| entry["actor"] == "COMMAND_LINE"), "{entries:?}");
    assert_eq!(entries[3]["named"], json!(["plus_addressing"]));
    // By hand, all of it: those of the installation and of the other organisation too.
    let all = inbox.cli_json(&["audit", "--json"]);
    let actions: BTreeSet<String> =
        all.as_array().expect("a list").iter().map(|e| format!("{} {}", e["action"], e["target"])).collect();
    for wanted in
        ["\"org create\" \"other\"", "\"domain add\" \"other.test\"", "\"domain add\" \"example.test\""]
    {
        assert!(actions.contains(wanted), "{wanted} in {actions:?}");
    }
    let other = inbox.cli_json(&["audit", "--org", "other", "--json"]);
    assert_eq!(other.as_array().expect("a list").len(), 1, "{other}");
    assert!(!inbox.cli(&["audit", "--org", "nobody"]).status.success());
}

#[test]
fn what_the_api_changes_is_in_the_log_and_no_secret_is() {
    let inbox = Inbox::started();
    let admin = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let reader = User::made(&inbox, &["--org", "test", "--scope", "read"]);
    let operator = User::made(&inbox, &["--org", "test", "--scope", "read,operator"]);
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    let theirs = User::made(&inbox, &["--org", "other", "--scope", "read,admin"]);
    let secret = "a secret that nobody may read anywhere";
    let create = "mutation($address: String!, $secret: String!) { createMailbox(address: $address, password: $secret) { address } }";
    admin.graphql(create, json!({"address": "carol@example.test", "secret": secret}));
    let edit = "mutation { updateMailbox(address: \"carol@example.test\", password: \"PASSWORD\", name: \"Carol\") { address } }";
    admin.graphql(&edit.replace("PASSWORD", secret), json!({}));
    let gone = admin.graphql("mutation { deleteMailbox(address: \"nobody@example.test\") }", json!({}));
    assert_eq!(gone["errors"][0]["extensions"]["code"], "NOT_FOUND");
    admin
        .graphql("mutation { createWebhook(url: \"https://hook.example/?t=hidden\") { secret } }", json!({}));
    // Whoever may change nothing fills no log, and what is sent has one of its own.
    reader.graphql("mutation { deleteMailbox(address: \"alice@example.test\") }", json!({}));
    admin.graphql(
        "mutation { sendEmail(from: \"alice@example.test\", to: [\"bob@example.test\"], textBody: \"x\") }",
        json!({}),
    );
    let quotas = "mutation { setQuotas(domain: \"other.test\", quotas: {hourlySendLimit: 5}) { name } }";
    operator.graphql(quotas, json!({}));
    let all = entries(&admin);
    let of_api: Vec<Value> = all.iter().filter(|entry| entry["actor"] != "COMMAND_LINE").cloned().collect();
    let want = [
        ["setQuotas", "other.test", "DONE"],
        ["createWebhook", "", "DONE"],
        ["deleteMailbox", "nobody@example.test", "REFUSED"],
        ["updateMailbox", "carol@example.test", "DONE"],
        ["createMailbox", "carol@example.test", "DONE"],
    ];
    let found = told(&of_api);
    assert_eq!(found, want);
    assert_eq!(of_api[2]["code"], "NOT_FOUND");
    assert_eq!(of_api[3]["named"], json!(["password", "name"]));
    assert!(of_api.iter().all(|entry| entry["actor"] == "KEY" && entry["actorId"].is_string()), "{of_api:?}");
    // What whoever runs the installation does to an organisation, its administrators can see.
    let quotas: Vec<Value> = entries(&theirs).into_iter().filter(|entry| entry["actor"] == "KEY").collect();
    assert_eq!(told(&quotas), [["setQuotas", "other.test", "DONE"]]);
    for text in [json!(all).to_string(), inbox.cli_ok(&["audit"]), inbox.cli_ok(&["audit", "--json"])] {
        assert!(!text.contains(secret) && !text.contains("hidden") && !text.contains(PASSWORD), "{text}");
    }
    assert_eq!(reader.graphql(ENTRIES, json!({}))["errors"][0]["extensions"]["code"], "FORBIDDEN");
}

#[test]
fn the_log_is_read_page_by_page_and_an_owner_is_named_by_their_mailbox() {
    let inbox = Inbox::started();
    let admin = User::made(&inbox, &["--org", "test", "--scope", "read,admin"]);
    for n in 0..7 {
        admin
            .graphql(&format!("mutation {{ suppress(entry: \"x{n}@example.net\") {{ entry }} }}"), json!({}));
    }
    let page = "query($after: ID) { auditLog(after: $after, first: 3) { id target } }";
    let (mut after, mut targets) = (Value::Null, Vec::new());
    loop {
        let answer = admin.graphql(page, json!({"after": after}));
        let rows = answer["data"]["auditLog"].as_array().expect("a page").clone();
        let Some(last) = rows.last() else { break };
        after = last["id"].clone();
        targets.extend(rows.iter().filter_map(|row| row["target"].as_str().map(str::to_owned)));
    }
    let want: Vec<String> = (0..7).rev().map(|n| format!("x{n}@example.net")).collect();
    targets.retain(|target| target.ends_with("example.net"));
    assert_eq!(targets, want);
    let bad = admin.graphql(page, json!({"after": "1.x"}));
    assert_eq!(bad["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT", "{bad}");
}
