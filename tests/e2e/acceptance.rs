//! What an acceptance promises, and that nothing is promised or answered beside it.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{Inbox, Raw, eventually, have, http_get};

const MESSAGE: &[u8] = b"From: a@ext.test\r\nX-Test-Id: one\r\n\r\ntext\r\n";

/// Sender and recipients said, DATA answered with 354.
fn to_data(raw: &mut Raw, sender: &str, recipient: &str) {
    assert!(raw.ask(&format!("MAIL FROM:<{sender}>\r\n")).starts_with("250"));
    assert!(raw.ask(&format!("RCPT TO:<{recipient}>\r\n")).starts_with("250"));
    assert!(raw.ask("DATA\r\n").starts_with("354"));
}

fn send(raw: &mut Raw, message: &[u8]) -> String {
    to_data(raw, "a@ext.test", "alice@example.test");
    raw.send(message);
    raw.ask(".\r\n")
}

fn queued(inbox: &Inbox) -> usize {
    inbox.cli_json(&["queue", "list", "--json"]).as_array().expect("a list").len()
}

fn ids(inbox: &Inbox) -> Vec<String> {
    inbox.python_ok("ids.py", &["alice@example.test"]).lines().map(str::to_owned).collect()
}

#[test]
fn si39_without_storage_there_is_no_250_and_the_retry_gives_one_message() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    let mut raw = Raw::greeted(inbox.smtp());
    // A file where the objects' directory was: nothing can be stored, whoever the process belongs to.
    let (objects, aside) = (inbox.data_dir().join("incoming"), inbox.data_dir().join("aside"));
    fs::rename(&objects, &aside).expect("the directory can be moved");
    fs::write(&objects, b"").expect("a file can be made");
    let reply = send(&mut raw, MESSAGE);
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    // Larger than what is kept in memory while it arrives.
    let large = [MESSAGE, &b"0123456789abcdef0123456789abcdef\r\n".repeat(60_000)].concat();
    let reply = send(&mut raw, &large);
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    fs::remove_file(&objects).expect("the file can be removed");
    fs::rename(&aside, &objects).expect("the directory can be moved back");
    let reply = send(&mut raw, MESSAGE);
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    assert_eq!(ids(&inbox), ["one"]);
    assert!(inbox.cli(&["check"]).status.success());
}

#[test]
fn si40_a_client_that_leaves_before_the_250_has_sent_its_message_and_its_retry_is_counted() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    let repeated = || {
        let text = http_get(inbox.port("HTTP_PORT"), "/metrics").unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with("inbox_messages_repeated_total ")).map(str::to_owned);
        line.unwrap_or_default()
    };
    let mut raw = Raw::greeted(inbox.smtp());
    to_data(&mut raw, "a@ext.test", "alice@example.test");
    raw.send(&[MESSAGE, b".\r\n"].concat());
    drop(raw);
    eventually(Duration::from_secs(20), "the message is stored", || ids(&inbox).len() == 1);
    assert_eq!(repeated(), "inbox_messages_repeated_total 0");
    let reply = send(&mut Raw::greeted(inbox.smtp()), MESSAGE);
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    assert_eq!(ids(&inbox), ["one", "one"], "never held back: a sender may mean it");
    assert_eq!(repeated(), "inbox_messages_repeated_total 1");
}

#[test]
fn si18_si19_si20_nothing_is_answered_by_itself() {
    let inbox = Inbox::started();
    let mut raw = Raw::greeted(inbox.smtp());
    assert!(raw.ask("MAIL FROM:<forged@ext.test>\r\n").starts_with("250"));
    assert!(raw.ask("RCPT TO:<nobody@example.test>\r\n").starts_with("550 5.1.1"), "at RCPT, not later");
    assert!(raw.ask("RSET\r\n").starts_with("250"));
    to_data(&mut raw, "", "alice@example.test");
    raw.send(b"From: MAILER-DAEMON@ext.test\r\nAuto-Submitted: auto-replied\r\n\r\nbounce\r\n");
    assert!(raw.ask(".\r\n").starts_with("250"));
    for field in ["Auto-Submitted: auto-replied", "Precedence: bulk", "List-Id: <list.ext.test>"] {
        let message = format!("From: a@ext.test\r\n{field}\r\n\r\nautomatic\r\n");
        assert!(send(&mut raw, message.as_bytes()).starts_with("250"));
    }
    assert_eq!(queued(&inbox), 0, "no notification, no reply");
}

/// The middle of what was measured, in microseconds.
fn median(mut each: Vec<Duration>) -> f64 {
    each.sort_unstable();
    each[each.len() / 2].as_secs_f64() * 1e6
}

#[test]
fn si15_known_and_unknown_recipients_take_the_same_time() {
    let inbox = Inbox::started();
    let ask = |raw: &mut Raw, address: &str, expected: &str| {
        let begun = Instant::now();
        let reply = raw.ask(&format!("RCPT TO:<{address}>\r\n"));
        let took = begun.elapsed();
        assert!(reply.starts_with(expected), "{address}: {reply}");
        took
    };
    // One after the other, so that whatever else the machine does slows both; other work can disturb one
    // measurement, and a difference in the code disturbs all.
    let mut ratios = Vec::new();
    for _ in 0..4 {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for round in 0..50 {
            let mut raw = Raw::greeted(inbox.smtp());
            raw.ask("MAIL FROM:<a@ext.test>\r\n");
            for n in 0..8 {
                known.push(ask(&mut raw, &format!("alice+{round}-{n}@example.test"), "250"));
                unknown.push(ask(&mut raw, &format!("nobod+{round}-{n}@example.test"), "550 5.1.1"));
            }
        }
        let ratio = median(unknown) / median(known);
        ratios.push(ratio);
        if (0.95..1.05).contains(&ratio) {
            return;
        }
    }
    panic!("unknown to known, by median: {ratios:?}");
}
