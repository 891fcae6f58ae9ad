//! Connections that carry more than one message.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Inbox, eventually, have, http_get};
use crate::outbound::{TOOLS, World};

/// Envelope and message of everything that arrived.
fn arrived(world: &World) -> Vec<(Value, String)> {
    let split = |text: String| {
        let (head, message) = text.split_once('\n').expect("an envelope");
        (serde_json::from_str(head).expect("JSON"), message.to_owned())
    };
    world.received().into_iter().map(split).collect()
}

#[test]
fn so18_two_tenants_share_a_connection_and_nothing_else() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    inbox.add_mailbox("carol@other.test");
    let mut world = World::new(&mut inbox);
    world.open();
    inbox.start();
    // Both domains have the same host. A connection rests for two seconds: on a busy machine that may be over.
    let mut sent = 0;
    let shared = (0..10).find_map(|round: u32| {
        for (user, to) in
            [("alice@example.test", "friend@remote.test"), ("carol@other.test", "friend@two.test")]
        {
            let subject = format!("{}-{round}", user.split('@').next().unwrap_or_default());
            inbox.python_ok("submit.py", &[user, user, to, "1", &subject]);
            sent += 1;
            eventually(Duration::from_secs(20), "delivery", || world.received().len() == sent);
        }
        let mut senders: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (head, _) in arrived(&world) {
            let peer = head["peer"].as_u64().expect("a port");
            senders.entry(peer).or_default().push(head["from"].as_str().unwrap_or_default().to_owned());
        }
        senders.into_values().find(|of| {
            ["alice@example.test", "carol@other.test"].iter().all(|user| of.iter().any(|from| from == user))
        })
    });
    assert!(shared.is_some(), "no connection carried messages of both");
    for (head, message) in arrived(&world) {
        let (own, foreign) = match head["from"].as_str() {
            Some("alice@example.test") => ("example.test", "other.test"),
            _ => ("other.test", "example.test"),
        };
        assert!(message.contains(&format!("d={own};")), "signed by its own domain: {message}");
        // Our host is in a domain of one of them: that name alone says nothing.
        let bleeds =
            [format!("@{foreign}"), format!("d={foreign};")].iter().any(|text| message.contains(text));
        assert!(!bleeds, "something of the other tenant: {message}");
        assert_eq!(head["to"].as_array().map(Vec::len), Some(1), "{head}");
    }
    let metrics = http_get(inbox.port("HTTP_PORT"), "/metrics").expect("metrics");
    assert!(metrics.contains("outbound_connections_total{kind=\"kept\"}"), "{metrics}");
}
