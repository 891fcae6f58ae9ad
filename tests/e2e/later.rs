//! Mail that waits, has a deadline, or whose sender wants to hear of success: FUTURERELEASE, DELIVERBY, NOTIFY=SUCCESS.

use std::time::{Duration, Instant};

use crate::harness::{Inbox, Raw, eventually, have};
use crate::outbound::{TOOLS, World};

const ALICE: &str = "alice@example.test";
const BOB: &str = "bob@example.test";
const LIMIT: Duration = Duration::from_secs(40);

fn ids(inbox: &Inbox, user: &str) -> Vec<String> {
    inbox.python_ok("ids.py", &[user]).lines().map(str::to_owned).collect()
}

fn queue(inbox: &Inbox) -> Vec<serde_json::Value> {
    inbox.cli_json(&["queue", "list", "--json"]).as_array().cloned().unwrap_or_default()
}

/// Replies to MAIL and to the end of data.
fn submit(inbox: &Inbox, subject: &str, parameters: &str, rcpts: &[&str]) -> Vec<String> {
    let args = [&[ALICE, subject, parameters], rcpts].concat();
    inbox.python_ok("envelope.py", &args).lines().map(str::to_owned).collect()
}

#[test]
fn a_held_message_reaches_nobody_before_its_time_and_everybody_once_after_it() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.cli_ok(&["alias", "add", "team@example.test", "--to", BOB, "friend@remote.test"]);
    let mut world = World::new(&mut inbox);
    world.open();
    inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1).start();
    let begun = Instant::now();
    let rcpts = [BOB, "team@example.test", "other@remote.test"];
    let replies = submit(&inbox, "held", "HOLDFOR=6", &rcpts);
    assert!(replies[1].starts_with("250 2.0.0"), "{replies:?}");
    let jobs = queue(&inbox);
    assert_eq!(jobs.len(), 2, "one for those here, one for those elsewhere: {jobs:?}");
    assert!(jobs.iter().all(|job| job["state"] == "queued" && job["attempts"] == 0), "{jobs:?}");
    // A restart in between makes no difference.
    inbox.kill();
    inbox.start();
    assert!(ids(&inbox, BOB).is_empty() && world.received().is_empty() || begun.elapsed().as_secs() >= 6);
    eventually(LIMIT, "all have it", || ids(&inbox, BOB).len() == 1 && world.received().len() == 2);
    assert!(begun.elapsed() >= Duration::from_secs(6), "after {:?}", begun.elapsed());
    eventually(LIMIT, "an empty queue", || queue(&inbox).is_empty());
    assert_eq!(ids(&inbox, BOB), ["held"], "the alias and its mailbox in one envelope: one copy");
    let far = world.received().join("\n");
    for to in ["friend@remote.test", "other@remote.test"] {
        assert_eq!(far.matches(&format!("\"to\": [\"{to}\"]")).count(), 1, "{far}");
    }
    let copy = inbox.python_ok("folder.py", &[BOB, "INBOX"]);
    assert!(
        copy.starts_with("[\"Return-Path: <alice@example.test>\\r\\nDelivered-To: bob@example.test"),
        "{copy}"
    );
}

#[test]
fn a_recipient_that_is_gone_at_the_release_comes_back_to_the_sender() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.add_mailbox("leaver@example.test");
    inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1).start();
    submit(&inbox, "leaver", "HOLDFOR=4", &["leaver@example.test", BOB]);
    inbox.cli_ok(&["mailbox", "delete", "leaver@example.test"]);
    eventually(LIMIT, "a bounce", || inbox.python_ok("bounces.py", &[ALICE]).contains("leaver@example.test"));
    let bounces = inbox.python_ok("bounces.py", &[ALICE]);
    assert!(bounces.contains("Action: failed") && bounces.contains("5.1.1"), "{bounces}");
    assert_eq!(bounces.lines().count(), 1, "{bounces}");
    assert_eq!(ids(&inbox, BOB), ["leaver"]);
    let suppressed = inbox.cli_json(&["suppression", "list", "--json"]);
    assert_eq!(suppressed, serde_json::json!([]), "it was an address of ours");
}

#[test]
fn a_hold_beyond_thirty_days_and_one_on_port_25_are_refused() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    assert_eq!(
        submit(&inbox, "late", "HOLDFOR=2592001", &[BOB]),
        ["501 5.5.4 The release time is too far ahead"]
    );
    let mut raw = Raw::greeted(inbox.smtp());
    for parameter in ["HOLDFOR=60", "BY=60;R"] {
        let reply = raw.ask(&format!("MAIL FROM:<a@ext.test> {parameter}\r\n"));
        assert!(reply.starts_with("555 5.5.4"), "{parameter}: {reply}");
    }
    // A time that is over is no hold.
    submit(&inbox, "past", "HOLDUNTIL=2020-01-01T00:00:00Z", &[BOB]);
    assert_eq!(ids(&inbox, BOB), ["past"]);
    assert!(queue(&inbox).is_empty());
}

#[test]
fn a_deadline_that_passes_ends_the_attempts_or_tells_the_sender() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let _nobody_listens = World::new(&mut inbox);
    inbox.set("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", 1).set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
    inbox.start();
    assert_eq!(submit(&inbox, "zero", "BY=0;R", &["x@remote.test"]).len(), 1, "no time at all is refused");
    submit(&inbox, "return", "BY=3;R ENVID=one", &["x@remote.test"]);
    submit(&inbox, "notify", "BY=3;N ENVID=two", &["x@remote.test"]);
    eventually(LIMIT, "two notifications", || inbox.python_ok("bounces.py", &[ALICE]).lines().count() == 2);
    let bounces = inbox.python_ok("bounces.py", &[ALICE]);
    let about = |envid: &str| {
        let told = bounces.lines().find(|line| line.contains(&format!("Original-Envelope-Id: {envid}")));
        told.unwrap_or_else(|| panic!("{envid} in {bounces}"))
    };
    assert!(about("one").contains("Action: failed") && about("one").contains("5.4.7"), "{bounces}");
    assert!(about("two").contains("Action: delayed"), "{bounces}");
    assert_eq!(queue(&inbox).iter().filter(|job| job["state"] == "queued").count(), 1, "only N goes on");
}

#[test]
fn so14_success_is_told_for_mailboxes_here_and_only_to_senders_who_are_known() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    submit(
        &inbox,
        "told",
        "ENVID=q+2B1 RET=HDRS",
        &[
            "bob@example.test NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@example.test",
            "alice@example.test NOTIFY=NEVER",
        ],
    );
    let bounces = inbox.python_ok("bounces.py", &[ALICE]);
    for field in [
        "Reporting-MTA: dns; mx.example.test",
        "Original-Envelope-Id: q+1",
        "Original-Recipient: rfc822; b+x@example.test",
        "Final-Recipient: rfc822; bob@example.test",
        "Action: delivered",
        "Status: 2.1.5",
    ] {
        assert!(bounces.contains(field), "{field} in {bounces}");
    }
    assert_eq!(bounces.lines().count(), 1, "{bounces}");
    assert!(!bounces.contains("Final-Recipient: rfc822; alice@"), "{bounces}");
    assert_eq!(ids(&inbox, BOB), ["told"]);
}
