//! DANE end to end: one table of destinations, and what becomes of mail for each under each combination of the
//! variables. What a server heard proves that nothing was sent before its certificate was judged.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Inbox, eventually, have, http_get};
use crate::signed::{Destination, Server, TOOLS, Tlsa, World, Zone};

pub const fn at(name: &'static str, server: Server, tlsa: &'static [Tlsa], zone: Zone) -> Destination {
    Destination { name, server, tlsa, zone }
}

const DESTINATIONS: [Destination; 21] = [
    at("good", Server::Own, &[Tlsa::Own], Zone::Nsec),
    at("wrong", Server::Own, &[Tlsa::Other], Zone::Nsec),
    at("plain", Server::Plain, &[Tlsa::Own], Zone::Nsec),
    at("expired", Server::Own, &[Tlsa::Own], Zone::Expired),
    at("badds", Server::Own, &[Tlsa::Own], Zone::WrongDs),
    at("changed", Server::Own, &[Tlsa::Own], Zone::Changed),
    at("missing", Server::Own, &[], Zone::Nsec),
    at("rollover", Server::Own, &[Tlsa::Other, Tlsa::Own], Zone::Nsec),
    at("nsec3", Server::Own, &[Tlsa::Own], Zone::Nsec3),
    at("nsec3none", Server::Own, &[], Zone::Nsec3),
    at("iterations", Server::Own, &[Tlsa::Own], Zone::Iterations),
    at("anchor", Server::Chain, &[Tlsa::Authority], Zone::Nsec),
    at("othername", Server::Chain, &[Tlsa::Authority], Zone::Nsec),
    at("unusable", Server::Own, &[Tlsa::Unusable], Zone::Nsec),
    at("unusableplain", Server::Plain, &[Tlsa::Unusable], Zone::Nsec),
    at("insecure", Server::Own, &[Tlsa::Other], Zone::Unsigned),
    at("alias", Server::Alias, &[], Zone::Nsec),
    at("wild", Server::Own, &[Tlsa::Wildcard], Zone::Nsec),
    at("wild3", Server::Own, &[Tlsa::Wildcard], Zone::Nsec3),
    at("trusted", Server::Chain, &[], Zone::Nsec),
    at("bare", Server::Plain, &[], Zone::Nsec),
];

/// What becomes of mail: the posture on the delivery without version and cipher, or the status that defers it.
type Outcomes = &'static [(&'static str, &'static str)];

