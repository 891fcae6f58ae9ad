use super::*;
use alloc::format;
use alloc::string::{String, ToString};
use protocol_core::message::Scanner;

use crate::status::Status;

/// Locates and reads as a server does, from the octets of a whole message.
fn report(message: &str) -> Result<Report, NoReport> {
    let mut scanner = Scanner::new();
    scanner.feed(message.as_bytes());
    let located = locate(&scanner.finish())?;
    let octets = |range: &Range<u64>| &message.as_bytes()[range.start as usize..range.end as usize];
    read(&located, octets(&located.status), octets(&located.returned))
}

fn delivery(message: &str) -> DeliveryReport {
    match report(message) {
        Ok(Report::Delivery(report)) => report,
        other => panic!("{other:?} of {message}"),
    }
}

fn feedback(message: &str) -> FeedbackReport {
    match report(message) {
        Ok(Report::Feedback(report)) => report,
        other => panic!("{other:?} of {message}"),
    }
}

/// A report with these parts behind its text.
fn message(kind: &str, parts: &[(&str, &str)]) -> String {
    let mut text = format!(
        "From: MAILER-DAEMON@mx.test\r\nTo: alice@own.test\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type={kind}; boundary=\"b\"\r\n\r\n\
         --b\r\n\r\nIt went wrong.\r\n"
    );
    for (media_type, body) in parts {
        text.push_str(&format!("--b\r\nContent-Type: {media_type}\r\n\r\n{body}\r\n"));
    }
    text + "--b--\r\n"
}

fn status(fields: &str) -> String {
    message("delivery-status", &[("message/delivery-status", fields)])
}

const FAILED: &str = "Reporting-MTA: dns; mx.test\r\n\r\nFinal-Recipient: rfc822; b@mx.test\r\nAction: failed\r\n\
                      Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n";

#[test]
fn a_whole_notification() {
    let fields = "Reporting-MTA: dns; out.mx.test\r\nOriginal-Envelope-Id: job.00\r\n\
                  Arrival-Date: Mon, 23 Nov 2026 12:26:35 +0100 (CET)\r\n\r\n\
                  Original-Recipient: rfc822;B@mx.test\r\nFinal-Recipient: rfc822; b@inner.mx.test\r\n\
                  Action: failed (for good)\r\nStatus: 5.1.1 (no such mailbox)\r\n\
                  Remote-MTA: dns; inner.mx.test\r\n\
                  Diagnostic-Code: smtp; 550 5.1.1\r\n <b@inner.mx.test>: no such user\r\n";
    let parts = [
        ("message/delivery-status", fields),
        ("message/rfc822", "Message-ID: <one@own.test>\r\nSubject: x\r\n\r\nMessage-ID: <two@own.test>\r\n"),
    ];
    let expected = DeliveryReport {
        envelope_id: Some("job.00".into()),
        reporter: Some("out.mx.test".into()),
        arrival: Some(protocol_core::Timestamp(1_795_433_195_000)),
        recipients: alloc::vec![Recipient {
            original: Some("B@mx.test".into()),
            last: Some("b@inner.mx.test".into()),
            action: Action::Failed,
            status: Some(Status::new(5, 1, 1)),
            diagnostic: Some(Diagnostic {
                kind: "smtp".into(),
                text: "550 5.1.1 <b@inner.mx.test>: no such user".into()
            }),
            remote: Some("inner.mx.test".into()),
        }],
        message_id: Some("<one@own.test>".into()),
    };
    assert_eq!(delivery(&message("delivery-status", &parts)), expected);
    assert_eq!(expected.recipients[0].diagnostic.as_ref().and_then(Diagnostic::code), Some(550));
}

