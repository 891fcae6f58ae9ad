//! The test suite of RFC 7208 (release 2014.04, from openspf.org), whole: its zones are the DNS that the
//! evaluator asks. It lies in `../../shared` beside the checkout; without it the test says so and passes, unless
//! `INBOX_TEST_REQUIRE_ALL=1`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use message_auth::spf::{Answer, Check, Query, Question, Step};
use protocol_core::auth::{Spf, SpfIdentity};
use yaml_rust2::{Yaml, YamlLoader};

/// Tests in the suite: a change of the file is noticed.
const TESTS: usize = 203;
/// Tests that are left out, with the reason.
const LEFT_OUT: &[(&str, &str)] = &[];

fn suite() -> Option<String> {
    let shared = std::env::var_os("INBOX_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = shared.join("data/spf/rfc7208-tests.yml");
    let Ok(text) = std::fs::read_to_string(&path) else {
        assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none_or(|v| v != "1"), "no {}", path.display());
        eprintln!("left out: the suite of RFC 7208, {} is not there", path.display());
        return None;
    };
    Some(text)
}

/// Records of one name.
#[derive(Default)]
struct Node {
    records: Vec<(String, Yaml)>,
    times_out: bool,
}

struct Zone(BTreeMap<String, Node>);

impl Zone {
    fn read(data: &Yaml) -> Zone {
        let mut zone = BTreeMap::new();
        for (name, entries) in data.as_hash().into_iter().flatten() {
            let mut node = Node::default();
            for entry in entries.as_vec().into_iter().flatten() {
                match entry {
                    Yaml::Hash(pairs) => {
                        node.records.extend(pairs.iter().map(|(k, v)| (text(k), v.clone())));
                    }
                    _ => node.times_out = true,
                }
            }
            // Records of type SPF stand for TXT too, unless the name has TXT records of its own.
            if !node.records.iter().any(|(kind, _)| kind == "TXT") {
                let copies: Vec<_> = node.records.iter().filter(|(kind, _)| kind == "SPF").cloned().collect();
                node.records.extend(copies.into_iter().map(|(_, value)| ("TXT".to_owned(), value)));
            }
            node.records.retain(|(kind, value)| !(kind == "TXT" && value.as_str() == Some("NONE")));
            zone.insert(text(name).to_lowercase(), node);
        }
        Zone(zone)
    }

    fn answer(&self, question: &Question) -> Answer {
        let (name, kind) = match question {
            Question::Txt(name) => (name.clone(), "TXT"),
            Question::A(name) => (name.clone(), "A"),
            Question::Aaaa(name) => (name.clone(), "AAAA"),
            Question::Mx(name) => (name.clone(), "MX"),
            Question::Ptr(ip) => (reverse(*ip), "PTR"),
        };
        self.follow(&name, kind, 8)
    }

    fn follow(&self, name: &str, kind: &str, aliases: u32) -> Answer {
        let Some(node) = self.0.get(name) else { return Answer::Void };
        if let Some((_, target)) = node.records.iter().find(|(kind, _)| kind == "CNAME") {
            let target = text(target).trim_end_matches('.').to_lowercase();
            return if aliases == 0 { Answer::Failed } else { self.follow(&target, kind, aliases - 1) };
        }
        let values: Vec<&Yaml> =
            node.records.iter().filter(|(k, _)| k == kind).map(|(_, value)| value).collect();
        if values.is_empty() {
            return if node.times_out { Answer::Failed } else { Answer::Void };
        }
        match kind {
            "TXT" => Answer::Txt(values.into_iter().map(octets).collect()),
            "MX" => Answer::Mx(values.into_iter().map(|v| text(&v[1])).collect()),
            "PTR" => {
                Answer::Names(values.into_iter().map(|v| text(v).trim_end_matches('.').to_owned()).collect())
            }
            _ => Answer::Addresses(values.into_iter().map(|v| text(v).parse().unwrap()).collect()),
        }
    }
}

fn text(value: &Yaml) -> String {
    match value {
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Null => String::new(),
        other => panic!("not a text: {other:?}"),
    }
}

/// Octets of a TXT record: its strings joined, each character below 256 one octet.
fn octets(value: &Yaml) -> Vec<u8> {
    let joined: String = match value {
        Yaml::Array(parts) => parts.iter().map(text).collect(),
        one => text(one),
    };
    joined.chars().map(|c| u8::try_from(u32::from(c)).expect("an octet")).collect()
}

fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|o| [o & 15, o >> 4]);
            format!("{}.ip6.arpa", nibbles.map(|n| format!("{n:x}")).collect::<Vec<_>>().join("."))
        }
    }
}

fn run(test: &Yaml, zone: &Zone) -> Spf {
    let (sender, helo) = (text(&test["mailfrom"]), text(&test["helo"]));
    let (identity, local, domain) = match sender.rsplit_once('@') {
        Some((local, domain)) => (SpfIdentity::MailFrom, local, domain),
        None => (SpfIdentity::Helo, "postmaster", helo.as_str()),
    };
    let mut check = Check::new(Query {
        ip: text(&test["host"]).parse().unwrap(),
        helo: helo.clone(),
        identity,
        local: local.into(),
        domain: domain.into(),
        receiver: "receiver.example".into(),
        now_secs: 1_700_000_000,
    });
    loop {
        match check.poll() {
            Step::Done(spf) => return spf,
            Step::Ask(question) => {
                let answer = zone.answer(&question);
                check.answer(question, answer);
            }
        }
    }
}

fn allowed(test: &Yaml) -> Vec<String> {
    match &test["result"] {
        Yaml::Array(several) => several.iter().map(text).collect(),
        one => vec![text(one)],
    }
}

#[test]
fn the_whole_suite() {
    let Some(suite) = suite() else { return };
    let (mut count, mut faults) = (0, Vec::new());
    for scenario in YamlLoader::load_from_str(&suite).unwrap() {
        let zone = Zone::read(&scenario["zonedata"]);
        for (name, test) in scenario["tests"].as_hash().unwrap() {
            count += 1;
            let name = text(name);
            if LEFT_OUT.iter().any(|(left_out, _)| *left_out == name) {
                continue;
            }
            let spf = run(test, &zone);
            if !allowed(test).contains(&spf.result.name().to_owned()) {
                faults.push(format!("{name}: {:?}, wanted {:?}", spf, allowed(test)));
            }
            let wanted = test["explanation"].as_str().filter(|wanted| *wanted != "DEFAULT");
            if wanted.is_some() && spf.explanation.as_deref() != wanted {
                faults.push(format!("{name}: explained {:?}, wanted {wanted:?}", spf.explanation));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(count, TESTS);
}