/// DANE decides alone: the other variables change nothing here.
const UNDER_DANE: Outcomes = &[
    ("good", "dane verified"),
    ("wrong", "4.7.5"),
    ("plain", "4.7.4"),
    ("expired", "4.4.3"),
    ("badds", "4.4.3"),
    ("changed", "4.7.5"),
    ("rollover", "dane verified"),
    ("nsec3", "dane verified"),
    ("iterations", "4.4.3"),
    ("anchor", "dane verified"),
    ("othername", "4.7.5"),
    ("alias", "dane verified"),
    ("wild", "dane verified"),
    ("wild3", "dane verified"),
];
/// Records that cannot be used mean TLS, whatever the certificate (RFC 7672 §2.2).
const UNUSABLE: Outcomes = &[("unusable", "opportunistic unverified"), ("unusableplain", "4.7.4")];
/// Without DANE, where plaintext is allowed.
const OPEN: Outcomes = &[
    ("missing", "opportunistic unverified"),
    ("nsec3none", "opportunistic unverified"),
    ("insecure", "opportunistic unverified"),
    ("trusted", "opportunistic verified"),
    ("bare", "plaintext"),
];
/// Without DANE, where a valid certificate is demanded.
const STRICT: Outcomes = &[
    ("missing", "4.7.5"),
    ("nsec3none", "4.7.5"),
    ("insecure", "4.7.5"),
    ("trusted", "pkix verified"),
    ("bare", "4.7.4"),
];
/// Without DANE, where encryption is demanded and any certificate will do.
const ENCRYPTED: Outcomes = &[
    ("missing", "opportunistic unverified"),
    ("nsec3none", "opportunistic unverified"),
    ("insecure", "opportunistic unverified"),
    ("trusted", "opportunistic verified"),
    ("bare", "4.7.4"),
];
/// No TLSA record is asked for.
const NO_DANE: Outcomes = &[
    ("good", "opportunistic unverified"),
    ("wrong", "opportunistic unverified"),
    ("plain", "plaintext"),
    ("expired", "opportunistic unverified"),
    ("badds", "opportunistic unverified"),
    ("changed", "opportunistic unverified"),
    ("rollover", "opportunistic unverified"),
    ("nsec3", "opportunistic unverified"),
    ("iterations", "opportunistic unverified"),
    ("anchor", "opportunistic verified"),
    ("othername", "opportunistic unverified"),
    ("alias", "opportunistic unverified"),
    ("wild", "opportunistic unverified"),
    ("wild3", "opportunistic unverified"),
    ("unusable", "opportunistic unverified"),
    ("unusableplain", "plaintext"),
];
/// Only hosts under DANE are used.
const ONLY_DANE: Outcomes = &[
    ("missing", "4.7.5"),
    ("nsec3none", "4.7.5"),
    ("insecure", "4.7.5"),
    ("trusted", "4.7.5"),
    ("bare", "4.7.5"),
    ("unusable", "4.7.5"),
    ("unusableplain", "4.7.5"),
];
/// TLSA records are believed without proof, those of a zone that is not signed too.
const UNPROVED: Outcomes = &[
    ("expired", "dane verified"),
    ("badds", "dane verified"),
    ("iterations", "dane verified"),
    ("changed", "4.7.5"),
    ("insecure", "4.7.5"),
];

struct Combination {
    variables: &'static [(&'static str, &'static str)],
    /// `outbound_dnssec_validate` of the sender's domain.
    of_the_domain: &'static str,
    /// Later ones win.
    outcomes: &'static [Outcomes],
}

const fn with(
    variables: &'static [(&'static str, &'static str)],
    outcomes: &'static [Outcomes],
) -> Combination {
    Combination { variables, of_the_domain: "", outcomes }
}

const MODE: &str = "SMTP_OUTBOUND_TLS_MODE";
const DANE: &str = "SMTP_OUTBOUND_DANE_MODE";
const STARTTLS: &str = "SMTP_OUTBOUND_REQUIRE_STARTTLS";
const FALLBACK: &str = "SMTP_OUTBOUND_ALLOW_PLAINTEXT_FALLBACK";
const INVALID: &str = "SMTP_OUTBOUND_ALLOW_INVALID_CERTS";
const VALIDATE: &str = "SMTP_OUTBOUND_DNSSEC_VALIDATE";

const COMBINATIONS: [Combination; 13] = [
    with(&[], &[UNDER_DANE, UNUSABLE, STRICT]),
    with(&[(INVALID, "true")], &[UNDER_DANE, UNUSABLE, ENCRYPTED]),
    with(&[(MODE, "opportunistic")], &[UNDER_DANE, UNUSABLE, OPEN]),
    with(&[(MODE, "opportunistic"), (STARTTLS, "true")], &[UNDER_DANE, UNUSABLE, STRICT]),
    with(&[(MODE, "opportunistic"), (FALLBACK, "false")], &[UNDER_DANE, UNUSABLE, STRICT]),
    with(
        &[(MODE, "opportunistic"), (STARTTLS, "true"), (INVALID, "true")],
        &[UNDER_DANE, UNUSABLE, ENCRYPTED],
    ),
    with(&[(MODE, "opportunistic"), (DANE, "off")], &[NO_DANE, OPEN]),
    with(&[(MODE, "opportunistic"), (DANE, "require")], &[UNDER_DANE, ONLY_DANE]),
    with(&[(MODE, "required"), (DANE, "require"), (INVALID, "true")], &[UNDER_DANE, ONLY_DANE]),
    with(&[(MODE, "opportunistic"), (VALIDATE, "false")], &[UNDER_DANE, UNUSABLE, OPEN, UNPROVED]),
    with(&[(MODE, "disabled")], &[NO_DANE, OPEN]),
    Combination {
        variables: &[(MODE, "opportunistic")],
        of_the_domain: "false",
        outcomes: &[UNDER_DANE, UNUSABLE, OPEN, UNPROVED],
    },
    Combination {
        variables: &[(MODE, "opportunistic"), (VALIDATE, "false")],
        of_the_domain: "true",
        outcomes: &[UNDER_DANE, UNUSABLE, OPEN],
    },
];