#[test]
fn what_this_server_writes_is_read() {
    use crate::dsn;
    let report = |recipient, action, status| dsn::Report {
        recipient,
        orcpt: Some("utf-8;\\x{E4}@mx.test"),
        action,
        status,
        remote: Some("mx.test"),
        diagnostic: "550 5.1.1 no such user".into(),
        last_attempt: None,
        retry_until: None,
    };
    let reports = [
        report("ä@mx.test", dsn::Action::Failed, Status::new(5, 1, 1)),
        report("b@mx.test", dsn::Action::Delayed, Status::new(4, 4, 1)),
        report("c@mx.test", dsn::Action::Relayed, Status::OK),
        report("d@mx.test", dsn::Action::Delivered, Status::OK),
    ];
    let written = dsn::build(&dsn::Dsn {
        hostname: "mail.own.test",
        id: "0123456789abcdefghjkmnpqrs",
        to: "sender@own.test",
        arrival: protocol_core::Timestamp(1_795_433_195_000),
        envid: Some("id+2B7"),
        deliver_by: None,
        reports: &reports,
        returned: dsn::Returned::Header("Message-ID: <m@own.test>\r\nSubject: ä\r\n".into()),
        now: protocol_core::Timestamp(1_795_433_195_000),
    });
    let read = delivery(core::str::from_utf8(&written).unwrap());
    assert_eq!(read.envelope_id.as_deref(), Some("id+7"));
    assert_eq!(read.message_id.as_deref(), Some("<m@own.test>"));
    let told: Vec<_> = read.recipients.iter().map(|r| (r.last.as_deref().unwrap(), r.action)).collect();
    let expected = [
        ("ä@mx.test", Action::Failed),
        ("b@mx.test", Action::Delayed),
        ("c@mx.test", Action::Relayed),
        ("d@mx.test", Action::Delivered),
    ];
    assert_eq!(told, expected);
    assert!(read.recipients.iter().all(|r| r.original.as_deref() == Some("ä@mx.test")));
}

/// What servers in use write, each in its own way.
#[test]
fn what_other_servers_write_is_read() {
    let one = |message: &str| {
        let report = delivery(message);
        let [r] = report.recipients.as_slice() else { panic!("{report:?}") };
        (r.last.clone().or(r.original.clone()).unwrap(), r.action, r.status.map(|s| s.to_string()))
    };
    let failed = |address: &str, status: &str| (address.into(), Action::Failed, Some(status.into()));
    // No group for the message, and the recipient's fields in another order.
    let bare = "Action: failed\r\nFinal-Recipient: rfc822;b@mx.test\r\nStatus: 5.0.0\r\n";
    assert_eq!(one(&status(bare)), failed("b@mx.test", "5.0.0"));
    // No empty line between the two groups; empty lines in front and behind.
    let joined = "\r\nReporting-MTA: dns;mx.test\r\nFinal-Recipient: rfc822;b@mx.test\r\nAction: failed\r\n\
                  Status: 5.2.2\r\n\r\n\r\n\r\n";
    assert_eq!(one(&status(joined)), failed("b@mx.test", "5.2.2"));
    // Angle brackets, no type, a status that only the diagnostic tells.
    let angled = "Reporting-MTA: mx.test\r\n\r\nFinal-Recipient: <b@mx.test>\r\nAction: Failed\r\n\
                  Diagnostic-Code: smtp;550 #5.1.1 gone\r\n";
    assert_eq!(one(&status(angled)), failed("b@mx.test", "5.1.1"));
    // LF alone within base64.
    let base64 = "base64\r\n\r\nQWN0aW9uOiBmYWlsZWQKRmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGJAbXgudGVzdAo=";
    let parts = [("message/delivery-status\r\nContent-Transfer-Encoding: ", "")];
    let encoded =
        message("delivery-status", &parts).replace("Encoding: \r\n\r\n", &format!("Encoding: {base64}"));
    assert_eq!(one(&encoded), ("b@mx.test".into(), Action::Failed, None));
    // RFC 6533, in the form that 7-bit needs.
    let global = "Reporting-MTA: dns; mx.test\r\n\r\nFinal-Recipient: utf-8; \\x{E4}b@mx.test\r\nAction: failed\r\n\
                  Status: 5.1.1\r\n";
    let global = message("global-delivery-status", &[("message/global-delivery-status", global)]);
    assert_eq!(one(&global), failed("äb@mx.test", "5.1.1"));
    // RFC 3886.
    let tracking = "Original-Envelope-Id: e\r\nReporting-MTA: dns; mx.test\r\n\r\n\
                    Original-Recipient: rfc822; b@mx.test\r\nFinal-Recipient: rfc822; b@mx.test\r\n\
                    Action: transferred\r\nStatus: 2.4.0\r\n";
    let tracking = message("tracking-status", &[("message/tracking-status", tracking)]);
    assert_eq!(one(&tracking), ("b@mx.test".into(), Action::Transferred, Some("2.4.0".into())));
    // A parameter that was forgotten.
    let unnamed = status(FAILED).replace(" report-type=delivery-status;", "");
    assert_eq!(one(&unnamed), failed("b@mx.test", "5.1.1"));
}

