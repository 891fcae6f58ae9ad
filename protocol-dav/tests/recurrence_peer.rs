//! Rules from a seed, expanded here and by python-dateutil.
#![allow(clippy::disallowed_methods)] // a test reads its environment

use std::process::{Command, Stdio};

use protocol_dav::ical::{self, Series, Zone, Zones};
use protocol_dav::recur::{Budget, Occurrences, Rule, Until};
use protocol_dav::request::TimeRange;
use protocol_dav::time::{read_date_time, utc, write_date_time};

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

/// What a script prints for so many cases of the seed.
fn peer(script: &str, count: usize, seed: &str) -> String {
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .args(["-W", "ignore", &script, &count.to_string(), seed])
        .output()
        .expect("python3 runs the script");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn seed() -> String {
    std::env::var("INBOX_RECURRENCE_SEED").unwrap_or_else(|_| "20260102".to_owned())
}

/// Events in zones: rules, dates and exceptions together, seen through windows.
#[test]
fn five_hundred_events_in_zones_agree_with_dateutil() {
    if !have_dateutil() {
        return;
    }
    let seed = seed();
    let text = peer("instances_peer.py", 500, &seed);
    let mut instances = 0;
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [lines, from, to, expected] = fields[..] else { panic!("four fields: {line}") };
        let event = lines.replace('|', "\r\n");
        let text = format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{event}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
        let object = ical::parse(&text).expect("an object");
        let zones = Zones::of(&object, &Zone::Utc);
        let range = TimeRange { start: utc(from), end: utc(to) };
        let mut starts = Vec::new();
        let mut budget = Budget::new(50_000_000, usize::MAX);
        let see = |instance: ical::Instance<'_>| {
            starts.extend(instance.start_utc());
            true
        };
        Series::of(&object, "VEVENT", &zones).visit(range, &mut budget, see).expect("within the budget");
        starts.sort_unstable();
        starts.dedup();
        starts.truncate(1_000);
        let mut ours = String::new();
        for start in starts {
            if !ours.is_empty() {
                ours.push(',');
            }
            write_date_time(start, true, &mut ours);
            instances += 1;
        }
        assert_eq!(ours, expected, "{lines} from {from} to {to}, seed {seed}");
    }
    assert!(instances > 50_000, "only {instances} instances were compared");
}

#[test]
fn five_thousand_rules_agree_with_dateutil() {
    if !have_dateutil() {
        return;
    }
    let seed = seed();
    let text = peer("recurrence_peer.py", 5_000, &seed);
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