impl Combination {
    fn outcome(&self, name: &str) -> String {
        let mut all = self.outcomes.iter().flat_map(|o| o.iter());
        let found = all.rfind(|(n, _)| *n == name).expect("an outcome for every destination");
        match self.variables.contains(&(MODE, "disabled")) {
            true => "plaintext".to_owned(),
            false => found.1.to_owned(),
        }
    }
}

/// The last attempt for a recipient as the log has it.
pub fn attempted(log: &str, recipient: &str) -> Option<Value> {
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.into_iter().find(|v| v["message"] == "delivery attempt" && v["to"] == recipient)
}

pub fn outcome(attempt: &Value) -> String {
    let text = |name: &str| attempt[name].as_str().unwrap_or_default();
    match text("outcome") {
        "delivered" => {
            let words: Vec<&str> = text("tls").split(' ').collect();
            match words[..] {
                [posture, "TLSv1.3", _, verdict] => format!("{posture} {verdict}"),
                _ => words.join(" "),
            }
        }
        _ => text("reply").split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// The posture of an attempt stands on its delivery too.
fn recorded(inbox: &Inbox, attempt: &Value) {
    let job = attempt["job"].as_str().expect("the job's ID");
    let tls = attempt["tls"].as_str().expect("a posture");
    eventually(Duration::from_secs(10), "the delivery is recorded", || {
        let shown = inbox.cli_json(&["queue", "show", job, "--json"]);
        shown["deliveries"].as_array().is_some_and(|rows| rows.iter().any(|row| row["tls"] == tls))
    });
    let words = tls.split(' ').count();
    let fits = match attempt["outcome"].as_str() {
        Some("delivered") => words == 4,
        _ => tls.is_empty() || words == 4 || tls.ends_with(" no TLS"),
    };
    assert!(fits, "{attempt}");
}

#[test]
fn dt1_dt2_dt3_so4_every_destination_under_every_combination_of_the_variables() {
    if !have(&TOOLS) {
        return;
    }
    let world = World::new(&DESTINATIONS);
    let mut inbox = Inbox::prepared();
    inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{}", world.dns_port));
    inbox.set("DNS_TRUST_ANCHOR_FILE", world.trust_anchor().display());
    inbox.set("TLS_EXTRA_ROOTS_FILE", world.roots().display());
    inbox.set("SMTP_OUTBOUND_PORT", world.smtp_port);
    // What is deferred under one combination is not tried under the next.
    inbox.set("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", 3600);
    let names = || DESTINATIONS.iter().map(|d| d.name);
    for (n, combination) in COMBINATIONS.iter().enumerate() {
        for name in [MODE, DANE, STARTTLS, FALLBACK, INVALID, VALIDATE] {
            inbox.env.remove(name);
        }
        for (name, value) in combination.variables {
            inbox.set(name, value);
        }
        let field = format!("outbound_dnssec_validate={}", combination.of_the_domain);
        inbox.cli_ok(&["domain", "set", "example.test", &field]);
        let own: Vec<&str> = names().filter(|name| *name != "alias").collect();
        own.iter().for_each(|name| drop(world.heard(name)));
        inbox.start();
        let to = |name: &str| format!("to-{n}@{name}.test");
        let all: Vec<String> = names().map(to).collect();
        inbox.python_ok("submit.py", &["alice@example.test", "alice@example.test", &all.join(","), "1", "x"]);
        eventually(Duration::from_secs(60), "an attempt for every recipient", || {
            let log = inbox.log();
            all.iter().all(|recipient| attempted(&log, recipient).is_some())
        });
        let log = inbox.log();
        let heard: Vec<(&str, String)> = own.iter().map(|name| (*name, world.heard(name))).collect();
        let mut wrong = Vec::new();
        for name in names() {
            let attempt = attempted(&log, &to(name)).expect("just seen");
            let (is, should) = (outcome(&attempt), combination.outcome(name));
            if is != should {
                wrong.push(format!("{name}: {is}, not {should}: {attempt}"));
            }
        }
        assert!(wrong.is_empty(), "{:?}:\n{}", combination.variables, wrong.join("\n"));
        if n == 0 {
            names().for_each(|name| recorded(&inbox, &attempted(&log, &to(name)).expect("just seen")));
        }
        for (name, heard) in &heard {
            let should = combination.outcome(name);
            let envelopes: Vec<&str> = heard.lines().filter(|l| l.contains("MAIL FROM:")).collect();
            let data = heard.lines().filter(|l| l.contains("DATA")).count();
            if should.starts_with("4.") {
                assert!(envelopes.is_empty() && data == 0, "{name} was told {heard}");
            } else {
                let how = if should == "plaintext" { "plain " } else { "tls " };
                assert!(!envelopes.is_empty(), "{name} was told {heard}");
                assert!(envelopes.iter().all(|l| l.starts_with(how)), "{name} was told {heard}");
            }
            if *name == "good" && should.starts_with("dane") {
                // Both for itself and for the alias: the name sent is that of the TLSA records.
                let sent: Vec<&str> = heard.lines().filter(|l| l.starts_with("sni ")).collect();
                assert_eq!(sent, ["sni mx.good.test"; 2], "{heard}");
            }
        }
        let metrics = http_get(inbox.port("HTTP_PORT"), "/metrics").expect("metrics");
        assert!(metrics.contains("\ninbox_dnssec_stripped 0\n"), "{metrics}");
        assert!(inbox.stop().success());
    }
    let log = inbox.log();
    assert!(
        log.contains("SMTP_OUTBOUND_DNSSEC_VALIDATE=false")
            && log.contains("SMTP_OUTBOUND_TLS_MODE=disabled")
    );
}

#[test]
fn name_servers_that_leave_dnssec_out_are_noticed_and_prefer_goes_on_where_require_waits() {
    if !have(&TOOLS) {
        return;
    }
    const UNSIGNED: [Destination; 1] = [at("good", Server::Own, &[Tlsa::Other], Zone::Unsigned)];
    let world = World::without_signatures(&UNSIGNED);
    for (mode, expected) in [("prefer", "opportunistic unverified"), ("require", "4.7.5")] {
        let mut inbox = Inbox::prepared();
        inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{}", world.dns_port));
        inbox.set("SMTP_OUTBOUND_PORT", world.smtp_port).set(DANE, mode);
        inbox.start();
        inbox.python_ok("submit.py", &["alice@example.test", "alice@example.test", "x@good.test", "1", "x"]);
        eventually(Duration::from_secs(30), "an attempt", || {
            attempted(&inbox.log(), "x@good.test").is_some()
        });
        let attempt = attempted(&inbox.log(), "x@good.test").expect("just seen");
        assert_eq!(outcome(&attempt), expected, "{attempt}");
        assert_eq!(inbox.log().matches("the name servers leave out what DNSSEC needs").count(), 1);
        let metrics = http_get(inbox.port("HTTP_PORT"), "/metrics").expect("metrics");
        assert!(metrics.contains("\ninbox_dnssec_stripped 1\n"), "{metrics}");
        assert_eq!(world.heard("good").contains("MAIL FROM:"), mode == "prefer");
    }
}