#[test]
fn the_returned_message_id_is_that_of_the_returned_message() {
    let id = |media_type: &str, body: &str| {
        let parts = [("message/delivery-status", FAILED), (media_type, body)];
        delivery(&message("delivery-status", &parts)).message_id
    };
    let header = "Subject: x\r\nMessage-ID:\r\n <one@own.test>\r\n";
    for media_type in ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"] {
        assert_eq!(id(media_type, header).as_deref(), Some("<one@own.test>"), "{media_type}");
    }
    assert_eq!(id("text/plain", header), None);
    assert_eq!(id("message/rfc822", "Subject: x\r\n\r\nMessage-ID: <body@own.test>\r\n"), None);
    // What stands in front of the status is no returned message.
    let parts = [("message/rfc822", header), ("message/delivery-status", FAILED)];
    assert_eq!(delivery(&message("delivery-status", &parts)).message_id, None);
}

#[test]
fn a_whole_complaint() {
    let fields = "Feedback-Type: abuse\r\nUser-Agent: SomeLoop/1.0\r\nVersion: 1\r\n\
                  Original-Envelope-Id: job.00\r\nOriginal-Mail-From: <alice@own.test>\r\n\
                  Original-Rcpt-To: <b@mx.test>\r\nOriginal-Rcpt-To: rfc822; c@mx.test\r\n\
                  Received-Date: Mon, 23 Nov 2026 11:26:35 +0000\r\nSource-IP: 192.0.2.1\r\n";
    let parts = [
        ("message/feedback-report", fields),
        ("message/rfc822", "Message-ID: <one@own.test>\r\n\r\nbody\r\n"),
    ];
    let expected = FeedbackReport {
        feedback: Feedback::Abuse,
        agent: Some("SomeLoop/1.0".into()),
        envelope_id: Some("job.00".into()),
        sender: Some("alice@own.test".into()),
        recipients: alloc::vec!["b@mx.test".into(), "c@mx.test".into()],
        arrival: Some(protocol_core::Timestamp(1_795_433_195_000)),
        source_ip: "192.0.2.1".parse().ok(),
        message_id: Some("<one@own.test>".into()),
    };
    assert_eq!(feedback(&message("feedback-report", &parts)), expected);
    for (word, is_complaint) in [
        ("abuse", true),
        ("Fraud", true),
        ("virus", false),
        ("not-spam", false),
        ("auth-failure", false),
        ("other", false),
        ("dmarc", false),
    ] {
        let parts = [("message/feedback-report", &*fields.replace("abuse", word))];
        assert_eq!(
            feedback(&message("feedback-report", &parts)).feedback.is_complaint(),
            is_complaint,
            "{word}"
        );
    }
}

#[test]
fn what_is_no_report_is_told_apart() {
    use NoReport::*;
    let complaint = |fields: &str| message("feedback-report", &[("message/feedback-report", fields)]);
    for (why, text) in [
        (OtherMessage, String::new()),
        (OtherMessage, String::from("Subject: x\r\n\r\nFinal-Recipient: rfc822; b@mx.test\r\n")),
        (OtherMessage, status(FAILED).replace("multipart/report", "multipart/mixed")),
        (OtherReport, message("delivery-status", &[("text/plain", FAILED)])),
        (OtherReport, message("disposition-notification", &[("message/disposition-notification", "")])),
        (OtherReport, message("disposition-notification", &[("message/delivery-status", FAILED)])),
        (OtherReport, message("feedback-report", &[("message/delivery-status", FAILED)])),
        (Malformed, status("")),
        (Malformed, status("Reporting-MTA: dns; mx.test\r\n")),
        (Malformed, status("Final-Recipient: rfc822; b@mx.test\r\n")),
        (Malformed, status("Action: failed\r\nFinal-Recipient: rfc822;\r\n")),
        (Malformed, status("Action: failed\r\nFinal-Recipient: rfc822; nobody\r\n")),
        (Malformed, complaint("")),
        (Malformed, complaint("Version: 1\r\n")),
        (Malformed, complaint("Feedback-Type: abuse\r\nFeedback-Type: not-spam\r\n")),
        (Malformed, complaint("Feedback-Type:\r\n")),
        (Malformed, complaint("\r\nVersion: 1\r\n\r\nFeedback-Type: abuse\r\n")),
    ] {
        assert_eq!(report(&text), Err(why), "{text}");
    }
    // A report that was forwarded within another message is not the forwarder's.
    let forwarded = format!("Content-Type: message/rfc822\r\n\r\n{}", status(FAILED));
    assert_eq!(report(&forwarded), Err(OtherMessage));
}

