//! What a source and a sender's domain may send, and who gets no mail: rates, quotas, suppressions.

use std::time::Duration;

use crate::harness::{Inbox, Raw, eventually, have};
use crate::outbound::{TOOLS, World};

/// A window so long that no test sees its end but by the worst of luck.
const LONG_WINDOW_SECS: u64 = 7 * 86_400;

fn limited(transfer_connections: u64, transfer_messages: u64) -> Inbox {
    let mut inbox = Inbox::prepared();
    inbox.set("SMTP_RATE_LIMIT_EXEMPT_NETWORKS", "").set("SMTP_RATE_LIMIT_WINDOW_SECS", LONG_WINDOW_SECS);
    inbox.set("SMTP_RATE_LIMIT_TRANSFER_CONNECTIONS_PER_WINDOW", transfer_connections);
    inbox.set("SMTP_RATE_LIMIT_TRANSFER_MESSAGES_PER_WINDOW", transfer_messages);
    inbox.start();
    inbox
}

fn message(raw: &mut Raw) -> String {
    assert_eq!(&raw.ask("RCPT TO:<alice@example.test>\r\n")[..3], "250");
    assert_eq!(&raw.ask("DATA\r\n")[..3], "354");
    raw.ask("From: a@ext.test\r\n\r\nx\r\n.\r\n")
}

const MAIL: &str = "MAIL FROM:<a@ext.test>\r\n";

#[test]
fn q11_messages_of_a_source_are_counted_over_restarts_and_refused_ones_do_not_count() {
    let mut inbox = limited(100, 2);
    let mut raw = Raw::greeted(inbox.smtp());
    // Neither a recipient that does not exist nor a message that is refused takes a place.
    for _ in 0..4 {
        assert!(raw.ask(MAIL).starts_with("250"));
        assert!(raw.ask("RCPT TO:<nobody@example.test>\r\n").starts_with("550 5.1.1"));
        assert!(raw.ask("RSET\r\n").starts_with("250"));
        assert!(raw.ask(MAIL).starts_with("250"));
        assert!(raw.ask("RCPT TO:<alice@example.test>\r\n").starts_with("250"));
        assert!(raw.ask("DATA\r\n").starts_with("354"));
        let refused = raw.ask("Subject: no From field\r\n\r\nx\r\n.\r\n");
        assert!(refused.starts_with("550 5.6.0"), "{refused}");
    }
    for n in 0..2 {
        assert!(raw.ask(MAIL).starts_with("250"), "message {n}");
        assert!(message(&mut raw).starts_with("250"));
    }
    assert!(raw.ask(MAIL).starts_with("450 4.7.1"), "one past the limit");
    inbox.stop();
    inbox.start();
    let mut raw = Raw::greeted(inbox.smtp());
    assert!(raw.ask(MAIL).starts_with("450 4.7.1"), "a restart makes no room");
}

#[test]
fn connections_over_the_rate_are_told_so_instead_of_a_banner() {
    let inbox = limited(3, 100);
    for n in 0..3 {
        let banner = Raw::connect(inbox.smtp()).reply();
        assert!(banner.starts_with("220 "), "connection {n}: {banner}");
    }
    let mut raw = Raw::connect(inbox.smtp());
    let refused = raw.reply();
    assert!(refused.starts_with("421 4.7.0"), "{refused}");
    assert_eq!(raw.line(), None, "and the connection is closed");
}

/// Replies to MAIL, each RCPT and DATA.
fn replies(inbox: &Inbox, rcpts: &str) -> Vec<String> {
    let text = inbox.python_ok("replies.py", &["alice@example.test", rcpts]);
    let told: Vec<(String, u16, String)> = serde_json::from_str(&text).expect("JSON");
    told.into_iter().map(|(_, code, text)| format!("{code} {text}")).collect()
}

fn with(replies: &[String], begins: &[&str]) {
    assert_eq!(replies.len(), begins.len(), "{replies:?}");
    for (reply, begin) in replies.iter().zip(begins) {
        assert!(reply.starts_with(begin), "{reply:?} is not {begin:?} in {replies:?}");
    }
}

