//! What one organisation may learn of another one's names, and take of them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::api::User;
use crate::harness::{Inbox, free_port, have};
use crate::signing::Helper;

#[test]
fn ti2_ids_are_random_and_a_guess_tells_nothing() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let email = json!({"from": "alice@example.test", "to": ["a@simulator.invalid"], "textBody": "x"});
    let ids: BTreeSet<String> = (0..100).map(|_| user.send(email.clone())).collect();
    assert_eq!(ids.len(), 100);
    // 128 bits in 26 characters of five, the first of three: each character but that one takes many values.
    for at in 1..26 {
        let values: BTreeSet<u8> = ids.iter().map(|id| id.as_bytes()[at]).collect();
        assert!(values.len() >= 16, "character {at} is one of {values:?}");
    }
    // What was made later has no greater ID: they are not numbered.
    let made: Vec<String> = (0..20).map(|_| user.send(email.clone())).collect();
    assert!(made.windows(2).any(|pair| pair[0] > pair[1]), "{made:?}");
    // The next one, another organisation's and one that never was are not told apart.
    inbox.cli_ok(&["org", "create", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "read"]);
    let mut next = made[0].clone().into_bytes();
    next[25] = if next[25] == b'0' { b'1' } else { b'0' };
    let next = String::from_utf8(next).expect("text");
    let told = |id: &str| {
        let answer = other.ask("GET", &format!("/v1/emails/{id}"), &Value::Null);
        (answer.status, answer.text())
    };
    let never = told("0123456789abcdefghjkmnpqrs");
    assert_eq!(never.0, 404);
    assert_eq!((told(&made[0]), told(&next)), (never.clone(), never));
}

#[test]
fn ti3_a_name_is_whose_it_is_however_it_is_written() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let (dns, zone) = (free_port(), inbox.dir.0.join("zone.json"));
    fs::write(&zone, "{}").expect("written");
    inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}"));
    let _names = Helper::python("names.py", &[&dns.to_string(), &zone.display().to_string()]);
    inbox.start();
    inbox.cli_ok(&["org", "create", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "read,admin"]);
    let create = "mutation($name: String!) { createDomain(name: $name) { name } }";
    // Another's name, its forms, names below it and names that look like it: nobody gets any without proof.
    let names = [
        "example.test",
        "EXAMPLE.test",
        "example.test.",
        "Example.Test.",
        "sub.example.test",
        "a.b.example.test",
        "ex\u{e4}mple.test",
        "\u{435}xample.test",
        "\u{ff45}xample.test",
        "xn--exmple-cua.test",
        "never.test",
    ];
    let reason = |name: &str| {
        let answer = other.graphql(create, json!({"name": name}));
        answer["errors"][0]["extensions"]["reason"]
            .as_str()
            .unwrap_or_else(|| panic!("{name}: {answer}"))
            .to_owned()
    };
    for name in names {
        assert_eq!(reason(name), "NOT_PROVED", "{name}");
    }
    // What proves a name proves that one for that organisation alone.
    let proof = |user: &User, name: &str| {
        let answer = user.graphql(
            "query($name: String!) { domainProof(name: $name) { name value } }",
            json!({"name": name}),
        );
        answer["data"]["domainProof"].clone()
    };
    let owner = User::made(&inbox, &["--org", "test", "--scope", "read,admin"]);
    let (mine, theirs) = (proof(&owner, "example.test"), proof(&other, "example.test"));
    assert_eq!(mine["name"], theirs["name"]);
    assert_ne!(mine["value"], theirs["value"]);
    assert_ne!(proof(&other, "sub.example.test")["value"], theirs["value"]);
    assert_eq!(proof(&other, "EXAMPLE.test."), theirs, "one name in all its forms");
    // By hand it is one name too, and there is one of it.
    for name in ["example.test", "EXAMPLE.TEST", "example.test."] {
        let out = inbox.cli(&["domain", "add", name, "--org", "other"]);
        assert_eq!(out.status.code(), Some(1), "{name}");
    }
    let names = other.graphql("{ domains { name } }", json!({}));
    assert_eq!(names["data"]["domains"], json!([]));
}