#[test]
fn limits_of_a_report() {
    let groups = |n: usize| {
        let group = "Final-Recipient: rfc822; b@mx.test\r\nAction: failed\r\n\r\n";
        status(&format!("Reporting-MTA: dns; mx.test\r\n\r\n{}", group.repeat(n)))
    };
    assert_eq!(delivery(&groups(RECIPIENTS_MAX)).recipients.len(), RECIPIENTS_MAX);
    assert_eq!(report(&groups(RECIPIENTS_MAX + 1)), Err(NoReport::TooLarge));

    let padded =
        |octets: usize| status(&format!("{FAILED}\r\n{}", "\r\n".repeat((octets - FAILED.len()) / 2 - 1)));
    let max = REPORT_OCTETS_MAX as usize - FAILED.len() % 2;
    assert_eq!(delivery(&padded(max)).recipients.len(), 1);
    assert_eq!(report(&padded(max + 2)), Err(NoReport::TooLarge));

    let fields = |n: usize| status(&format!("{}{FAILED}", "X: y\r\n".repeat(n)));
    // The message's own group may be long; a recipient's fields are looked for within their limit.
    assert_eq!(delivery(&fields(FIELDS_MAX - 1)).reporter.as_deref(), Some("mx.test"));
    assert_eq!(delivery(&fields(FIELDS_MAX)).reporter, None);

    let text = |n: usize| status(&format!("{FAILED}X: y\r\n").replace("no such user", &"é".repeat(n / 2)));
    let kept = |n: usize| delivery(&text(n)).recipients[0].diagnostic.clone().unwrap().text.len();
    let front = "550 5.1.1 ".len() + "smtp; ".len();
    assert_eq!(kept(VALUE_MAX - front), VALUE_MAX - "smtp; ".len());
    assert_eq!(kept(VALUE_MAX - front + 2), VALUE_MAX - "smtp; ".len());

    let header = |octets: usize| {
        let field = "Message-ID: <i@own.test>\r\n";
        let mut text = String::from("X: ");
        text.push_str(&"y".repeat(octets - "X: \r\n".len() - field.len()));
        let parts =
            [("message/delivery-status", FAILED), ("text/rfc822-headers", &*format!("{text}\r\n{field}"))];
        delivery(&message("delivery-status", &parts)).message_id
    };
    assert_eq!(header(RETURNED_OCTETS_MAX as usize).as_deref(), Some("<i@own.test>"));
    assert_eq!(header(RETURNED_OCTETS_MAX as usize + 3), None);

    let named = |n: usize| {
        let fields = format!("Feedback-Type: abuse\r\n{}", "Original-Rcpt-To: b@mx.test\r\n".repeat(n));
        report(&message("feedback-report", &[("message/feedback-report", &fields)]))
    };
    let Ok(Report::Feedback(report)) = named(FIELDS_MAX + 5) else { panic!("no report") };
    assert_eq!(report.recipients.len(), FIELDS_MAX - 1);
}

#[test]
fn nothing_of_a_report_can_end_a_line() {
    let fields = FAILED.replace("no such user", "a\u{0}b\u{7f}\u{2028}c\td");
    let report = delivery(&status(&fields));
    let text = &report.recipients[0].diagnostic.as_ref().unwrap().text;
    assert_eq!(text, "550 5.1.1 a?b??c?d");
}

// ---- what follows ---------------------------------------------------------------------------------------

fn told(message: &str, sent: &[&str]) -> Vec<(usize, &'static str, String, Option<u64>, bool)> {
    let report = report(message).unwrap();
    let days = |s: Suppress| s.lasts.map(|lasts| lasts.as_secs() / 86_400);
    let one =
        |o: Outcome| (o.recipient, o.told.name(), o.reply, o.suppress.and_then(days), o.suppress.is_some());
    outcomes(&report, sent).into_iter().map(one).collect()
}

