//! Rules from a seed, expanded here and by python-dateutil.
#![allow(clippy::disallowed_methods)] // a test reads its environment

use std::process::{Command, Stdio};

use protocol_dav::recur::{Budget, Occurrences, Rule, Until};
use protocol_dav::time::{read_date_time, write_date_time};

/// Whether Python with dateutil is there. Without it the test names what it leaves out, or fails when nothing may be.
fn have_dateutil() -> bool {
    let import = Command::new("python3").args(["-c", "import dateutil"]).stderr(Stdio::null()).status();
    if import.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none(), "not installed: python3:dateutil");
    eprintln!("left out, not installed: python3:dateutil");
    false
}

fn time(text: &str) -> i64 {
    read_date_time(text).expect("a time").0
}

fn expand(rule: &Rule, start: i64, from: i64, end: i64) -> Vec<String> {
    let until = match rule.until {
        Some(Until::Local(until) | Until::Date(until) | Until::Utc(until)) => until.min(end),
        None => end,
    };
    let mut occurrences = Occurrences::new(rule, start, from, until);
    let mut budget = Budget::new(50_000_000, 1_000);
    let mut out = Vec::new();
    while out.len() < 30 {
        let Some(next) = occurrences.next(&mut budget).expect("within the budget") else { break };
        let mut text = String::new();
        write_date_time(next, false, &mut text);
        out.push(text);
    }
    out
}

#[test]
fn five_thousand_rules_agree_with_dateutil() {
    if !have_dateutil() {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recurrence_peer.py");
    let seed = std::env::var("INBOX_RECURRENCE_SEED").unwrap_or_else(|_| "20260102".to_owned());
    let output =
        Command::new("python3").args([script, "5000", &seed]).output().expect("python3 runs the script");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let (mut compared, mut instances) = (0, 0);
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [text, start, from, end, expected] = fields[..] else { panic!("five fields: {line}") };
        let rule = Rule::parse(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let ours = expand(&rule, time(start), time(from), time(end)).join(",");
        assert_eq!(ours, expected, "{text} from {start}, window {from}, seed {seed}");
        compared += 1;
        instances += expected.split(',').filter(|t| !t.is_empty()).count();
    }
    assert_eq!(compared, 5_000);
    assert!(instances > 50_000, "only {instances} instances were compared");
}