#[test]
fn q10_the_quotas_of_a_sender_s_domain_hold_at_rcpt_and_at_the_end_of_data() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.set("SMTP_OUTBOUND_QUEUE_ENABLED", "false");
    inbox.cli_ok(&["domain", "set", "example.test", "quota_max_recipients_per_message=2"]);
    inbox.cli_ok(&["domain", "set", "example.test", "quota_daily_send_limit=4", "quota_max_queued_jobs=2"]);
    inbox.start();
    // A day's end between the first and the last of these would be bad luck of one in ten thousand.
    with(
        &replies(&inbox, "bob@example.test,a@remote.test,b@remote.test"),
        &["250", "250", "250", "452 4.5.3", "250"],
    );
    with(&replies(&inbox, "a@remote.test"), &["250", "250", "250"]);
    with(&replies(&inbox, "a@remote.test"), &["250", "450 4.7.1"]);
    let jobs = inbox.cli_json(&["queue", "list", "--json"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(2), "two jobs are queued, and no third is: {jobs}");
    let id = jobs[0]["id"].as_str().expect("an ID").to_owned();
    inbox.cli_ok(&["queue", "cancel", &id]);
    // There is room for a job again, and for one more recipient today: two are over at the end of data.
    with(&replies(&inbox, "a@remote.test,b@remote.test"), &["250", "250", "250", "450 4.7.1"]);
    with(&replies(&inbox, "a@remote.test"), &["250", "250", "250"]);
    with(&replies(&inbox, "bob@example.test"), &["250", "450 4.7.1"]);
}

#[test]
fn so15_q15_a_suppressed_recipient_is_refused_at_rcpt_and_never_dialled() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let mut world = World::new(&mut inbox);
    inbox.set("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", 1).set("SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS", 1);
    inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
    inbox.start();
    // Accepted while nothing stood against it, and nobody listens at the other end yet.
    with(&replies(&inbox, "friend@remote.test,other@remote.test"), &["250", "250", "250", "250"]);
    eventually(Duration::from_secs(20), "a failed attempt", || {
        inbox.cli_json(&["queue", "list", "--json"])[0]["attempts"].as_u64().is_some_and(|n| n >= 1)
    });
    inbox.cli_ok(&["suppression", "add", "friend@remote.test"]);
    let listed = inbox.cli_json(&["suppression", "list", "--json"]);
    assert_eq!((&listed[0]["entry"], &listed[0]["source"]), (&"friend@remote.test".into(), &"manual".into()));
    world.open();
    eventually(Duration::from_secs(20), "the other one has it", || world.received().len() == 1);
    let received = world.received().remove(0);
    let (head, _) = received.split_once('\n').expect("an envelope");
    assert!(head.contains("other@remote.test") && !head.contains("friend@remote.test"), "{head}");
    assert!(!world.tried("friend@remote.test"), "no RCPT names who is suppressed");
    eventually(Duration::from_secs(20), "the sender hears of it", || {
        inbox.python_ok("bounces.py", &["alice@example.test"]).contains("friend@remote.test")
    });

    let refused = replies(&inbox, "friend@remote.test,other@remote.test");
    with(&refused, &["250", "550 5.7.1", "250", "250"]);
    let why = &refused[1];
    assert!(why.contains("added by an administrator"), "{why}");
    assert!(why.contains("inbox suppression remove friend@remote.test"), "{why}");
    inbox.cli_ok(&["suppression", "remove", "friend@remote.test"]);
    with(&replies(&inbox, "friend@remote.test"), &["250", "250", "250"]);
    eventually(Duration::from_secs(20), "it arrives", || world.tried("friend@remote.test"));
    assert!(!inbox.cli(&["suppression", "remove", "friend@remote.test"]).status.success());

    inbox.cli_ok(&["suppression", "add", "remote.test", "--org", "test"]);
    with(&replies(&inbox, "someone@remote.test"), &["250", "550 5.7.1"]);
}