#[test]
fn so15_a_hard_bounce_suppresses_and_nothing_else_does() {
    let verdict = |action: &str, status: &str, diagnostic: &str| {
        let fields = format!(
            "Final-Recipient: rfc822; b@mx.test\r\nAction: {action}\r\nStatus: {status}\r\n\
             Diagnostic-Code: {diagnostic}\r\n"
        );
        let [(0, told, _, days, suppressed)] = *self::told(&self::status(&fields), &["b@mx.test"]) else {
            panic!("{action} {status} {diagnostic}");
        };
        assert_eq!(days.is_some(), suppressed, "never for ever");
        (told, days)
    };
    for (action, status, diagnostic, expected) in [
        ("failed", "5.1.1", "smtp; 550 5.1.1 no such user", ("bounced", Some(90))),
        ("failed", "5.2.1", "smtp; 550-5.2.1 The account is disabled", ("bounced", Some(90))),
        ("failed", "5.1.6", "X-Unix; 67", ("bounced", Some(90))),
        ("failed", "5.0.0", "smtp; 550 User unknown", ("bounced", Some(90))),
        // The text says that it is not about the address.
        ("failed", "5.1.1", "smtp; 550 5.1.1 blocked using spam list", ("bounced", None)),
        ("failed", "5.7.1", "smtp; 550 5.7.1 policy", ("bounced", None)),
        ("failed", "5.2.2", "smtp; 552 5.2.2 mailbox full", ("bounced", None)),
        // Given up: what stood in the way was not for good.
        ("failed", "5.4.7", "smtp; 450 4.1.1 no such user", ("bounced", None)),
        ("failed", "4.4.7", "smtp; 550 5.1.1 no such user", ("bounced", None)),
        // That a domain is gone is not taken from another's word.
        ("failed", "5.1.2", "smtp; 550 5.1.2 host unknown", ("bounced", None)),
        ("failed", "5.1.10", "X-Null; null MX", ("bounced", None)),
        ("delayed", "5.1.1", "smtp; 550 5.1.1 no such user", ("delayed", None)),
        ("delivered", "2.0.0", "smtp; 250 2.0.0 in", ("delivered", None)),
        ("relayed", "2.0.0", "smtp; 250 2.0.0 ok", ("relayed", None)),
        ("expanded", "2.0.0", "smtp; 250 2.0.0 ok", ("relayed", None)),
    ] {
        assert_eq!(verdict(action, status, diagnostic), expected, "{action} {status} {diagnostic}");
    }
}

#[test]
fn so15_a_report_is_about_recipients_of_the_message_only() {
    let group = |original: &str, last: &str| {
        format!(
            "{original}Final-Recipient: rfc822; {last}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 {last}\r\n\r\n"
        )
    };
    let who = |groups: &[String], sent: &[&str]| {
        let told = told(&status(&groups.concat()), sent);
        told.into_iter().map(|(n, _, reply, ..)| (n, reply)).collect::<Vec<_>>()
    };
    let sent = ["a@mx.test", "B+x@mx.test", "ä@mx.test"];
    let reply = |address: &str| format!("550 5.1.1 {address}");
    // Somebody else: nothing. In another spelling: the same.
    assert_eq!(who(&[group("", "victim@other.test")], &sent), []);
    assert_eq!(who(&[group("", "A@MX.test")], &sent), [(0, reply("A@MX.test"))]);
    // Whom we named counts before the address that it was forwarded to, also in the xtext that we sent.
    let forwarded = group("Original-Recipient: rfc822; b+2Bx@mx.test\r\n", "a@mx.test");
    assert_eq!(who(&[forwarded], &sent), [(1, reply("a@mx.test"))]);
    let unknown = group("Original-Recipient: rfc822; someone@mx.test\r\n", "a@mx.test");
    assert_eq!(who(&[unknown], &sent), [(0, reply("a@mx.test"))]);
    let global = group("Original-Recipient: utf-8; \\x{E4}@mx.test\r\n", "x@mx.test");
    assert_eq!(who(&[global], &sent), [(2, reply("x@mx.test"))]);
    // Of two about the same the first counts.
    let twice = [group("", "a@mx.test"), group("Original-Recipient: rfc822; a@mx.test\r\n", "z@mx.test")];
    assert_eq!(who(&twice, &sent), [(0, reply("a@mx.test"))]);
}

#[test]
fn so15_a_complaint_suppresses_without_an_end() {
    let about = |kind: &str, recipients: &str, sent: &[&str]| {
        let fields = format!("Feedback-Type: {kind}\r\nUser-Agent: Loop/1\r\n{recipients}");
        told(&message("feedback-report", &[("message/feedback-report", &fields)]), sent)
    };
    let named = "Original-Rcpt-To: <b@mx.test>\r\n";
    let complained =
        |n| alloc::vec![(n, "complained", String::from("abuse (reported by Loop/1)"), None, true)];
    assert_eq!(about("abuse", named, &["a@mx.test", "b@mx.test"]), complained(1));
    assert_eq!(about("not-spam", named, &["a@mx.test", "b@mx.test"]), []);
    // Made unreadable, or left out: clear only where there was one recipient.
    for unread in ["Original-Rcpt-To: redacted@mx.test\r\n", ""] {
        assert_eq!(about("abuse", unread, &["b@mx.test"]), complained(0));
        assert_eq!(about("abuse", unread, &["a@mx.test", "b@mx.test"]), []);
    }
    assert_eq!(about("abuse", named, &[]), []);
}
