//! What a message asks for its own way (RFC 8689): REQUIRETLS, and `TLS-Required: No`.

use std::fs;
use std::time::Duration;

use crate::dane::{at, attempted, outcome};
use crate::harness::{Inbox, Raw, eventually, have};
use crate::signed::{Destination, Server, TOOLS, Tlsa, World, Zone};

const ALICE: &str = "alice@example.test";
const DESTINATIONS: [Destination; 5] = [
    at("good", Server::Own, &[Tlsa::Own], Zone::Nsec),
    at("wrong", Server::Own, &[Tlsa::Other], Zone::Nsec),
    at("trusted", Server::Chain, &[], Zone::Nsec),
    at("insecure", Server::Chain, &[], Zone::Unsigned),
    at("bare", Server::Plain, &[], Zone::Nsec),
];

fn started(world: &World) -> Inbox {
    let mut inbox = Inbox::prepared();
    inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{}", world.dns_port));
    inbox.set("DNS_TRUST_ANCHOR_FILE", world.trust_anchor().display());
    inbox.set("TLS_EXTRA_ROOTS_FILE", world.roots().display());
    inbox.set("SMTP_OUTBOUND_PORT", world.smtp_port);
    inbox.set("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", 3600);
    inbox.set("SMTP_OUTBOUND_TLS_MODE", "required");
    inbox.start();
    inbox
}

/// What becomes of a message for `USER@NAME.test`: the posture, or the status.
fn sent(inbox: &Inbox, recipient: &str, wish: &str) -> String {
    inbox.python_ok("wish.py", &[ALICE, recipient, "secret", wish]);
    eventually(Duration::from_secs(30), "an attempt", || attempted(&inbox.log(), recipient).is_some());
    outcome(&attempted(&inbox.log(), recipient).expect("just seen"))
}

#[test]
fn so12_requiretls_goes_only_where_every_condition_is_met() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&DESTINATIONS);
    let inbox = started(&world);
    // Offered under TLS only (RFC 8689 §2).
    let mut raw = Raw::connect(inbox.smtp());
    raw.reply();
    assert!(!raw.ask("EHLO client.test\r\n").contains("REQUIRETLS"));
    assert!(raw.ask("MAIL FROM:<a@b.test> REQUIRETLS\r\n").starts_with("555 5.5.4"));
    // No server offers it yet: the message comes back, its body does not.
    assert_eq!(sent(&inbox, "first@good.test", "requiretls"), "5.7.30");
    assert!(!world.heard("good").contains("MAIL FROM:"));
    let bounce = || inbox.python_ok("folder.py", &[ALICE, "INBOX"]);
    eventually(Duration::from_secs(20), "a notification", || bounce().contains("5.7.30"));
    assert!(bounce().contains("Subject: secret") && !bounce().contains("for your eyes"), "{}", bounce());
    fs::write(world.offers_requiretls(), "").expect("written");
    for (name, expected) in [
        ("good", "requiretls verified"),
        ("trusted", "requiretls verified"),
        ("wrong", "4.7.5"),
        ("bare", "4.7.4"),
        // Nothing proves that this host takes mail for the domain.
        ("insecure", "5.7.30"),
    ] {
        assert_eq!(sent(&inbox, &format!("second@{name}.test"), "requiretls"), expected, "{name}");
        let heard = world.heard(name);
        let envelopes: Vec<&str> = heard.lines().filter(|l| l.contains("MAIL FROM:")).collect();
        assert_eq!(envelopes.is_empty(), !expected.starts_with("requiretls"), "{name} was told {heard}");
        let asked = |l: &&str| l.starts_with("tls ") && l.contains(" REQUIRETLS");
        assert!(envelopes.iter().all(asked), "{name} was told {heard}");
    }
}

#[test]
fn tls_required_no_lifts_every_check_but_not_the_ban_on_plaintext() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&DESTINATIONS);
    let inbox = started(&world);
    for (name, plain, optional) in [
        ("good", "dane verified", "dane verified"),
        ("wrong", "4.7.5", "dane unverified"),
        ("bare", "4.7.4", "4.7.4"),
    ] {
        assert_eq!(sent(&inbox, &format!("plain@{name}.test"), "none"), plain, "{name}");
        assert_eq!(sent(&inbox, &format!("optional@{name}.test"), "optional"), optional, "{name}");
    }
}
